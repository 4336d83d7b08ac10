"""What every lesson shares: how it is run, what it writes, and how it says what came out.

    lesson = Lesson("24_lora")
    numbers = lesson.run(experiment)                  plain values
    plots.arms(lesson.figure("24_lora.png"), ...)
    lesson.conclude(numbers, claims, predictions)     prints the verdicts, writes the results

A lesson runs as a script, as cells in an editor, or as a notebook:

    python lessons/24_lora.py              the whole experiment; results go to lessons/mine
    python lessons/24_lora.py --fast       the same code on a small scale, in seconds
    MINISFT_FAST=1                         the same where there is no command line

Only --publish writes to lessons/results. A verdict is one of three. A claim about an effect
*holds* if all of the 95% interval lies within the claim's bounds, it *fails* if all of it lies
outside, and it is *undecided* if the interval crosses a bound.
"""

import inspect
import json
import math
import os
import platform
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from minisft.checkpoint import write_atomically
from minisft.config import at_least, option, parse
from minisft.shipped import ROOT

RESULTS, MINE = ROOT / "lessons" / "results", ROOT / "lessons" / "mine"


@dataclass(frozen=True)
class LessonConfig:
    fast: bool = option(False, "run the same code on a small scale, in seconds; its numbers mean "
                               "nothing")
    publish: bool = option(False, "write to lessons/results instead of lessons/mine")
    redraw: bool = option(False, "draw and judge the published numbers again; nothing is trained")
    jobs: int | None = option(None, "runs at once, each in a process of one thread (default: one "
                                    "for each core)")

    def __post_init__(self):
        at_least(self, jobs=1)
        if self.fast and (self.publish or self.redraw):
            raise ValueError("--fast gives numbers that mean nothing, so it goes neither with "
                             "--publish nor with --redraw")


UNITS = {"points": (100, "+.1f", " points"), "share": (100, ".1f", "%"), "loss": (1, "+.3f", ""),
         "times": (1, ".2f", " times"), "length": (1, ".2f", "")}  # factor, format, name


@dataclass(frozen=True)
class Claim:
    """Something that an experiment can show to hold or to fail.

    text: what is claimed. effect: (value, low, high), the ends of its 95% interval. It must lie
    above `least` and below `most`. unit: "points" (of a difference of shares), "share", "loss",
    "times" or "length" (of a vector). source: who claims it.
    """

    text: str
    effect: tuple
    least: float = -math.inf
    most: float = math.inf
    unit: str = "points"
    source: str = "the notes"

    def verdict(self):
        """"holds", "fails" or "undecided"."""
        _, low, high = self.effect
        if self.least < low and high < self.most:
            return "holds"
        if high <= self.least or self.most <= low:
            return "fails"
        return "undecided"

    def written(self, *values):
        """(texts of some numbers in the claim's unit, name of the unit)."""
        factor, form, name = UNITS[self.unit]
        return [format(factor * value, form) for value in values], name

    def measured(self):
        """The effect with its interval, as text; the value alone where there is no interval."""
        (value, low, high), name = self.written(*self.effect)
        return f"{value}{name}" if low == high else f"{value}{name} [{low}, {high}]"

    def bounds(self):
        """What is claimed or predicted of the effect, as text."""
        (least, most), name = self.written(self.least, self.most)
        if math.isinf(self.most):
            return f"above {least}{name}" if self.least else "above zero"
        if math.isinf(self.least):
            return f"below {most}{name}" if self.most else "below zero"
        return f"{least} to {most}{name}"

    def resolution(self):
        """The smallest effect that could be seen, as text: half the width of the interval.

        "" where there is no interval.
        """
        _, low, high = self.effect
        if low == high:
            return ""
        (half,), name = self.written((high - low) / 2)
        return f"{half.removeprefix('+')}{name}"


OUTCOMES = {"holds": "right", "fails": "wrong", "undecided": "undecided"}  # of a prediction


