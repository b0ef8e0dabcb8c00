"""With which settings a method runs: those of the literature, or those that the tuning pool selected."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from shui_lib.benchmark.presets import preset_named
from shui_lib.core.names import MethodSpec, parse
from shui_lib.methods import REGISTRY, make_method

Settings = Mapping[str, Mapping[str, object]]  # by method or form
Selected = Mapping[str, Settings]  # by "preset/dataset/n_ids"
HERE = Path(__file__).parent
SELECTED = HERE / "selected.json"  # what the workbook's own searches chose
# Constants of the literature, by method, variant and setting.
PUBLISHED: dict[str, dict[str, dict[str, dict[str, object]]]] = tomllib.loads((HERE / "published.toml").read_text())
# What chapters 00 and 03 demonstrate with small presets: a step large enough to be seen. Never reported as a result.
DEMONSTRATION = {"eta": 1e-3, "alpha": 1e-3, "epochs": 3, "inputs": ("logits", "targets")}
STANDS_FOR = {"faces": "celebahq", "ages": "mufac"}  # whose constants an embedded data set borrows
PAPERS = ("celebahq", "celeba", "mufac")
OWN = "selected.json"  # in a runs folder: what its owner's searches chose


def checked_settings(settings: Settings | str) -> dict[str, Mapping[str, object]]:
    """Settings of methods by the full names of their forms ("ssd" is "ssd:one-shui").

    Args:
        settings: by the name of a method or form, or JSON text that says so; "" is none.
    Raises:
        ValueError: no such text, an unknown method, or settings that the method does not take.
    """
    if isinstance(settings, str):
        settings = _read_settings(settings)
    found = {}
    for name, chosen in settings.items():
        form = spec_named(name)
        if form.method not in REGISTRY:
            known = ", ".join(sorted(REGISTRY))
            raise ValueError(f"settings of method {form.method!r}, which is unknown: choose one of {known}")
        make_method(form.method, ({"variant": form.variant} if form.variant else {}) | dict(chosen))
        found[form.name] = chosen
    return found


def _read_settings(text: str) -> Settings:
    example = """write them as '{"curvature": {"eta": 0.01}}'"""
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"settings={text!r} is no JSON ({error}): {example}") from error
    if not isinstance(found, dict) or not all(isinstance(chosen, dict) for chosen in found.values()):
        raise ValueError(f"settings={text!r} are not settings by method: {example}")
    return found


def published_for(
    method: str, variant: str, *, dataset: str, n_ids: int, multilabel: bool | None = None
) -> dict[str, object]:
    """The published constants of a method's form: those of the data set at the nearest request size, or for all.

    Args:
        dataset: its name in dataset.json, whatever its folder is called.
    Raises:
        ValueError: none are known.
    """
    known = PUBLISHED.get(method, {}).get(variant, {})
    known = {key: value for key, value in known.items() if n_ids == 1 or not key.endswith("/1")}
    if not known:
        raise ValueError(f"no published constants are known of {method} {variant}".rstrip() + ": leave out `published`")
    nearest = _nearest(known, published_as(dataset, multilabel=multilabel), n_ids)
    if not nearest and "" not in known:
        raise ValueError(f"no published constants are known of {method} {variant} for {dataset}: leave out `published`")
    found = known[nearest or ""]
    return {name: None if value == "none" else value for name, value in found.items()}


def published_as(dataset: str, *, multilabel: bool | None = None) -> str:
    """The data set of the paper whose constants are taken: its own, or of the same task where none are known of it.

    Rendered faces are called "faces" whatever their task is: the task counts before the name.
    """
    if dataset in PAPERS:
        return dataset
    return "mufac" if multilabel is False else STANDS_FOR.get(dataset, "celebahq")


def _nearest(keys: Iterable[str], prefix: str, n_ids: int) -> str | None:
    """Of keys "prefix/n_ids", the one with the nearest n_ids."""
    same = [key for key in keys if "/" in key and key.rpartition("/")[0] == prefix]
    return min(same, key=lambda key: abs(int(key.rpartition("/")[2]) - n_ids), default=None)


@cache
def selected() -> Selected:
    """What the workbook's own searches chose: settings by "preset/dataset/n_ids" and form."""
    return json.loads(SELECTED.read_text())


