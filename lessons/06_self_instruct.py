# %% [markdown]
# # 06 Self-Instruct: how much of what a model writes is right?
#
# **Question.** A tuned model, the teacher, writes new tasks and answers them itself. How many are
# right, what do the filters find, and what does a student, a model that is tuned on them, learn?
#
# **What the notes say** (合成数据, synthetic data): from 175 tasks written by hand (seed tasks) a
# model makes many more. Filters take out the bad and the repeated ones, and tuning on the rest
# improves the model.
#
# **What others found.** The released code keeps a new instruction if its ROUGE-L with each one that
# was kept before is at most 0.7 (Wang et al. 2022; read in their code). ROUGE-L says how alike two
# texts are, from 0 to 1, by the words that both hold in the same order (minisft/instruct/rouge.py).
# People who looked through the original data are said to have found that 54% of the tasks are right
# in all three parts: instruction, input and output (not checked by us).

# %%
import sys
from pathlib import Path
from statistics import mean

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

from lessons.trials import fresh_rows, is_asked, record_of, rendered
from minisft import plots
from minisft.checkpoint import load_model
from minisft.experiment import PILOT_SEED, Arm, Trial, for_results, measure, pilot, side_by_side
from minisft.instruct.filters import Known, filters
from minisft.instruct.prompts import SHORT_FORM, Instance, Task
from minisft.instruct.self_instruct import LEFT_OVER, TEMPERATURE, TOP_P, SelfInstruct
from minisft.instruct.teacher import of_model
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Answer, Claim, Lesson, show_source
from minisft.shipped import BASE, TEACHER
from minisft.world import oracle
from minisft.world.corpus import Asked
from minisft.world.teaching import KINDS

lesson = Lesson("06_self_instruct", answer=Answer("valid, asked again", 0.84, 0.92))
base, tokenizer = load_model(BASE)

# %% [markdown]
# ## The code
# In each round the teacher sees a few tasks and writes new ones. Each new one, a candidate, goes
# through the filters of instructions, is answered by the teacher, and goes through the filters of
# answers. This is what decides about one candidate:

# %%
show_source(SelfInstruct._take)
REASONS = [each.reason for each in filters(Known())]
print("filters:", *REASONS, sep="\n    ")

# %% [markdown]
# ## The experiment
# The teacher is a model as large as the students. It was tuned on the town and on how to write
# tasks of it. For each random seed it gets 175 other seed tasks, drawn from the kinds of easy tasks
# that it was taught to write (not those written by hand, of which only a quarter are about the
# town), and writes until 600 new ones are kept. The oracle, the program that knows the town, tells
# which are valid: a question that makes sense in the town, with its right answer. To learn what the
# filters of instructions threw away, the teacher answers those too. Then students are tuned for the
# same number of steps:
#
# | arm | rows |
# | --- | --- |
# | seeds | the 175 seed tasks |
# | unfiltered | the same, and candidates before all filters, as many as the next arm has kept |
# | machine-made | the same, and what the filters kept |
# | true | the same, and as many new tasks that the town's oracle answered |
#
# The 510 test questions are new ones of the same kinds. No row of an arm asks what they ask; only
# questions of knowledge ("the opposite of hot") may come in other words. A pilot with the last arm
# and 150 other questions sets steps and rate, so that the student answers about 80% of these right,
# and the number of seeds that it takes to see 2 points.

# %%
SEED_TASKS = lesson.scale(175, fast=12)
NEW = lesson.scale(600, fast=6)  # machine-made tasks to keep
EFFECT = 0.02  # the smallest difference that matters, as a share
STEPS = lesson.scale((100, 200, 400), fast=(2,))
RATES = lesson.scale((5e-4, 1e-3, 2e-3), fast=(5e-4,))
ARMS = ("seeds", "unfiltered", "machine-made", "true")
TEST = fresh_rows(4000, lesson.scale(510, fast=12), Asked(), KINDS)
HELD_OUT = fresh_rows(5000, lesson.scale(150, fast=8), Asked.by(TEST), KINDS)
ASKED = Asked.by([*TEST, *HELD_OUT])


