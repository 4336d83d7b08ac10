# %% [markdown]
# # 07 Evol-Instruct: does it get harder, and is it still right?
#
# **Question.** Round by round a tuned model, the teacher, makes tasks harder. How much harder do
# they get, what do the rules that eliminate bad ones find, and what does a student, a model that is
# tuned on the tasks, gain?
#
# **What the notes say** (合成数据, synthetic data): five operations in depth make an instruction
# harder, one in breadth makes another of the same kind. Rules eliminate those that failed, and a
# model tuned on the rest does better on hard tasks.
#
# **What others found.** The paper (Xu et al. 2023, WizardLM) is said to have gone four rounds,
# to about 250,000 rows (not checked by us). The released code has four operations in depth and no
# rules that eliminate (read in their code).

# %%
import sys
from pathlib import Path
from random import Random
from statistics import mean

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

from lessons.trials import fresh_rows, is_asked, record_of, rendered
from minisft import plots
from minisft.checkpoint import load_model
from minisft.experiment import PILOT_SEED, Arm, Trial, for_results, measure, pilot, side_by_side
from minisft.instruct.evol_instruct import OPERATIONS, RULES, SHORT_FORM, attempt, evolve
from minisft.instruct.teacher import of_model
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Answer, Claim, Lesson, show_source
from minisft.shipped import BASE, TEACHER
from minisft.world import oracle
from minisft.world.corpus import Asked
from minisft.world.evolving import EASY, HARD, work

lesson = Lesson("07_evol_instruct", answer=Answer("hard questions, breadth only", 0.04, 0.13))
base, tokenizer = load_model(BASE)

# %% [markdown]
# ## The code
# One attempt: the teacher rewrites the instruction and answers it, and rules look at both. The last
# line shows how this teacher is asked.

# %%
show_source(attempt)
print(SHORT_FORM.evolve("more reasoning", "What is 3 plus 4?"))

# %% [markdown]
# ## The experiment
# For each random seed 250 easy tasks go through four rounds. The oracle, the program that knows the
# town, tells what came of each attempt: whether the new task makes sense in the town, asks
# something else than before, and has the right answer. `work` measures how hard a task is. It
# counts what is given (sentences, entries of lists, changes of a sum) and the sentences of the
# right answer. Then students are tuned for the same number of steps:
#
# | arm | rows |
# | --- | --- |
# | easy | the 250 easy tasks, and as many new easy ones as the next arm has evolved ones |
# | evolved | the 250, and all evolved tasks that the rules kept |
# | evolved, corrected | the 250, and the evolved ones that the oracle can read, with its answers |
#
# Tests: 510 new easy questions, and 510 hard ones, of two hops ("What is the pet of Tom's boss?"),
# two calls (Tom calls Mia, Mia calls Leo), two changes of a sum or two operations on a list. No row
# of an arm asks what they ask; only questions of knowledge ("the opposite of hot") may come in
# other words. A pilot with easy and hard tasks that the oracle answered, and 150 other questions,
# sets steps and rate, so that the student answers about 80% of these right, and the number of seeds
# that it takes to see 2 points.

# %%
ROOTS, ROUNDS = lesson.scale(250, fast=4), lesson.scale(4, fast=2)
EFFECT = 0.02  # the smallest difference that matters, as a share
STEPS = lesson.scale((200, 400), fast=(2,))
RATES = lesson.scale((5e-4, 1e-3, 2e-3), fast=(5e-4,))
ARMS = ("easy", "evolved", "evolved, corrected")
MOST = lesson.scale(510, fast=8)  # questions of each test
EASY_TEST, HARD_TEST = (fresh_rows(4000, MOST, Asked(), *kind) for kind in ((EASY,), (HARD, 2)))
HELD_OUT = [row for kind in ((EASY,), (HARD, 2)) for row in fresh_rows(
    5000, lesson.scale(75, fast=2), Asked.by([*EASY_TEST, *HARD_TEST]), *kind)]
