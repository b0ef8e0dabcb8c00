"""Menus and a slider above the explorer's picture: the thin layer between somebody's hands and the explorer."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import HTML, display
from PIL import Image

from shui_workbook.course import explorer
from shui_workbook.course.explorer import KNOBS, Choice, Prepared
from shui_workbook.figures import look, quarters

WIDE = {"style": {"description_width": "80px"}, "layout": {"width": "430px", "max_width": "calc(100% - 8px)"}}
NOBODY = -1  # in a menu: nobody, or no photo, in particular (None would leave it blank)
WORDS = """<p><b>forget</b>: photos of the one who asks, which the model was trained on. <b>retain</b>: training photos
of those who stay. <b>test</b>: photos of strangers. <b>mAP</b>: how well the answers rank photos, 100 at best.
<b>Tug-of-War</b>: how close the three scores are to those wanted, 100 at best. <b>nats</b>: the unit of a loss; one
more makes the truth 2.7 times less likely.</p>"""
# The picture's quarters stand two in a row where there is room, and one below the other on a phone.
STYLE = """<style>
.shui-picture {display: flex; flex-wrap: wrap; max-width: 1044px; line-height: 0}
.shui-picture img {width: 50%; min-width: min(100%, 440px); flex: 1 1 440px; height: auto; margin: 0}
.shui-panel, .shui-panel .widget-box {max-width: 100%; box-sizing: border-box}
.shui-panel .widget-html-content {line-height: 1.35; overflow-wrap: anywhere}
.shui-busy .shui-picture {opacity: 0.3}
</style>"""
# While the menus live they show the picture themselves; a file that is opened again has the saved one alone.
HIDE = "<style>.shui-saved {display: none}</style>"


class Panel:
    """The explorer in a live session; `show()` displays it.

    Args:
        prepared_for: a data set's name to what no choice changes; asked each time that another one is chosen.
        datasets: names to choose among; the first is shown first.
        form: the method that is shown first.
    """

    def __init__(
        self,
        prepared_for: Callable[[str], Prepared],
        datasets: Sequence[str],
        *,
        form: str = "gradient_ascent",
        show_faces: bool = False,
    ):
        self.prepared_for, self.show_faces, self._filling, self._saved = prepared_for, show_faces, False, None
        names = [(look(form)[0], form) for form in KNOBS]
        self.dataset = widgets.Dropdown(options=list(datasets), description="data set", **WIDE)
        self.identity = widgets.Dropdown(description="who asks", **WIDE)
        self.photo = widgets.Dropdown(description="photo", **WIDE)
        self.form = widgets.Dropdown(options=names, value=form, description="method", **WIDE)
        self.slider = widgets.FloatSlider(
            min=0, max=100, step=1, description="how hard", continuous_update=False, readout=False, **WIDE
        )
        self.note, self.words, self.picture = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.note.layout.max_width = "430px"
        self.follow_up = {  # what has to be filled anew when a menu changes, in order
            self.dataset: (self._prepare, self._identities, self._photos, self._strengths),
            self.identity: (self._photos, self._strengths),
            self.form: (self._strengths,),
            self.photo: (),
            self.slider: (self._moved,),
        }
        columns = [self.dataset, self.identity, self.photo], [self.form, self.slider, self.note]
        controls = widgets.HBox([*map(widgets.VBox, columns)], layout={"flex_flow": "row wrap"})
        self.box = Box([controls, self.words, self.picture, widgets.HTML(STYLE + HIDE + WORDS)])
        self.box.add_class("shui-panel")
        self._fill_after(self.dataset)
        for control in self.follow_up:
            control.observe(self._changed, "value")

    def show(self) -> None:
        """Display the menus, and the picture once more in a form that a saved notebook keeps."""
        display(self.box)
        self._saved = display(self.saved(), display_id=True)

    def saved(self) -> HTML:
        """The picture and its words without a widget; hidden as long as the menus live."""
        return HTML(f'{STYLE}<div class="shui-saved"><p>{self.words.value}</p>{self.picture.value}{WORDS}</div>')

    def choice(self) -> Choice:
        """What the menus and the slider say."""
        identity, photo = (menu.value if menu.value >= 0 else None for menu in (self.identity, self.photo))
        return Choice(self.form.value, self.strength, identity, photo)

    def _fill_after(self, control: widgets.Widget) -> None:
        """Fill what depends on a control, and draw once."""
        for fill in self.follow_up[control]:
            fill()
        self._draw()
        self._good = {menu: (menu.options, menu.index) for menu in (self.dataset, self.identity, self.photo, self.form)}
        self._good_strength = self.slider.value, self.strength, self.note.value, self.prepared

    def _changed(self, change: dict[str, object]) -> None:
        """Answer one change. Until the picture is there, nothing can be moved, and it says that it is at work."""
        if self._filling:
            return
        self._filling = True
        self._busy(True)
        try:
            self._fill_after(change["owner"])
        except (ValueError, OSError) as error:  # a data set that cannot serve this request, for instance
            message = html.escape(f"{self.dataset.value}: {error}")
            self._back()
            self.words.value = message
        finally:
            self._busy(False)
            self._filling = False

    def _busy(self, at_work: bool) -> None:
        for control in self.follow_up:
            control.disabled = at_work or (control is self.photo and self.identity.value == NOBODY)
        if at_work:
            self.words.value = "<b>At work …</b> the picture below is still the one before."
            self.box.add_class("shui-busy")
        else:
            self.box.remove_class("shui-busy")

    def _back(self) -> None:
        """Menus and slider as they were when the picture that is shown was drawn."""
        for menu, (options, index) in self._good.items():
            menu.options, menu.index = options, index
        self.slider.value, self.strength, self.note.value, self.prepared = self._good_strength

    def _prepare(self) -> None:
        self.words.value = "<b>Making ready …</b> a model that is not there yet is trained first, which takes minutes."
        self.prepared = self.prepared_for(self.dataset.value)

    def _identities(self) -> None:
        asking = self.prepared.experiment.request.identities.tolist()
        people = [(f"identity {identity}", identity) for identity in asking]
        self._fill(self.identity, [*people, (f"all {len(asking)} of the request", NOBODY)])

    def _photos(self) -> None:
        if self.identity.value == NOBODY:
            return self._fill(self.photo, [("of each the one handed in", NOBODY)])
        rows = explorer.photos_of(self.prepared, self.identity.value)
        trained = [row for row, was_trained in rows.items() if was_trained]
        others = [(f"no. {n}, which the model was trained on", row) for n, row in enumerate(trained, 1)]
        self._fill(self.photo, [("the one handed in, never trained on", NOBODY), *others])

    def _fill(self, menu: widgets.Dropdown, options: list[tuple[str, int]]) -> None:
        menu.options, menu.index = options, 0  # without the index, a menu that was empty stays so

    def _strengths(self) -> None:
        """The strength that was tuned for as many people as ask now."""
        self.strength = explorer.tuned(self.prepared, self.form.value, alone=self.identity.value != NOBODY)
        self.slider.value = KNOBS[self.form.value].position(self.strength)
        self._say("as tuned for " + ("a whole request" if self.identity.value == NOBODY else "one person"))

    def _moved(self) -> None:
        self.strength = KNOBS[self.form.value].at(self.slider.value)
        self._say("weaker to the left, stronger to the right")

    def _say(self, more: str) -> None:
        knob = KNOBS[self.form.value]
        self.note.value = f"<b>{knob.symbol} = {self.strength:.3g}</b>, {more}. {knob.symbol}: {knob.meaning}."
        if self.form.value == "meta_unlearn":
            self.note.value += " The loss was learned for one η, that of a whole request: at another it promises less."

    def _draw(self) -> None:
        choice = self.choice()
        found = explorer.respond(self.prepared, choice)
        figure = explorer.draw(self.prepared, choice, found, show_faces=self.show_faces)[0].figure
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        plt.close(figure)
        parts = zip(quarters(Image.open(drawn)), explorer.alternatives(found), strict=True)
        self.picture.value = f'<div class="shui-picture">{"".join(_image(*part) for part in parts)}</div>'
        self.words.value = explorer.in_words(found.scores)
        if self._saved:
            self._saved.update(self.saved())


class Box(widgets.VBox):
    """Widgets that say in a file opened without them what they are."""

    def _repr_mimebundle_(self, **how: object) -> dict[str, object]:
        return {**super()._repr_mimebundle_(**how), "text/plain": "Menus and a slider: run this cell to use them."}


def _image(picture: Image.Image, alternative: str) -> str:
    """A picture as an element of a page."""
    data = io.BytesIO()
    picture.convert("RGB").quantize(128).save(data, "PNG", optimize=True)
    coded = base64.b64encode(data.getvalue()).decode()
    return f'<img src="data:image/png;base64,{coded}" alt="{html.escape(alternative)}">'