def seed_rows(seed):
    return fresh_rows(1000 + seed, SEED_TASKS, ASKED, KINDS)


def machine_made(seed):
    """Every candidate that Self-Instruct looked at, and what was kept of them.

    Candidates are (instruction, answer, why it was dropped or None), in no order.
    """
    tasks = [Task(f"seed-{i}", row["messages"][0]["content"],
                  (Instance("", row["messages"][1]["content"]),), False)
             for i, row in enumerate(seed_rows(seed), 1)]
    teacher = of_model(TEACHER, TEMPERATURE, seed, device="cpu", top_p=TOP_P)
    made = SelfInstruct(teacher, tasks, seed, prompts=SHORT_FORM)
    made.run(NEW)
    candidates = [(*said(row), None) for row in made.rows]
    for row in made.rejected:
        if "instruction" in row and row["reason"] != LEFT_OVER:
            answer = row["output"] if "output" in row else teacher(row["instruction"])
            candidates.append((row["instruction"], answer, row["reason"]))
    return candidates


def said(row):
    return [message["content"] for message in row["messages"]]


def is_valid(candidate):
    instruction, answer, _ = candidate
    return oracle.is_right([instruction], answer)


def funnel(candidates):
    """For each filter, in order: what reached it, and what it dropped; valid and invalid ones."""
    left, steps = list(candidates), []
    for reason in REASONS:
        dropped = [each for each in left if each[2] == reason]
        steps.append({"reason": reason, "reached": truth(left), "dropped": truth(dropped)})
        left = [each for each in left if each[2] != reason]
    return steps, truth(left)


def truth(candidates):
    """{"valid": number, "invalid": number} of some candidates."""
    valid = sum(map(is_valid, candidates))
    return {"valid": valid, "invalid": len(candidates) - valid}


def diversity(rows):
    """How varied some rows are: kinds of tasks, the commonest kind, and different questions."""
    judged = [each for each in (oracle.judge([said(row)[0]]) for row in rows) if each]
    skills = [each.skill for each in judged]
    return {"kinds": len(set(skills)),
            "commonest": max(map(skills.count, skills), default=0) / max(1, len(skills)),
            "different": len({each.meaning for each in judged}) / max(1, len(judged))}


