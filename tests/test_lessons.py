"""Lessons run as scripts, have their form, and their published numbers are those of a full experiment."""

import json
import re
import subprocess
import sys

import pytest

from minisft.shipped import ROOT

LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_in_fast_mode_and_writes_its_figure(lesson, tmp_path):
    done = subprocess.run([sys.executable, str(lesson), "--fast"], cwd=ROOT, capture_output=True, text=True,
                          env={"TMPDIR": str(tmp_path), "PATH": "", "PYTHONIOENCODING": "utf-8"}, timeout=300)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in tmp_path.glob("minisft-fast-*/*")}
    assert {f"{lesson.stem}.png", f"{lesson.stem}.json"} <= made
    assert "HOLDS" in done.stdout or "FAILS" in done.stdout


def test_a_mistyped_flag_runs_no_lesson():
    done = subprocess.run([sys.executable, str(LESSONS[0]), "--fats"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "unknown argument --fats; a lesson takes --fast, or nothing" in done.stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_its_form(lesson):
    text = lesson.read_text(encoding="utf-8")
    parts = ["**Question.**", "**What the notes say**", "**My prediction, written before the run.**",
             "## The experiment", "## Figure and verdict", "**What came out.**", "**What would change my mind.**",
             "**Exercise**"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith("# %% [markdown]\n# # ")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_ships_the_figure_and_numbers_of_the_full_experiment(lesson):
    results = json.loads((ROOT / "lessons" / "results" / f"{lesson.stem}.json").read_text(encoding="utf-8"))
    assert (ROOT / "lessons" / "results" / f"{lesson.stem}.png").stat().st_size > 5000
    items = results["items"]
    assert min(items.values()) >= 500 if isinstance(items, dict) else items >= 500
    seeds = results.get("seeds", 5)
    assert min(seeds.values()) >= 5 if isinstance(seeds, dict) else seeds >= 5
    assert all(outcome["low"] <= outcome["difference"] <= outcome["high"] for outcome in results["verdicts"])
    text = lesson.read_text(encoding="utf-8")
    held = [len(re.findall(rf"^# - \*\*{word}\*\*", text, re.MULTILINE)) for word in ("Holds", "Fails")]
    assert held == [sum(outcome["holds"] is holds for outcome in results["verdicts"]) for holds in (True, False)]