class Lesson:
    """A lesson by its name, that of its file without ".py". config: a LessonConfig.

    Without a config the flags are read where the lesson runs as a script; in a notebook or editor
    the environment variable MINISFT_FAST decides.
    """

    def __init__(self, name, config=None):
        self.name, self.config = name, config or config_of(name)
        self.seconds = 0.0  # that the experiment took

    @property
    def fast(self):
        return self.config.fast

    def scale(self, full, fast):
        """One of two values: of the whole experiment, or of fast mode."""
        return fast if self.fast else full

    @property
    def jobs(self):
        """How many runs at once; None is one for each core."""
        return self.config.jobs

    @cached_property
    def folder(self):
        """Where this run writes: made when something is written."""
        if self.fast:
            return Path(tempfile.mkdtemp(prefix="minisft-fast-"))
        folder = RESULTS if self.config.publish else MINE
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def figure(self, name=None):
        """Path of a figure, by default the lesson's own."""
        return self.folder / (name or f"{self.name}.png")

    def published(self):
        """The published results, as they were written; nothing if there are none."""
        path = RESULTS / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def run(self, experiment):
        """What experiment() returns, plain values; with --redraw, what was published."""
        if self.config.redraw:
            if not self.published():
                raise SystemExit(f"{self.name} has no published results to draw; run it without "
                                 "--redraw")
            return self.published()["numbers"]
        began = time.perf_counter()
        numbers = json.loads(json.dumps(experiment()))  # as they will be read again
        self.seconds = time.perf_counter() - began
        return numbers

    def conclude(self, numbers, claims, predictions=()):
        """Print verdicts and outcomes and write everything to the results file.

        claims: what the notes or others claim; predictions: what we expected before the run. Both
        are lists of Claim. In fast mode nothing is judged.
        """
        print("\n".join(self.tables(claims, predictions)))
        old = self.published()
        results = {
            "minutes": old["minutes"] if self.config.redraw else round(self.seconds / 60, 1),
            "machine": old["machine"] if self.config.redraw else machine(),
            "claims": [{"source": claim.source, **self._row(claim, claim.verdict())}
                       for claim in claims],
            "predictions": [self._row(claim, OUTCOMES[claim.verdict()]) for claim in predictions],
            "history": old.get("history", []), "numbers": numbers}
        text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
        path = self.folder / f"{self.name}.json"
        write_atomically(path, text.encode())
        print(f"numbers: {os.path.relpath(path)}, figures beside it")

    def _row(self, claim, outcome):
        row = {"text": claim.text, "bounds": claim.bounds(),
               "measured": claim.measured(), "smallest_effect_seen": claim.resolution(),
               "effect": list(claim.effect)}
        return row | {"outcome": "not judged" if self.fast else outcome}

    def tables(self, claims, predictions):
        """Lines: verdicts on the claims, then what was predicted, measured, and right or wrong."""
        if self.fast:
            return ["Fast mode: a few steps of each experiment. Its numbers mean nothing and are "
                    "not judged."]
        lines = []
        for claim in claims:
            lines += [f"{claim.verdict().upper():10} {claim.text}",
                      f"{'':10} claimed by {claim.source}: {claim.bounds()}; measured: "
                      f"{claim.measured()}"]
        if predictions:
            rows = [("predicted before the run", "", "measured", "outcome"), *(
                (claim.text, claim.bounds(), claim.measured(), OUTCOMES[claim.verdict()])
                for claim in predictions)]
            widths = [max(len(row[column]) for row in rows) for column in range(4)]
            for row in ("", *rows):
                cells = [cell.ljust(width) for cell, width in zip(row, widths)]
                lines.append("  ".join(cells).rstrip())
        return lines


def config_of(name):
    """The LessonConfig of this process: of the command line, if the lesson is what it runs."""
    script = Path(sys.argv[0]).resolve()
    if script.stem == name or "lessons" in script.parent.parts:  # a copy of a lesson, too
        return parse(LessonConfig, sys.argv[1:], f"python lessons/{name}.py",
                     "A lesson; results go to lessons/mine.")
    return LessonConfig(fast=os.environ.get("MINISFT_FAST", "") not in ("", "0"))


def machine():
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def show_source(*things):
    """Print the source of functions or classes, with the file that it stands in."""
    for thing in map(inspect.unwrap, things):  # what a decorator wraps, not its wrapper
        path = Path(inspect.getsourcefile(thing)).relative_to(ROOT).as_posix()
        lines, first = inspect.getsourcelines(thing)
        print(f"# {path}, line {first}\n{textwrap.dedent(''.join(lines))}")