ASKED = Asked.by([*EASY_TEST, *HARD_TEST, *HELD_OUT])


def root_rows(seed):
    return fresh_rows(1000 + seed, ROOTS, ASKED, EASY)


def evolution(seed):
    """(roots, steps) of Evol-Instruct, as `evolve` takes and gives them."""
    roots = [{"id": str(i), "parent": None, "operation": None, "round": 0, "source": f"seed-{i}",
              "messages": row["messages"]} for i, row in enumerate(root_rows(seed), 1)]
    teacher = of_model(TEACHER, device="cpu")
    return roots, list(evolve(roots, teacher, Random(seed), ROUNDS, SHORT_FORM))


def question(row):
    """The instruction of a row, or of an attempt that was eliminated, which may be None."""
    return row["messages"][0]["content"] if "messages" in row else row["instruction"]


def judged(row):
    text = question(row)
    return oracle.judge([text]) if text else None


def is_valid(row):
    """Whether a row's instruction makes sense in the town and its answer is right."""
    text, answer = (message["content"] for message in row["messages"])
    return oracle.is_right([text], answer)


def followed(roots, steps):
    """The truth about each round, each operation and each rule, as numbers."""
    rows, pool = {row["id"]: row for row in roots}, {row["source"]: row for row in roots}
    first = {row["source"]: work(judged(row)) for row in roots}
    rounds, fates = [of_pool(pool, first)], []
    for number in range(1, ROUNDS + 1):
        for step in (step for step in steps if step["round"] == number):
            fates.append(fate(step, rows[step["parent"]]))
            if "reason" not in step:
                rows[step["id"]] = pool[step["source"]] = step
        rounds.append(of_pool(pool, first))
    return rounds, fates


def of_pool(pool, first):
    """Mean work of the tasks in the pool, the share that is harder than at first, and valid.

    A task that the oracle cannot read counts with the work of its first form.
    """
    found = {source: work(known) for source, row in pool.items() if (known := judged(row))}
    return {"work": mean((first | found).values()),
            "harder": mean(found.get(source, 0) > first[source] for source in pool),
            "valid": mean(map(is_valid, pool.values()))}


def fate(step, parent):
    """What came of an attempt, and whether it is good: valid, and another question than before.

    Of an eliminated attempt, which may have no answer, the question alone counts.
    harder: more `work` than before, None where the oracle cannot read one of the two.
    """
    new, old = judged(step), judged(parent)
    is_new = new is not None and (old is None or new.meaning != old.meaning)
    kept = "reason" not in step
    return {"operation": step["operation"], "reason": step.get("reason"),
            "good": is_new and (not kept or is_valid(step)),
            "harder": work(new) > work(old) if new and old else None}


def data_of(seed, steps):
    """{arm: rows} of a seed; steps: of `evolution`."""
    roots = root_rows(seed)
    evolved = [step for step in steps if "reason" not in step and not is_asked(step, ASKED)]
    readable = [step for step in evolved if judged(step)]
    corrected = [{"messages": [step["messages"][0], {
        "role": "assistant", "content": judged(step).answers[0]}]} for step in readable]
    return {"easy": roots + fresh_rows(2000 + seed, len(evolved), ASKED, EASY),
            "evolved": roots + evolved, "evolved, corrected": roots + corrected}


def true_rows(seed):
    """What the pilot learns: 250 easy tasks, 500 hard ones."""
    return root_rows(seed) + fresh_rows(3000 + seed, 2 * ROOTS, ASKED, HARD, 2)


def trial_of(rows):
    """The Trial of some rows; its number of steps is set by the pilot."""
    return Trial(rendered(rows, tokenizer, base.config.block_size), list(map(record_of, HELD_OUT)),
                 list(map(record_of, [*EASY_TEST, *HARD_TEST])), steps=STEPS[0], batch_size=32)


