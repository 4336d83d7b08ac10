"""Random edits of right code: does a hint ever name a cause that is not there?

    python -m tests.exercises_edits                  200 edits that still run, over all exercises
    python -m tests.exercises_edits --number 50 --seed 1

An edit changes one operator, comparison or constant, or removes one statement. What was recognised
as a known mistake is then tried on cases that nobody has looked at: a hint is wrong if the code
does not do there what that mistake does.
"""

import argparse
import ast
import copy
import random
import sys
from collections import Counter

from lessons.checking.diagnose import AnswerKey, diagnose, equal, packed_cases
from lessons.checking.exercise import ORDER, exercise, find, split_target
from lessons.checking.worker import Job, run_apart

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


def edits_of(function):
    """Functions of a node, each of which changes one thing in such a tree: (path of it, change)."""
    for number, node in enumerate(ast.walk(function)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, OPERATORS):
            for kind in set(OPERATORS) - {type(node.op)}:
                yield number, lambda node, kind=kind: setattr(node, "op", kind())
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], COMPARISONS):
            for kind in set(COMPARISONS) - {type(node.ops[0])}:
                yield number, lambda node, kind=kind: setattr(node, "ops", [kind()])
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            value = not node.value if isinstance(node.value, bool) else node.value + 1
            yield number, lambda node, value=value: setattr(node, "value", value)
        for i, statement in enumerate(getattr(node, "body", ()) if isinstance(
                node, (ast.FunctionDef, ast.For, ast.If, ast.With)) else ()):
            if not isinstance(getattr(statement, "value", None), ast.Constant):  # a docstring
                yield number, lambda node, i=i: node.body.__setitem__(i, ast.Pass())


def edited(chosen, rng):
    """The solution with one random edit in one of its targets."""
    tree = ast.parse(chosen.solution)
    path = split_target(rng.choice(chosen.targets))[1]
    possible = sorted(edits_of(find(tree, path)), key=lambda edit: edit[0])
    number, change = rng.choice(possible)
    tree = copy.deepcopy(tree)
    change(list(ast.walk(find(tree, path)))[number])
    return ast.unparse(ast.fix_missing_locations(tree))


def kinds(name, number, seed):
    """(kind, hint, text) of so many edits of an exercise that run without an exception."""
    chosen, rng = exercise(name), random.Random(f"{seed} {name}")
    keys = [AnswerKey(chosen, packed_cases(chosen, random.Random(each))) for each in (0, 1000)]
    found = []
    while len(found) < number:
        texts = [edited(chosen, rng) for _ in range(2 * number)]
        jobs = [[Job(name, text, "edited.py", key.cases) for key in keys] for text in texts]
        run_apart([job for pair in jobs for job in pair], 10)
        found += [kind_of(keys, pair) for pair in jobs
                  if not any("error" in outcome for job in pair for outcome in job.outcomes)]
    return found[:number]


def kind_of(keys, jobs):
    verdict = diagnose(keys[0], jobs[0].outcomes)
    known = [each for each in keys[0].exercise.mistakes if each.name == verdict.hint]
    if verdict.status == "passed":
        kind = "changes nothing"
    elif known:
        right = all(map(equal, keys[1].mistaken(known[0]), jobs[1].outcomes))
        kind = "a hint that is right" if right else "A HINT THAT IS WRONG"
    else:
        kind = "a symptom" if verdict.hint else "a counterexample"
    return kind, verdict.hint, jobs[0].text


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.exercises_edits", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200, metavar="N", help="edits that run")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    given = parser.parse_args(argv)
    counts = Counter()
    for place, name in enumerate(ORDER):
        share = given.number * (place + 1) // len(ORDER) - given.number * place // len(ORDER)
        found = kinds(name, share, given.seed) if share else []
        counts.update(kind for kind, _, _ in found)
        print(f"{name:11}", dict(Counter(kind for kind, _, _ in found)), flush=True)
        for kind, hint, text in found:
            if kind.isupper():
                print(hint, text, sep="\n")
    print(dict(counts))
    return bool(counts["A HINT THAT IS WRONG"])


if __name__ == "__main__":
    sys.exit(main())
