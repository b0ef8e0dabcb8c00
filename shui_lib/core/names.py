"""How models are called: `original`, `retrained`, `ssd:one-shui`, `pgu:original:published`, `jit@retrained`, …

METHOD[:VARIANT][:published][@BASE] is the model that a method made forget. Without a variant it is the method's
default form; `published` takes the constants of the literature in place of the tuned ones; after @ stands the trained
model it starts from, `original` unless said otherwise. RMIA's reference models are the ones made @retrained.
"""

from __future__ import annotations

from typing import NamedTuple

TRAINED = ("original", "retrained", "retrained_again")  # and fold_0, fold_1, …


class MethodSpec(NamedTuple):
    """A method's model, its name taken apart."""

    method: str
    variant: str = ""
    published: bool = False
    base: str = "original"

    @property
    def label(self) -> str:
        """What stands in the `variant` column of result rows: "one-shui", "published", "original published"."""
        return " ".join(filter(None, [self.variant, "published" if self.published else ""]))

    @property
    def line(self) -> str:
        """Its line in tables, method and label in one word: "pgu one-shui published"."""
        return f"{self.method} {self.label}".strip()

    @property
    def name(self) -> str:
        """The name that `parse` takes apart, without the base."""
        return ":".join(filter(None, [self.method, self.variant, "published" if self.published else ""]))


def is_trained(name: str) -> bool:
    """Was this model trained, and not made by a method?"""
    return name in TRAINED or (name.startswith("fold_") and name.removeprefix("fold_").isdigit())


def parse(name: str) -> MethodSpec:
    """Take a name apart.

    Raises:
        ValueError: it names two variants, or a base that is no trained model.
    """
    path, _, base = name.partition("@")
    method, *rest = path.split(":")
    variants = [word for word in rest if word != "published"]
    if len(variants) > 1:
        raise ValueError(f"{name!r} names two variants, {' and '.join(variants)}: write METHOD[:VARIANT][:published]")
    if base and not is_trained(base):
        raise ValueError(f"{name!r} starts from {base!r}: choose {', '.join(TRAINED)} or fold_0, fold_1, …")
    return MethodSpec(method, *(variants or [""]), "published" in rest, base or "original")


def reference_of(name: str) -> str:
    """The model that shows an attacker what `name` would be, had it never seen the person (reference page: RMIA).

    The retrained model for a trained one, and the same method prepared and applied anew on the retrained one. Departs
    from the authors' code (D18), whose reference prepares on D_f too.
    """
    return "retrained" if is_trained(name) else f"{name}@retrained"
