"""Menus and a slider above the explorer's picture: the thin layer between somebody's hands and the explorer."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt

from shui_workbook.course import explorer
from shui_workbook.course.explorer import KNOBS, Choice, Prepared
from shui_workbook.figures import look

WIDE = {"style": {"description_width": "80px"}, "layout": {"width": "430px"}}
NOBODY = -1  # in a menu: nobody, or no photo, in particular (None would leave it blank)


class Panel:
    """The explorer in a live session; `Panel(...).box` is what is displayed.

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
        self.prepared_for, self.show_faces, self._filling = prepared_for, show_faces, False
        names = [(look(form)[0], form) for form in KNOBS]
        self.dataset = widgets.Dropdown(options=list(datasets), description="data set", **WIDE)
        self.identity = widgets.Dropdown(description="who asks", **WIDE)
        self.photo = widgets.Dropdown(description="photo", **WIDE)
        self.form = widgets.Dropdown(options=names, value=form, description="method", **WIDE)
        self.strength = widgets.FloatLogSlider(readout_format=".3g", continuous_update=False, step=0.1, **WIDE)
        self.note = widgets.HTML(layout={"margin": "0 0 0 16px"})
        self.words, self.picture = widgets.HTML(), widgets.Image(format="png", layout={"max_width": "1044px"})
        self.follow_up = {  # what has to be filled anew when a menu changes, in order
            self.dataset: (self._prepare, self._identities, self._photos, self._strengths),
            self.identity: (self._photos,),
            self.form: (self._strengths,),
            self.photo: (),
            self.strength: (),
        }
        columns = [self.dataset, self.identity, self.photo], [self.form, self.strength, self.note]
        self.box = widgets.VBox([widgets.HBox([*map(widgets.VBox, columns)]), self.words, self.picture])
        self._fill_after(self.dataset)
        for control in self.follow_up:
            control.observe(self._changed, "value")

    def choice(self) -> Choice:
        """What the menus and the slider say."""
        identity, photo = (menu.value if menu.value >= 0 else None for menu in (self.identity, self.photo))
        return Choice(self.form.value, self.strength.value, identity, photo)

    def _fill_after(self, control: widgets.Widget) -> None:
        """Fill what depends on a control, and draw once."""
        for fill in self.follow_up[control]:
            fill()
        self._draw()

    def _changed(self, change: dict[str, object]) -> None:
        if self._filling:
            return
        self._filling = True
        try:
            self._fill_after(change["owner"])
        except (ValueError, OSError) as error:  # a data set that cannot serve this request: say so, keep the last one
            self.words.value = html.escape(f"{self.dataset.value}: {error}")
            self.dataset.value = self.prepared.experiment.dataset
        finally:
            self._filling = False

    def _prepare(self) -> None:
        self.words.value = "Making ready; a model that is not there yet is trained first, which takes minutes …"
        self.prepared = self.prepared_for(self.dataset.value)

    def _identities(self) -> None:
        asking = self.prepared.experiment.request.identities.tolist()
        people = [(f"identity {identity}", identity) for identity in asking]
        self._fill(self.identity, [*people, (f"all {len(asking)} of the request", NOBODY)])

    def _photos(self) -> None:
        self.photo.disabled = self.identity.value == NOBODY
        if self.photo.disabled:
            return self._fill(self.photo, [("of each the one handed in", NOBODY)])
        rows = explorer.photos_of(self.prepared, self.identity.value)
        trained = [row for row, was_trained in rows.items() if was_trained]
        others = [(f"no. {n}, which the model was trained on", row) for n, row in enumerate(trained, 1)]
        self._fill(self.photo, [("the one handed in, never trained on", NOBODY), *others])

    def _fill(self, menu: widgets.Dropdown, options: list[tuple[str, int]]) -> None:
        menu.options, menu.index = options, 0  # without the index, a menu that was empty stays so

    def _strengths(self) -> None:
        form, knob = self.form.value, KNOBS[self.form.value]
        strength = explorer.tuned(self.prepared, form)
        with self.strength.hold_trait_notifications():
            self.strength.min, self.strength.max = knob.low, knob.high
            self.strength.value, self.strength.description = strength, knob.symbol
        self.note.value = f"{knob.symbol}: {knob.meaning}; set to {strength:.3g} for a whole request."
        if form == "meta_unlearn":
            self.note.value += "<br>φ was meta-trained for that η: at another the direction stays, the promise goes."

    def _draw(self) -> None:
        started, choice = time.perf_counter(), self.choice()
        found = explorer.respond(self.prepared, choice)
        figure = explorer.draw(self.prepared, choice, found, show_faces=self.show_faces)[0].figure
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        plt.close(figure)
        self.picture.value = drawn.getvalue()
        self.words.value = f"{explorer.in_words(found.scores)} &nbsp; ({time.perf_counter() - started:.1f} s)"
