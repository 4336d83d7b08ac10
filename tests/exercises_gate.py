"""The gate of the exercises: every known mistake fails with its own hint, every right way passes.

    python -m tests.exercises_gate                         one seed, all exercises
    python -m tests.exercises_gate --seeds 100 --publish   and write lessons/results/exercises.*
    python -m tests.exercises_gate --only lora adamw       some of them
    python -m tests.exercises_gate --stubs                 write the stubs in lessons/exercises

All code runs in the worker, as a learner's does. A seed draws all cases anew. Besides the known
mistakes, answers that know nothing must fail: zeros, one constant, the input itself, and the right
answer with one of its values wrong by one part in ten thousand.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from lessons.checking.diagnose import AnswerKey, diagnose, equal, packed_cases
from lessons.checking.exercise import ORDER, STUBS, exercise
from lessons.checking.trial import is_tensor
from lessons.checking.worker import Job, run_apart
from minisft import plots
from minisft.checkpoint import write_atomically

RESULTS = Path(__file__).resolve().parents[1] / "lessons" / "results"
BROKEN = ("SyntaxError", "IndentationError", "NameError", "ImportError")
SECONDS = 60  # for one submission; a learner has 10, but the gate's machine may be busy


def submissions(exercise):
    """(kind, name, text, status, hint) of all that is handed in, and what must come out."""
    yield "solution", "", exercise.solution, "passed", ""
    yield "stub", "", exercise.stub, "to do", ""
    for variant in exercise.variants:
        yield "variant", variant.name, exercise.variant(variant.name), "passed", ""
    for mistake in exercise.mistakes:
        yield "mistake", mistake.name, exercise.mistaken(mistake), "failed", mistake.name


def examine(names, seed):
    """Hand everything in, with the cases of a seed.

    Returns (complaints, {(exercise, mistake): (has its own hint, [whether each case tells it])}).
    """
    handed_in, jobs = [], []
    for name in names:
        chosen = exercise(name)
        cases = packed_cases(chosen, random.Random(seed))
        key = AnswerKey(chosen, cases)
        for kind, what, text, *due in submissions(chosen):
            handed_in.append((key, kind, what, due))
            jobs.append(Job(name, text, f"{kind} {what}.py", cases))
    run_apart(jobs, SECONDS)

    complaints, kills = [], {}
    for (key, kind, what, due), job in zip(handed_in, jobs):
        verdict = diagnose(key, job.outcomes)
        if [verdict.status, verdict.hint] != due:
            complaints.append(f"{job.exercise}, seed {seed}: {kind} {what!r} must be {due}, is "
                              f"{[verdict.status, verdict.hint]}: {verdict.cause} {verdict.where} "
                              f"{verdict.expected} {verdict.got}")
        if kind == "mistake":
            complaints += [f"{job.exercise}: {what!r} is no mistake but broken code: "
                           f"{outcome['message']}" for outcome in job.outcomes[:1]
                           if outcome.get("error") in BROKEN]
            kills[job.exercise, what] = verdict.hint == what, [
                not equal(a, b) for a, b in zip(key.expected, job.outcomes)]
        if kind == "solution":
            complaints += [f"{job.exercise}, seed {seed}: {lazy} passes"
                           for lazy, outcomes in ignorant(key)
                           if diagnose(key, outcomes).status != "failed"]
    return complaints, kills


# Answers that know nothing


def ignorant(key):
    """(name, outcomes) of answers that must fail."""
    expected = [outcome["values"] for outcome in key.expected]
    for constant in 0, 1:
        yield f"{constant} everywhere", answers(
            map_values(values, lambda number, constant=constant: type(number)(constant))
            for values in expected)
    yield "the input", answers(dict.fromkeys(values, next(iter(case.values())))
                               for values, case in zip(expected, key.cases))
    for name in dict.fromkeys(name for values in expected for name in values):
        wrong = [values | ({name: map_values(values[name], slightly)} if name in values else {})
                 for values in expected]
        if wrong != expected:
            yield f"{name} wrong by 1e-4", answers(wrong)


def answers(values):
    return [{"values": each, "changed": []} for each in values]


def slightly(number):
    return number * (1 + 1e-4) if isinstance(number, float) else number


def map_values(value, change):
    """A packed value with all its numbers changed."""
    if is_tensor(value):
        return value | {"numbers": [change(number) for number in value["numbers"]]}
    if isinstance(value, dict):
        return {key: map_values(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [map_values(each, change) for each in value]
    return change(value) if isinstance(value, (int, float)) else value


# What came out


def results(names, seeds):
    """Examine all, seed after seed; plain values to write down."""
    began, complaints, told, own = time.perf_counter(), [], {}, Counter()
    for seed in tqdm(range(seeds), unit="seed"):
        found, kills = examine(names, seed)
        complaints += found
        for key, (is_own, cases) in kills.items():
            own[key] += is_own
            told[key] = [a + b for a, b in zip(told.get(key, [0] * len(cases)), cases)]
    table = {}
    for name in names:
        chosen = exercise(name)
        table[name] = {
            "number": chosen.number, "title": chosen.title,
            "variants": [variant.name for variant in chosen.variants],
            "mistakes": [{"name": mistake.name, "hint": mistake.hint,
                          "seeds with its own hint": own[name, mistake.name],
                          "seeds in which each case tells it": told[name, mistake.name]}
                         for mistake in chosen.mistakes]}
    return {"seeds": seeds, "minutes": round((time.perf_counter() - began) / 60, 1),
            "mistakes": sum(len(each["mistakes"]) for each in table.values()),
            "complaints": complaints, "exercises": table}


def page(found):
    """The results as a text: a table of the exercises, then each one's mistakes."""
    lines = ["# The exercises: what is known to go wrong, and whether it is told", "",
             f"{found['mistakes']} known mistakes in {len(found['exercises'])} exercises, each "
             f"handed in with the cases of {found['seeds']} seeds. A share says in how many seeds "
             "that case, from the smallest to the largest, tells the mistake from right code.",
             f"Written by `python -m tests.exercises_gate --seeds {found['seeds']} --publish`.", "",
             "![Which case tells which mistake](exercises.png)", "",
             "| exercise | right ways that pass | known mistakes | told with their own hint |",
             "| --- | --- | --- | --- |"]
    for each in found["exercises"].values():
        own = sum(m["seeds with its own hint"] == found["seeds"] for m in each["mistakes"])
        lines.append(f"| {each['number']} {each['title']} | {1 + len(each['variants'])} | "
                     f"{len(each['mistakes'])} | {own} |")
    for each in found["exercises"].values():
        lines += ["", f"## {each['number']} {each['title']}", "",
                  "| mistake | hint | told by case |", "| --- | --- | --- |"]
        for mistake in each["mistakes"]:
            shares = " ".join(f"{100 * n // found['seeds']}%"
                              for n in mistake["seeds in which each case tells it"])
            hint = mistake["hint"].replace("|", "\\|").replace("<", "\\<")
            lines.append(f"| {mistake['name']} | {hint} | {shares} |")
    return "\n".join(lines) + "\n"