def experiment():
    true = {seed: true_rows(seed) for seed in range(PILOT_SEED, PILOT_SEED + 3)}
    reference = Arm(BASE, None, lambda seed: trial_of(true[seed]), RATES)
    plan = pilot(reference, STEPS, EFFECT, lesson.jobs)
    seeds = lesson.scale(plan["seeds"], fast=1)
    found = side_by_side(evolution, [(seed,) for seed in range(seeds)], lesson.jobs, "teacher")
    data = [data_of(seed, steps) for seed, (_, steps) in enumerate(found)]
    arms = {name: Arm(BASE, None, lambda seed, name=name: trial_of(data[seed][name]),
                      (plan["rate"],)) for name in ARMS}
    measured = measure(arms, seeds, plan["steps"], processes=lesson.jobs)
    scores = {name: arm["scores"] for name, arm in measured.items()}
    tests = {"easy": slice(0, len(EASY_TEST)), "hard": slice(len(EASY_TEST), None)}

    def of_test(name, test):
        return [each[tests[test]] for each in scores[name]]

    def gap(arm, other, test):
        return paired_interval(of_test(other, test), of_test(arm, test))

    truth = [followed(roots, steps) for roots, steps in found]
    fates = [each for _, of_seed in truth for each in of_seed]
    rounds = {key: [[each[key] for each in of_seed] for of_seed, _ in truth]
              for key in truth[0][0][0]}  # {what: a list for each seed, a value for each round}
    return {
        "steps": plan["steps"], "pilot": plan, "seeds": seeds,
        "items": {"easy": len(EASY_TEST), "hard": len(HARD_TEST)},
        "rows": {name: mean(len(each[name]) for each in data) for name in ARMS},
        "arms": for_results(measured),
        "by_seed": {test: {name: list(map(mean, of_test(name, test))) for name in ARMS}
                    for test in tests},
        "rounds": rounds, "operations": by_operation(fates), "rules": by_rule(fates),
        "effects": {
            "work: last / first": over_seeds([each[-1] / each[0] for each in rounds["work"]]),
            "good of kept": over_seeds([good_of_kept(of_seed) for _, of_seed in truth]),
            **{f"{test}: evolved - easy": gap("evolved", "easy", test) for test in tests},
            "hard: corrected - evolved": gap("evolved, corrected", "evolved", "hard")}}


def good_of_kept(fates):
    kept = [each["good"] for each in fates if not each["reason"]]
    return mean(kept) if kept else 0.0


def by_operation(fates):
    """{operation: attempts, kept ones, good ones of these, and harder ones}, numbers."""
    found = {}
    for name in OPERATIONS:
        own = [each for each in fates if each["operation"] == name]
        kept = [each for each in own if not each["reason"]]
        found[name] = {"attempts": len(own), "kept": len(kept),
                       "good": sum(each["good"] for each in kept),
                       "harder": sum(each["harder"] is True for each in kept)}
    return found


def by_rule(fates):
    """{rule: eliminated attempts, and those of them that were good}, numbers."""
    return {rule: {"eliminated": sum(each["reason"] == rule for each in fates),
                   "good": sum(each["reason"] == rule and each["good"] for each in fates)}
            for rule in RULES}


numbers = lesson.run(experiment)

# %%
for name, each in numbers["operations"].items():
    print(f"{name:22} {each['attempts']:6,} attempts, {each['kept']:6,} kept, "
          f"{each['good']:6,} of these good, {each['harder']:6,} harder")
for rule, each in numbers["rules"].items():
    print(f"{each['eliminated']:6,} eliminated, {each['good']:,} of these good: {rule}")

# %% [markdown]
# ## Figure

# %%
by_round = {key: {f"round {i}": over_seeds(values) for i, values in enumerate(zip(*each))}
            for key, each in numbers["rounds"].items()}
print("work by round:", ", ".join(f"{value:.1f}" for value, _, _ in by_round["work"].values()))
plots.arms(lesson.figure(), {
    "Tasks harder than at first": by_round["harder"], "Valid tasks": by_round["valid"],
    **{f"Students: {test} questions": {name: over_seeds(values) for name, values in arms.items()}
       for test, arms in numbers["by_seed"].items()}}, "share")

