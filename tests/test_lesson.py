"""The lesson harness: three verdicts, no verdict in fast mode, and results that stay published."""

import json
import sys

import pytest

from minisft import lesson as harness
from minisft.lesson import Claim, Lesson, LessonConfig, config_of, show_source
from minisft.loss import sft_loss
from minisft.still import keep_still


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(harness, "MINE", tmp_path / "mine")
    return tmp_path


@pytest.mark.parametrize("effect, bounds, verdict", [
    ((0.3, 0.1, 0.5), {"least": 0}, "holds"),
    ((-0.3, -0.5, -0.1), {"least": 0}, "fails"),
    ((0.1, -0.1, 0.3), {"least": 0}, "undecided"),
    ((0.0, 0.0, 0.0), {"least": 0}, "fails"),  # no difference at all is no gain
    ((-0.01, -0.015, 0.2), {"least": -0.02}, "holds"),
    ((-0.015, -0.027, -0.002), {"least": -0.02}, "undecided"),
    ((0.5, 0.4, 0.6), {"least": 0.3, "most": 0.7}, "holds"),
    ((0.5, 0.4, 0.8), {"least": 0.3, "most": 0.7}, "undecided"),
    ((0.5, 0.2, 0.8), {"least": 0.3, "most": 0.7}, "undecided"),
    ((0.8, 0.71, 0.9), {"least": 0.3, "most": 0.7}, "fails"),
    ((0.1, 0.05, 0.2), {"least": 0.3, "most": 0.7}, "fails"),
])
def test_a_claim_holds_fails_or_is_undecided_by_its_whole_interval(effect, bounds, verdict):
    assert Claim("x", effect, **bounds).verdict() == verdict


def test_effects_and_bounds_are_written_in_their_unit():
    claim = Claim("x", (-0.229, -0.29, -0.172), most=0)
    assert claim.measured() == "-22.9 points [-29.0, -17.2]" and claim.bounds() == "below zero"
    assert claim.resolution() == "5.9 points"
    share = Claim("x", (0.9, 0.8, 0.95), least=0.3, most=0.9, unit="share")
    assert share.measured() == "90.0% [80.0, 95.0]" and share.bounds() == "30.0 to 90.0%"
    assert Claim("x", (0.058,) * 3, most=1, unit="share").measured() == "5.8%"
    assert Claim("x", (0.5, 0.3, 0.6), least=0.1, unit="loss").bounds() == "above +0.100"


CLAIMS = [Claim("tuning helps", (0.3, 0.1, 0.5), least=0)]
PREDICTIONS = [Claim("by 40 points", (0.3, 0.1, 0.35), least=0.4),
               Claim("by 5 points", (0.3, 0.1, 0.35), least=0.05)]


def test_claims_come_first_and_a_wrong_guess_of_a_size_fails_no_claim(capsys, folders):
    Lesson("90_trial", LessonConfig()).conclude({"seeds": 5}, CLAIMS, PREDICTIONS)
    shown = capsys.readouterr().out
    assert shown.index("HOLDS      tuning helps") < shown.index("predicted before the run")
    assert "FAILS" not in shown
    written = json.loads((folders / "mine" / "90_trial.json").read_text(encoding="utf-8"))
    assert [claim["outcome"] for claim in written["claims"]] == ["holds"]
    assert [claim["outcome"] for claim in written["predictions"]] == ["wrong", "right"]
    assert written["numbers"] == {"seeds": 5} and written["claims"][0]["effect"] == [0.3, 0.1, 0.5]


def test_fast_mode_judges_nothing(capsys):
    lesson = Lesson("90_trial", LessonConfig(fast=True))
    lesson.conclude({}, CLAIMS, PREDICTIONS)
    shown, written = capsys.readouterr().out, (lesson.folder / "90_trial.json").read_text("utf-8")
    assert "not judged" in shown and "not judged" in written
    for word in ("holds", "fails", "undecided", "right", "wrong"):
        assert word not in shown.lower() and f'"{word}"' not in written


def test_only_publishing_writes_to_the_results_and_keeps_their_history(folders):
    results = folders / "results" / "90_trial.json"
    Lesson("90_trial", LessonConfig(publish=True)).conclude({"run": 1}, CLAIMS)
    told = json.loads(results.read_text("utf-8")) | {"history": ["an earlier run"]}
    results.write_text(json.dumps(told), encoding="utf-8")
    before = results.read_bytes()
    for config in (LessonConfig(), LessonConfig(fast=True), LessonConfig(redraw=True)):
        Lesson("90_trial", config).conclude({"run": 2}, CLAIMS)
        assert results.read_bytes() == before
    Lesson("90_trial", LessonConfig(publish=True)).conclude({"run": 3}, CLAIMS)
    told = json.loads(results.read_text("utf-8"))
    assert told["history"] == ["an earlier run"] and told["numbers"] == {"run": 3}


def test_redrawing_runs_nothing_and_takes_the_published_numbers(folders):
    Lesson("90_trial", LessonConfig(publish=True)).conclude({"run": 1}, CLAIMS)
    lesson = Lesson("90_trial", LessonConfig(redraw=True))
    assert lesson.run(lambda: pytest.fail("something was run")) == {"run": 1}


def test_numbers_are_those_that_will_be_read_again():
    assert Lesson("90_trial", LessonConfig()).run(lambda: {0.5: (1, 2)}) == {"0.5": [1, 2]}


def test_nothing_is_written_before_there_is_something_to_write(folders):
    Lesson("90_trial", LessonConfig()).scale(5, fast=1)
    Lesson("90_trial", LessonConfig(publish=True))
    assert list(folders.iterdir()) == []


def test_flags_are_read_where_the_lesson_is_the_program_and_else_the_environment(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lessons/90_trial.py", "--fast", "--jobs", "3"])
    assert config_of("90_trial") == LessonConfig(fast=True, jobs=3)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert config_of("90_trial") == LessonConfig()
    monkeypatch.setenv("MINISFT_FAST", "1")
    assert config_of("90_trial") == LessonConfig(fast=True)
    monkeypatch.setenv("MINISFT_FAST", "0")
    assert config_of("90_trial") == LessonConfig()


@pytest.mark.parametrize("flags", [["--fats"], ["--fast", "--publish"], ["--jobs", "0"]])
def test_a_wrong_flag_runs_no_lesson(monkeypatch, capsys, flags):
    monkeypatch.setattr(sys, "argv", ["lessons/90_trial.py", *flags])
    with pytest.raises(SystemExit) as end:
        config_of("90_trial")
    assert end.value.code == 2 and "usage: python lessons/90_trial.py" in capsys.readouterr().err


def test_the_code_that_a_lesson_shows_is_the_source_itself(capsys):
    show_source(sft_loss)
    shown = capsys.readouterr().out
    assert shown.startswith("# minisft/loss.py, line ") and "F.cross_entropy(logits" in shown
    show_source(keep_still)  # decorated
    assert capsys.readouterr().out.startswith("# minisft/still.py, line ")