def publish(found):
    write_atomically(RESULTS / "exercises.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomically(RESULTS / "exercises.md", page(found).encode())
    panels = {f"{each['number']} {each['title']}": {
        mistake["name"]: [n / found["seeds"] for n in mistake["seeds in which each case tells it"]]
        for mistake in each["mistakes"]} for each in found["exercises"].values()}
    write_atomically(RESULTS / "exercises.png", plots.png(plots.kill_matrix, panels))


def write_stubs():
    for name in ORDER:
        chosen = exercise(name)
        (STUBS / chosen.file).write_bytes(chosen.stub.encode())


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.exercises_gate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--only", nargs="+", default=ORDER, metavar="NAME", choices=ORDER,
                        help="some exercises (default: all)")
    parser.add_argument("--publish", action="store_true", help="write lessons/results/exercises.*")
    parser.add_argument("--stubs", action="store_true", help="write lessons/exercises instead")
    given = parser.parse_args(argv)
    if given.stubs:
        return write_stubs()
    found = results(given.only, given.seeds)
    print("\n".join([*found["complaints"], f"{len(found['complaints'])} complaints about "
                     f"{found['mistakes']} mistakes in {found['seeds']} seeds, "
                     f"{found['minutes']} minutes"]))
    if given.publish:
        publish(found)
    return bool(found["complaints"])


if __name__ == "__main__":
    sys.exit(main())
