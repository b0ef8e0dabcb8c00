"""Words of a command line become values of the types that a parameters cell declares, or are refused by name."""

import importlib

import pytest

from shui_workbook.arguments import Setting, command_line, of_type, typed, words_by_name
from shui_workbook.studies import climbs
from shui_workbook.studies.pool import PoolSetting


def test_words_are_kept_as_they_were_written():
    assert words_by_name(["N_IDS=20", "DATASET=2024", "SEED="]) == {"n_ids": "20", "dataset": "2024"}
    assert typed(["N_IDS=20", "DATASET=faces"]) == {"n_ids": 20, "dataset": "faces"}
    with pytest.raises(ValueError, match="'DATASET' is no parameter: write NAME=VALUE"):
        words_by_name(["DATASET"])


@pytest.mark.parametrize(
    ("declared", "written", "value"),
    [
        *(("bool", word, True) for word in ("true", "True", "yes", "1", 1, True)),
        *(("bool", word, False) for word in ("false", "FALSE", "no", "0", 0, False)),
        ("int", "20", 20),
        ("int", "-1", -1),
        ("int", 7, 7),
        ("float", "1e-3", 1e-3),
        ("float", 2, 2.0),
        ("str", "1e5", "1e5"),
        ("str", "None", "None"),
        ("str", "'faces'", "faces"),
        ("", "20", 20),
    ],
)
def test_a_value_is_read_as_the_type_that_is_declared(declared, written, value):
    found = of_type("name", written, declared)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        *(("bool", word) for word in ("nein", "", 2, None, 0.5)),
        *(("int", word) for word in ("ten", "2.0", "1.5", 2.0, True, "1_0", "٣")),
        *(("float", word) for word in ("nan", "inf", "much", True)),
        *(("str", word) for word in (5, True, None)),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(declared, written):
    with pytest.raises(ValueError, match=f"N_IDS={written} is no {declared}: write"):
        of_type("n_ids", written, declared)


def test_a_type_that_nobody_reads_is_refused():
    with pytest.raises(ValueError, match="etas is declared as list: a parameter is one of bool, int, float, str"):
        of_type("etas", "[1]", "list")


def test_a_command_line_is_a_dataclass():
    asked = command_line(
        Setting, ["--n-ids", "3", "--seeds", "5", "6", "--settings", '{"ssd": {"alpha": 2}}'], "About."
    )
    assert asked == Setting(n_ids=3, seeds=(5, 6), settings='{"ssd": {"alpha": 2}}')
    assert asked.of_seed(6).items() >= {"seed": 6, "n_ids": 3, "dataset": "faces", "preset": "cpu"}.items()


@pytest.mark.parametrize("words", [["--n-ids", "ten"], ["--seed", "1"], ["more"]])
def test_a_command_line_with_another_word_ends(words, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line(Setting, words, "About.")
    assert ended.value.code == 2 and words[-1 if words[0] == "more" else 0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds"], "give one or more, each once"),
        (["--seeds", "1", "2", "1"], "--seeds 1 2 1: give one or more, each once"),
        (["--seeds", "0", "-1"], "seed must be a whole number from 0"),
        (["--preset", "big"], "preset 'big' is unknown: choose one of smoke"),
    ],
)
@pytest.mark.parametrize("kind", [Setting, PoolSetting, climbs.Command])
def test_seeds_and_presets_are_checked_where_they_enter(kind, words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line(kind, words, "About.")
    assert ended.value.code != 0 and message in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("study", ["ablations", "gain", "matched", "proxies", "upper_ends"])
def test_a_study_that_gives_methods_settings_itself_refuses_others(study):
    command = importlib.import_module(f"shui_workbook.studies.{study}")
    with pytest.raises(SystemExit, match="--settings has no part here"):
        command.main(["--dataset", "nowhere", "--settings", '{"curvature": {"eta": 0.1}}'])