# %% [markdown]
# ## Verdict
# "No worse" is at most 2 points behind.

# %%
effects = numbers["effects"]
CLAIMS = [
    Claim("four rounds make the tasks harder (work of the last round against the first)",
          effects["work: last / first"], least=1, unit="times"),
    Claim("of what the rules keep, nine in ten are valid and ask something new",
          effects["good of kept"], least=0.9, unit="share", source="our bound"),
    Claim("a student of evolved tasks is better at hard questions than one of easy tasks (any "
          "gain)", effects["hard: evolved - easy"], least=0),
    Claim("it is no worse at easy questions", effects["easy: evolved - easy"], least=-EFFECT,
          source="our bound")]
PREDICTIONS = [
    Claim("work of the last round against the first", effects["work: last / first"], least=1.5,
          unit="times"),
    Claim("good ones of what is kept", effects["good of kept"], least=0.7, most=0.9,
          unit="share"),
    Claim("hard: evolved against easy", effects["hard: evolved - easy"], least=0.2),
    Claim("easy: evolved against easy", effects["easy: evolved - easy"], least=-0.1, most=0),
    Claim("hard: corrected against evolved", effects["hard: corrected - evolved"], least=0,
          most=0.05)]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/07_evol_instruct.png))
#
# - **Holds**: four rounds make the tasks harder, but little: work rises by 5% (0.4 to 10.5).
# - **Fails**: of what the rules keep, 50% is valid and asks something new (49 to 52), not 90%.
# - **Holds**: a student of evolved tasks is 19 points better at hard questions (15 to 23): 20% in
#   place of 1%.
# - **Fails**: at easy questions it is 15 points worse (13 to 18): 68% in place of 84%.
#
# Breadth works: 85% of what comes of it and is kept is good. In depth it is 35%, and 14% with
# "deepen", which has to bring a new person into a text. The rules notice hardly any other failure
# than a task that comes back in the same words: nearly half of all attempts, and hardly ever a good
# one. A fluent question that makes no sense passes them all. From the second round on, about a
# quarter of the tasks are harder than at first. (The figure's 72% of valid tasks are of all 250,
# those that never changed among them.)
#
# The oracle's answers do not help the student. That arm is 3 points worse at hard questions (1 to
# 5). It leaves out what the oracle cannot read, more than a third of the evolved rows, and it seems
# that even broken questions show what hard tasks look like.
#
# Four predictions were wrong and one is undecided: we expected more of this teacher.
#
# **Read with care.** This teacher was taught what each operation means in this town, so it shows
# what Evol-Instruct can do with a teacher that understands it. It was also taught to repeat a task
# to which an operation does not apply, and one rule finds just that. It never says "sorry" and is
# not asked whether two instructions are equal, so the two rules about these have nothing to do.
# `work` is our measure, and the teacher was taught operations in depth that raise it (all but
# concretise). Evolved tasks are of other kinds than the easy ones, so difficulty and kind change
# together: the easy arm never sees the four kinds of the hard test. All arms take the same number
# of steps, at the learning rate that is best in the pilot.
#
# **What would change our mind.** A student of easy tasks that does as well at hard questions with
# three times the steps.
#
# **Exercise** (medium, 45 minutes). Is it the depth? Evolve in breadth only: in `evolution`, take
# `dataclasses.replace(SHORT_FORM, operations=("breadth",))` in place of `SHORT_FORM`, with three
# seeds and 400 steps, without a pilot (`plan` is what the published results say). What happens to
# hard questions, and what to easy ones? (Check with `--answer`: the share of hard questions that
# are right.)
#
# **Solution.** The first three seeds: 8% of the hard questions in place of 18%, but not 1% as with
# easy tasks, for breadth leads to hard kinds too. Easy questions are at 68%, in place of 69%. So
# depth brings more than half of the gain at hard questions, though these students have fewer
# evolved rows, and it is not depth that costs easy ones.
