"""Exercises: write pieces of minisft yourself, and be told what is wrong and why.

    python lessons/check.py                what is done and what comes next
    python lessons/check.py 6              start exercise 6, or check it (or: check.py adamw)
    python lessons/check.py all            check all that have been started
    python lessons/check.py 6 --watch      check again whenever the file is saved
    python lessons/check.py 6 --hint       a question; then pseudocode; then the difference between
                                           your file and ours; then ours: one more each time
    python lessons/check.py 6 --reset      start the file again; the old one is kept beside it

Your files are in lessons/mine. Each exercise runs on the project's own code for all the rest, so do
them in any order. What passes can train a real model:

    python -m minisft.train --use-mine lora,adamw
"""

import difflib
import json
import os
import random
import sys
import textwrap
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

sys.path += map(str, Path(__file__).resolve().parents)  # finds minisft

from lessons.checking.diagnose import AnswerKey, diagnose, packed_cases
from lessons.checking.exercise import MINE, ORDER, exercise
from lessons.checking.trial import is_tensor, kind
from lessons.checking.worker import Job, run_apart
from minisft.checkpoint import write_atomically
from minisft.config import option, parse
from minisft.screen import visible

PROGRESS = MINE / "progress.json"
SECONDS = 10  # for the cases of one exercise
FEW = 12  # numbers that are shown of one tensor


@dataclass(frozen=True)
class CheckConfig:
    exercises: tuple = option((), "numbers or names of exercises, or all", metavar="N")
    watch: bool = option(False, "check again whenever the file is saved; Ctrl-C ends it")
    hint: bool = option(False, "show one more hint")
    reset: bool = option(False, "start the file again; the old one is kept beside it")

    def __post_init__(self):
        if self.watch + self.hint + self.reset > 1:
            raise ValueError("--watch, --hint and --reset exclude each other; give one of them")
        one = len(self.exercises) == 1 and self.exercises != ("all",)
        if (self.watch or self.hint or self.reset) and not one:
            raise ValueError("--watch, --hint and --reset go with one exercise; name it, as in "
                             "check.py 6 --hint")

    def chosen(self):
        """The exercises that are named; of "all" those that have been started."""
        if self.exercises == ("all",):
            return [each for each in map(exercise, ORDER) if (MINE / each.file).exists()]
        return [exercise(name) for name in self.exercises]


# What is done


def read_progress():
    """{name: {"status", "of", "hints"}}; a damaged file counts as an empty one."""
    try:
        found = json.loads(PROGRESS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(name, **what):
    progress = read_progress()
    progress[name] = progress.get(name, {}) | what
    MINE.mkdir(parents=True, exist_ok=True)
    write_atomically(PROGRESS, json.dumps(progress, indent=1).encode())


def state_of(exercise, progress):
    """How far an exercise is, in a word or two."""
    path, noted = MINE / exercise.file, progress.get(exercise.name, {})
    if not path.exists():
        return ""
    try:
        text = exercise.text_in(MINE)
    except ValueError:
        return "not in UTF-8; save it in UTF-8"
    if noted.get("status") and noted.get("of") != digest(text):
        return "changed since its check"
    return {"passed": "done", "failed": "not yet"}.get(noted.get("status"), "started")


def digest(text):
    return sha256(text.encode()).hexdigest()[:16]


def show_map():
    progress = read_progress()
    exercises = [exercise(name) for name in ORDER]
    states = [state_of(each, progress) for each in exercises]
    print(f"{states.count('done')} of {len(exercises)} exercises are done.\n")
    for each, state in zip(exercises, states):
        mark = {"done": "x", "": " "}.get(state, "-")
        needs = "; best after " + ", ".join(map(str, sorted(
            exercise(name).number for name in each.after))) if each.after else ""
        print(f" [{mark}] {each.number:2} {each.name:11} {each.title:40} "
              f"{each.minutes:3} min{needs}{'; ' * bool(state)}{state}")
    left = [each for each, state in zip(exercises, states) if state != "done"]
    if left:
        print(f"\nNext: python lessons/check.py {left[0].number}")
    done = [each.name for each, state in zip(exercises, states) if state == "done"]
    if done:
        print(f"\nTrain a model with your own code: python -m minisft.train --use-mine "
              f"{','.join(done)}")


# Checking


def start(exercise):
    """Write the stub into the learner's folder."""
    path = MINE / exercise.file
    MINE.mkdir(parents=True, exist_ok=True)
    path.write_text(exercise.stub, encoding="utf-8")
    print(f"Exercise {exercise.number}, {exercise.title} ({exercise.minutes} minutes).\n"
          f"It begins in {relative(path)}: open it, write what raises NotImplementedError,\n"
          f"and run the same command again. Read: {exercise.where_to_read}.")


def check(exercises):
    """Check the learner's files of these exercises, say what came out; returns the Verdicts."""
    jobs, keys = [], []
    for each in exercises:
        path = MINE / each.file
        cases = packed_cases(each, random.Random(0))
        jobs.append(Job(each.name, each.text_in(MINE), str(path), cases))
        keys.append((each, cases))
    run_apart(jobs, SECONDS)
    verdicts = []
    for job, (each, cases) in zip(jobs, keys):
        verdict = diagnose(AnswerKey(each, cases), job.outcomes)
        report(each, verdict, job, alone=len(jobs) == 1)
        note(each.name, status=verdict.status, of=digest(job.text))
        verdicts.append(verdict)
    return verdicts


def report(exercise, verdict, job, alone):
    """Say what came out of a check; alone: of this exercise only, which leaves room for more."""
    words = {"passed": "passed", "failed": "not yet", "to do": "to do"}
    print(f"\n== {exercise.number} {exercise.name}: {words[verdict.status]}")
    if verdict.status == "passed":
        print(f"{len(job.cases)} cases are right, in {job.seconds:.1f} s.")
        if alone:
            print("Other ways to write it:")
        for variant in exercise.variants if alone else ():
            print(f"\n  {variant.name}. {variant.cost}")
            for target, body in variant.bodies.items():
                print(f"\n    # {target.split(':')[1]}")
                print(textwrap.indent(textwrap.dedent(body).strip("\n"), "    "))
        return
    lines = [("cause", verdict.cause or "none of the usual ones; here is the smallest case")]
    if verdict.line:
        text = " ".join(job.text.split("\n")[verdict.line - 1:verdict.line]).strip()
        lines.append(("where", f"{relative(job.path)}, line {verdict.line}: {text}"))
    if verdict.status == "failed":
        lines += [("call", exercise.call),
                  *(("" if i else "with", f"{name} = {show(value)}")
                    for i, (name, value) in enumerate(verdict.case.items())),
                  *counterexample_lines(verdict)]
    if job.printed.strip():
        lines.append(("printed", job.printed.strip()[-500:]))
    lines += [("read", exercise.where_to_read),
              ("next", f"python lessons/check.py {exercise.number} --hint")]
    for label, text in lines:
        print(textwrap.fill(visible(text), 100, initial_indent=f"  {label:8} ",
                            subsequent_indent=" " * 11))


def counterexample_lines(verdict):
    if verdict.expected is None and isinstance(verdict.got, str) and not verdict.where:
        return [("got", verdict.got)]
    return [("value", verdict.where or "names of the values"), ("expected", show(verdict.expected)),
            ("got", show(verdict.got))]


def show(value):
    """A packed value as one reads it, shortened where it is long."""
    if is_tensor(value):
        shape = tuple(value["shape"])
        if len(value["numbers"]) > FEW:
            first = ", ".join(map(show, value["numbers"][:3]))
            return f"{kind(value)}, [{first}, ...]"
        return show(nested(value["numbers"], shape))
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, float):
        return f"{value:.7g}"
    return repr(value) if isinstance(value, str) else str(value)