def data_of(seed, candidates):
    """{arm: rows} of a seed; candidates: of `machine_made`, or none where only "true" is needed."""
    seeds = seed_rows(seed)
    written = [{"messages": [{"role": "user", "content": text},
                             {"role": "assistant", "content": answer}], "kept": reason is None}
               for text, answer, reason in candidates if text and answer]
    free = [row for row in written if not is_asked(row, ASKED)]
    kept = [row for row in free if row["kept"]]
    number = len(kept) or NEW
    unfiltered = [free[i * len(free) // number] for i in range(number)] if free else []  # of both
    return {"seeds": seeds, "unfiltered": seeds + unfiltered, "machine-made": seeds + kept,
            "true": seeds + fresh_rows(2000 + seed, number, ASKED, KINDS)}


def trial_of(rows):
    """The Trial of some rows; its number of steps is set by the pilot."""
    return Trial(rendered(rows, tokenizer, base.config.block_size), list(map(record_of, HELD_OUT)),
                 list(map(record_of, TEST)), steps=STEPS[0], batch_size=32)


def experiment():
    true = {seed: data_of(seed, [])["true"] for seed in range(PILOT_SEED, PILOT_SEED + 3)}
    reference = Arm(BASE, None, lambda seed: trial_of(true[seed]), RATES)
    plan = pilot(reference, STEPS, EFFECT, lesson.jobs)
    seeds = lesson.scale(plan["seeds"], fast=1)
    found = side_by_side(machine_made, [(seed,) for seed in range(seeds)], lesson.jobs, "teacher")
    data = [data_of(seed, candidates) for seed, candidates in enumerate(found)]
    arms = {name: Arm(BASE, None, lambda seed, name=name: trial_of(data[seed][name]),
                      (plan["rate"],)) for name in ARMS}
    measured = measure(arms, seeds, plan["steps"], processes=lesson.jobs)
    scores = {name: arm["scores"] for name, arm in measured.items()}

    def gap(arm, other):
        return paired_interval(scores[other], scores[arm])

    funnels = [funnel(candidates) for candidates in found]
    before = [share_valid(steps[0]["reached"]) for steps, _ in funnels]
    after = [share_valid(left) for _, left in funnels]
    return {
        "steps": plan["steps"], "pilot": plan, "seeds": seeds, "items": len(TEST),
        "rows": {name: mean(len(each[name]) for each in data) for name in ARMS},
        "arms": for_results(measured),
        "funnel": summed(funnels), "valid_before": before, "valid_after": after,
        "diversity": {name: mean_of(diversity(each[name][SEED_TASKS:]) for each in data)
                      for name in ARMS[1:]},
        "effects": {"machine-made - seeds": gap("machine-made", "seeds"),
                    "machine-made - true": gap("machine-made", "true"),
                    "machine-made - unfiltered": gap("machine-made", "unfiltered"),
                    "valid: after - before": over_seeds(
                        [b - a for a, b in zip(before, after)])}}


def share_valid(counts):
    return counts["valid"] / (sum(counts.values()) or 1)


def summed(funnels):
    """Of each filter, over all seeds: candidates that reached it, dropped ones, and invalid ones.

    precision: the share of dropped ones that are invalid; recall: the share of the invalid ones
    that reached it which it dropped; None where there is none.
    """
    rows = []
    for step in zip(*(steps for steps, _ in funnels)):
        reached, dropped = ({key: sum(each[part][key] for each in step)
                             for key in ("valid", "invalid")} for part in ("reached", "dropped"))
        left = {key: reached[key] - dropped[key] for key in reached}
        rows.append({
            "reason": step[0]["reason"], "reached": sum(reached.values()),
            "dropped": sum(dropped.values()), "invalid_dropped": dropped["invalid"],
            "valid_after": share_valid(left), "precision": ratio(dropped["invalid"], dropped),
            "recall": dropped["invalid"] / reached["invalid"] if reached["invalid"] else None})
    return rows


def ratio(part, counts):
    return part / sum(counts.values()) if sum(counts.values()) else None


def mean_of(dicts):
    dicts = list(dicts)
    return {key: mean(each[key] for each in dicts) for key in dicts[0]}


numbers = lesson.run(experiment)

# %% [markdown]
# Of each filter: *precision* is the share of what it dropped that is invalid, *recall* the share of
# the invalid ones that reached it which it dropped.

# %%
print(f"{'reached':>8} {'dropped':>8} {'precision':>10} {'recall':>7} {'valid after':>12}")
for row in numbers["funnel"]:
    if row["dropped"]:
        recall = "" if row["recall"] is None else f"{row['recall']:.0%}"
        print(f"{row['reached']:8,} {row['dropped']:8,} {row['precision']:10.0%} {recall:>7} "
              f"{row['valid_after']:12.1%}  {row['reason']}")
for name, each in numbers["diversity"].items():
    print(f"{name:12} {each['kinds']:.0f} kinds of tasks, {each['commonest']:.0%} of the commonest,"
          f" {each['different']:.0%} different questions")

# %% [markdown]
# ## Figure

# %%
before, after = over_seeds(numbers["valid_before"]), over_seeds(numbers["valid_after"])
plots.arms(lesson.figure(), {
    "Students on new questions": {name: over_seeds(numbers["arms"][name]["by_seed"])
                                  for name in ARMS},
    "Valid tasks": {"before the filters": before, "after the filters": after}}, "share")

# %% [markdown]
# ## Verdict
# "As good as" is at most 2 points behind.

# %%
effects = numbers["effects"]
CLAIMS = [
    Claim("tuning on machine-made tasks improves on the seed tasks alone (any gain)",
          effects["machine-made - seeds"], least=0),
    Claim("the filters raise the share of valid tasks (any gain)",
          effects["valid: after - before"], least=0),
    Claim("a student of filtered tasks is better than one of as many unfiltered ones (any gain)",
          effects["machine-made - unfiltered"], least=0),
    Claim("machine-made tasks are as good as the same number of true ones",
          effects["machine-made - true"], least=-EFFECT, source="our bound")]
PREDICTIONS = [
    Claim("machine-made against seeds", effects["machine-made - seeds"], least=0.1),
    Claim("machine-made against true", effects["machine-made - true"], least=-0.1, most=0),
    Claim("machine-made against unfiltered", effects["machine-made - unfiltered"], least=-EFFECT,
          most=EFFECT),
    Claim("valid after the filters", after, least=0.9, unit="share"),
    Claim("valid: after - before", effects["valid: after - before"], most=EFFECT)]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/06_self_instruct.png))