def _known(own: Path | None) -> Selected:
    """What the workbook's own searches chose, and before it what a user's did, which lies in their runs folder."""
    path = Path(own) / OWN if own else None
    if path is None or not path.is_file():
        return selected()
    try:
        theirs = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): delete it, and let `make tune` write it again") from error
    return {key: selected().get(key, {}) | theirs.get(key, {}) for key in {*selected(), *theirs}}


def selection(
    form: str,
    *,
    preset: str,
    dataset: str,
    n_ids: int,
    multilabel: bool | None = None,
    name: str = "",
    own: Path | None = None,
    known: Selected | None = None,
) -> tuple[str, dict[str, object]]:
    """Whose selected settings a form uses, "preset/dataset/n_ids" as in `selected.json`, and what they are.

    A form that was never tuned for a setting borrows from the nearest n_ids of the nearest data set for which it was:
    the same, the one it was made from, one of its kind (`STANDS_FOR`, either way), the workbook's own of the same task;
    with none it keeps its own defaults, and the key is "". Never from another task: losses of classes and of
    attributes differ in size.

    Args:
        multilabel: does the data set have attributes (True) or classes? None: known of the workbook's own.
        name: in dataset.json, which a cleaned copy has of the data set that it was made from.
        own: a runs folder, whose owner may have tuned.
        known: what was selected, if not what is known today.
    """
    known = _known(own) if known is None else known
    tuned = [key for key, forms in known.items() if form in forms]
    classes = dataset in ("ages", "mufac") if multilabel is None else not multilabel
    other_task = name in (("faces", "celebahq", "celeba") if classes else ("ages", "mufac"))  # rendered ages: "faces"
    same = [dataset] if other_task or not name else [dataset, name]
    kin = [*same, *(other for one in same for pair in STANDS_FOR.items() if one in pair for other in pair)]
    near = [f"{preset}/{other}" for other in [dataset, *kin]] + [f"cpu/{dataset}"]
    far = [f"cpu/{other}" for other in [*kin, "ages" if classes else "faces"]]
    for place in near + far:
        usual = f"{place}/10"  # of another data set, the size that all forms were tuned for
        key = usual if usual in tuned and place not in near else _nearest(tuned, place, n_ids)
        if key:
            return key, dict(known[key][form])
    return "", {}


def selected_key(form: str, **setting: object) -> str:
    """Whose selected settings a form uses; arguments as of `selection`."""
    return selection(form, **setting)[0]


def settings_for(form: str, *, preset: str, dataset: str, n_ids: int, **more: object) -> dict[str, object]:
    """Settings of a method's form ("pgu:one-shui"): those selected on the tuning pool for just this setting, or others.

    What the preset states holds where nothing else was selected for just this setting; borrowed settings give way to
    it, and leave out the size of the simulated requests, which belongs to the setting. Arguments as of `selection`.
    """
    key, selected = selection(form, preset=preset, dataset=dataset, n_ids=n_ids, **more)
    stated = dict(preset_named(preset).methods.get(form, {}))
    if key == f"{preset}/{dataset}/{n_ids}":
        return stated | selected
    selected.pop("simulated_n_ids", None)
    return selected | stated


def simulated_request_size(n_ids: int) -> int:
    """People in a simulated request: as many as ask, and a larger number for one (as the paper)."""
    return n_ids if n_ids > 1 else 10


def spec_named(name: str) -> MethodSpec:
    """A name taken apart (`shui_lib.core.names`), a missing variant filled in: `ssd` is `ssd:one-shui`."""
    form = parse(name)
    if form.variant or not getattr(REGISTRY.get(form.method), "variants", ()):
        return form
    return form._replace(variant=REGISTRY[form.method].variant)
