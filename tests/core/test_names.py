"""Names of models: taken apart and put together again."""

import pytest

from shui_lib.core.names import MethodSpec, is_trained, parse, reference_of


@pytest.mark.parametrize(
    ("name", "form", "label"),
    [
        ("jit", MethodSpec("jit"), ""),
        ("ssd:one-shui", MethodSpec("ssd", "one-shui"), "one-shui"),
        ("meta_unlearn:published", MethodSpec("meta_unlearn", published=True), "published"),
        ("pgu:original:published", MethodSpec("pgu", "original", True), "original published"),
        ("pgu:original@retrained", MethodSpec("pgu", "original", False, "retrained"), "original"),
    ],
)
def test_parse(name, form, label):
    assert parse(name) == form
    assert form.label == label
    assert form.line == f"{form.method} {label}".rstrip()
    assert parse(form.name) == form._replace(base="original")


def test_two_variants_are_named():
    with pytest.raises(ValueError, match="'ssd:original:best' names two variants, original and best"):
        parse("ssd:original:best")


def test_trained_models_and_references():
    assert [is_trained(name) for name in ("original", "retrained_again", "fold_3", "ssd")] == [True, True, True, False]
    assert reference_of("original") == reference_of("retrained_again") == "retrained"
    assert reference_of("ssd:one-shui") == "ssd:one-shui@retrained"