#
# - **Holds**: 600 machine-made tasks bring 5 points beyond the 175 seed tasks: 61% to 66%.
# - **Fails**: the filters do not raise the share of valid tasks, they lower it, from 90% to 83%.
# - **Undecided**: whether a student of filtered tasks is better than one of as many unfiltered
#   ones, -1.3 points (-3.4 to 0.8).
# - **Fails**: machine-made tasks are 11 points behind as many true ones (8 to 14).
#
# The table tells why validity falls. The ROUGE-L filter drops six in ten candidates, and 95% of
# these are valid: what the teacher writes again and again is what it can do, and what is left is
# rarer and more often wrong. It buys variety: 99% of what is left are different questions, 93% of
# the unfiltered ones. Of what the filter of cut-off instructions drops 94% is valid, too: the
# teacher rarely breaks off, and the filter sees a break where there is none. No filter looks at
# whether an answer is right.
#
# One prediction was right, two are undecided, and two were wrong: we expected a gain of 10 points
# and 90% valid.
#
# **Read with care.** The teacher was tuned on more than 50 times as many rows as its students see,
# all of them from the same town. It hands on what it knows; what it does not know no student can
# learn from it. It writes each kind of task in at most six wordings, and true tasks have hundreds.
# All arms take the same number of steps, so the fewer rows an arm has, the more often it sees each;
# and all have the learning rate that is best for true tasks. The pilot asks for 21 seeds to see 2
# points, and 12 were run. The oracle is strict: what it cannot read counts as invalid.
#
# **What would change our mind.** A filter of instructions that finds most of the wrong answers.
#
# **Exercise** (easy, 30 minutes). No filter looks at whether an answer is right. But a teacher that
# only guesses gives another answer when it is asked a second time. Let it write 1,000 tasks from
# the seeds written by hand, once as they come, and once so that it is asked for each answer again:
#
#     python -m minisft.build self-instruct --teacher checkpoints/teacher.pt --prompts short \
#         --count 1000 --out once.jsonl
#     python -m minisft.build self-instruct --teacher checkpoints/teacher.pt --prompts short \
#         --count 1000 --ask-again 3 --out agreed.jsonl
#
# `oracle.is_right([question], answer)` of `minisft.world` says of each row whether it is valid.
# What does asking again bring, and what does it cost? (Check with `--answer`: the share of the
# second thousand that is valid.)
#
# **Solution.** Of the first 1,000 tasks 82% are valid, of the second 87%. Asking again drops 95 of
# 1,095 tasks and takes four minutes on one core in place of two and a half. It finds answers that
# were guessed. It does not find questions that make no sense, and these are most of what is wrong:
# a text that gives one person two jobs gets the same answer each time.
