"""Run lessons, side by side, and write the course on one page: lessons/README.md.

    python lessons/run.py                    all lessons; results go to lessons/mine
    python lessons/run.py 02 24 --fast       two of them on a small scale
    python lessons/run.py 24 --publish       one of them; its results become the published ones
    python lessons/run.py --redraw --publish   draw and judge the published numbers again

The page tells what lessons/results holds, whatever was run.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path += map(str, Path(__file__).resolve().parents)  # finds minisft

from minisft.checkpoint import write_atomically
from minisft.config import option, parse
from minisft.experiment import cores
from minisft.lesson import LessonConfig

HERE = Path(__file__).resolve().parent
LESSONS = sorted(HERE.glob("[0-9][0-9]_*.py"))
HEAD = """# The lessons

Each lesson asks one question, tries it, and says what came out. A claim *holds* if all of its 95%
interval lies within its bounds, it *fails* if all of it lies outside, and it is *undecided* if the
interval crosses a bound. Points are percentage points of exact match: the first arm named, minus
the one it is compared with. Minutes are those of the published run, on two cores, or on one where
its results say so.

Run one with `python lessons/24_lora.py`, or several with `python lessons/run.py 02 24`. `--fast`
shows the same code at work in seconds, and `--redraw` shows the published verdicts and figures
without training. What you run writes to `lessons/mine`; the published results below are only
changed by `--publish`. Lessons are also notebooks: `pip install jupytext notebook`, then
`jupytext --to ipynb lessons/24_lora.py`.

"""
FOOT = """
This page is written by `python lessons/run.py` from `lessons/results`, where each lesson's numbers,
seeds and history are.
"""


@dataclass(frozen=True)
class RunConfig(LessonConfig):
    lessons: tuple = option((), "numbers of lessons (default: all)", metavar="NN")


def title_and_question(path):
    """(title, question) out of a lesson's first cell, whose paragraphs stand in comments."""
    first_cell = path.read_text(encoding="utf-8").split("\n# %%")[0]
    lines = [line.removeprefix("#").strip() for line in first_cell.splitlines()[1:]]
    title, question = "\n".join(lines).split("\n\n")[:2]
    return title.removeprefix("# "), question.removeprefix("**Question.** ").replace("\n", " ")


def page():
    """The text of lessons/README.md, from the heads of the lessons and the published results."""
    lines = ["| lesson | claim | verdict | measured [95% interval] | holds if | minutes | figure |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for path in LESSONS:
        title, question = title_and_question(path)
        results = HERE / "results" / f"{path.stem}.json"
        lesson, figure = f"[{title}]({path.name})", f"[figure](results/{path.stem}.png)"
        if not results.is_file():
            lines.append(f"| {lesson} | {question} | no claim | | | 0.1 | {figure} |")
            continue
        found = json.loads(results.read_text(encoding="utf-8"))
        minutes = found["minutes"]
        for number, claim in enumerate(found["claims"]):
            if number:
                lesson = figure = minutes = ""
            lines.append(f"| {lesson} | {claim['text']} ({claim['source']}) | "
                         f"**{claim['outcome']}** | {claim['measured']} | {claim['bounds']} | "
                         f"{minutes} | {figure} |")
    return HEAD + "\n".join(lines) + "\n" + FOOT


def run(path, flags):
    """Run one lesson in a process of its own; returns its name, exit status and what it printed."""
    done = subprocess.run([sys.executable, str(path), *flags], capture_output=True, text=True,
                          encoding="utf-8", errors="replace",
                          env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    return path.stem, done.returncode, (done.stdout if not done.returncode else done.stderr)


def chosen(numbers):
    """Paths of the lessons with these numbers, or of all; ValueError for an unknown one."""
    known = {path.name[:2]: path for path in LESSONS}
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise ValueError(f"there is no lesson {unknown[0]}; there are {', '.join(known)}")
    return [known[number] for number in dict.fromkeys(numbers)] or LESSONS


def main(argv=None):
    config = parse(RunConfig, argv, "python lessons/run.py",
                   "Run lessons and write lessons/README.md.", positional=("lessons",))
    try:
        paths = chosen(config.lessons)
    except ValueError as error:
        raise SystemExit(f"lessons/run.py: {error}") from None
    # Several lessons at once have one process each; published ones run alone, as times count.
    at_once = 1 if config.publish else min(len(paths), config.jobs or cores())
    jobs = config.jobs if at_once == 1 else 1
    flags = [f"--{name}" for name in ("fast", "publish", "redraw") if getattr(config, name)]
    flags += ["--jobs", str(jobs)] if jobs else []
    failed = []
    with ThreadPoolExecutor(at_once) as pool:
        for name, status, shown in pool.map(lambda path: run(path, flags), paths):
            print(f"== {name}: {'done' if not status else f'failed with status {status}'}")
            print("\n".join(shown.splitlines()[-25:]))
            failed += [name] if status else []
    write_atomically(HERE / "README.md", page().encode())
    print("the course on one page: lessons/README.md")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
