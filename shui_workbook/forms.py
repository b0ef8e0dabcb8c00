"""Which forms of methods a chapter or a command runs: all that were tuned, or those that are named."""

from __future__ import annotations

from shui_lib.core.names import MethodSpec, parse
from shui_lib.methods import REGISTRY, Needs, make_method
from shui_workbook.runs import settings

BY_NAME_ONLY = {  # a part of another form, or its step by another measure, and that form: no chapter runs it unasked
    "curvature:scale": "curvature",
    "gradient_ascent:rise": "gradient_ascent",
    "curvature:rise": "curvature",
    "pgu:rise": "pgu:one-shui",
}


def every_form(*, published: bool = True) -> list[str]:
    """Names of all methods in their forms; with `published`, also those with the constants of the literature.

    Of a method that was tuned these are the forms that were: any other runs by name only, until settings are selected
    for it. A method that nobody tuned, as one of your own, is here in all its forms.
    """
    chosen = {name for forms in settings.selected().values() for name in forms}
    searched = {parse(name).method for name in chosen}
    found: list[MethodSpec] = []
    for name, method in REGISTRY.items():
        for variant in method.variants or ("",):
            form = MethodSpec(name, variant)
            tuned = form.name in chosen or name not in searched
            if not tuned or form.name in BY_NAME_ONLY:
                continue
            found.append(form)
            if published and settings.PUBLISHED.get(name, {}).get(variant):
                found.append(form._replace(published=True))
    return [form.name for form in sorted(found)]


def forms_named(words: str) -> list[str]:
    """What a notebook's parameter `forms` names: one by one, or by a word.

    "tuned" is every form, "all" the published ones too, "support" those tuned ones that see Support Samples only.
    """
    if words == "support":
        return [name for name in every_form(published=False) if needs_of(*parse(name)[:2]) == ("support",)]
    several = {"tuned": every_form(published=False), "all": every_form()}
    return several.get(words, words.split())


def needs_of(name: str, variant: str = "") -> Needs:
    """What a method's form may see when the request comes."""
    return make_method(name, {"variant": variant} if variant else {}).needs