def nested(numbers, shape):
    """Numbers as lists in lists."""
    if not shape:
        return numbers[0]
    step = len(numbers) // shape[0] if shape[0] else 0
    return [nested(numbers[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


def relative(path):
    try:
        return os.path.relpath(path)
    except ValueError:  # on Windows there is no way from one drive to another
        return str(path)


def watch(exercise):
    """Check, and check again whenever the file has been saved, until Ctrl-C."""
    path, seen = MINE / exercise.file, None
    while True:
        try:
            now = path.stat().st_mtime_ns, path.stat().st_size
        except OSError:  # an editor that is just replacing the file
            now = seen
        if now != seen:
            seen = now
            try:
                check([exercise])
            except (OSError, ValueError) as error:  # such as a file that is not in UTF-8 yet
                print(f"\n{error}")
            print(f"\nwaiting for {relative(path)} to be saved; Ctrl-C ends it", flush=True)
        time.sleep(0.3)


# Hints


def hint(exercise):
    """Show the hints so far and one more."""
    levels = [("a question", exercise.question),
              ("in steps", textwrap.dedent(exercise.pseudocode).strip("\n")),
              ("the difference between your file and ours", difference_from_ours(exercise)),
              ("ours", exercise.solution)]
    shown = min(read_progress().get(exercise.name, {}).get("hints", 0) + 1, len(levels))
    note(exercise.name, hints=shown)
    name, text = levels[shown - 1]
    print(f"Hint {shown} of {len(levels)}, {name}:\n\n{text}")


def difference_from_ours(exercise):
    """Lines of the learner's file that ours has not, and the other way round."""
    path = MINE / exercise.file
    mine = exercise.text_in(MINE) if path.exists() else exercise.stub
    lines = list(difflib.unified_diff(mine.splitlines(), exercise.solution.splitlines(),
                                      "yours", "ours", n=1, lineterm=""))
    return "\n".join(lines) or "there is none"


def reset(exercise):
    path = MINE / exercise.file
    if path.exists():
        number = 1
        while (kept := path.with_suffix(f".{number}.old")).exists():
            number += 1
        path.rename(kept)
        print(f"The old file is now {relative(kept)}.")
    note(exercise.name, status="", hints=0)
    start(exercise)


def act(config):
    """Do what the command line asks for; returns the Verdicts of what was checked."""
    if not config.exercises:
        show_map()
        return []
    chosen = config.chosen()
    if config.hint:
        return hint(chosen[0]) or []
    if config.reset:
        return reset(chosen[0]) or []
    new = [each.name for each in chosen if not (MINE / each.file).exists()]
    for each in chosen:
        if each.name in new:
            start(each)
    if config.watch:
        watch(chosen[0])
    if not chosen:
        print("No exercise has been started; begin with: python lessons/check.py 1")
    return check([each for each in chosen if each.name not in new])


def main(argv=None):
    config = parse(CheckConfig, argv, "python lessons/check.py",
                   "Exercises: start them, check them, get hints.", positional=("exercises",))
    try:
        verdicts = act(config)
    except (ValueError, OSError) as error:
        raise SystemExit(f"lessons/check.py: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nlessons/check.py: stopped") from None
    if any(verdict.status == "failed" for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
