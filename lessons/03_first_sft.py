# %% [markdown]
# # 03 The first instruction tuning: before and after, split by split
#
# **Question.** How much does a short instruction tuning change, and how far does it reach beyond
# what it was shown?
#
# **What the notes say** (指令微调的作用, what instruction tuning is for): a small amount of
# instruction data unlocks tasks, also tasks that were never tuned on.
#
# **What others found.** FLAN (Wei et al. 2022) improved zero-shot results on clusters of tasks
# held out of tuning in a 137B model, and is said to have hurt them at 8B and below (not checked
# by us).

# %%
import sys
from pathlib import Path
from statistics import mean

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

import torch

from minisft import plots
from minisft.checkpoint import load_model
from minisft.evaluate import answer_all
from minisft.experiment import exact_matches, side_by_side
from minisft.intervals import paired_interval
from minisft.lesson import Claim, Lesson, show_source
from minisft.loop import train_steps
from minisft.records import read_records, render_record
from minisft.shipped import BASE, TEST_FILES, TEST_SPLITS, TRAIN_FILES
from minisft.start import initialize
from minisft.train import FULL_LR, tune

lesson = Lesson("03_first_sft")

# %% [markdown]
# ## The code
# Instruction tuning is the loop of pre-training, on other data:

# %%
show_source(train_steps)

# %% [markdown]
# ## The experiment
# | arm | start | tuning |
# | --- | --- | --- |
# | before | base | none |
# | after | base | two passes over the data: the default run |
# | from nothing | random weights | the same |

# %%
SEEDS = lesson.scale(5, fast=1)
STEPS = lesson.scale(792, fast=10)  # of 32 conversations: two passes
MOST = lesson.scale(510, fast=20)  # questions of each split


def run(seed, fresh):
    """Scores on all test questions after tuning with a seed, from the base or from nothing."""
    model, tokenizer = load_model(BASE)
    if fresh:
        initialize(model, torch.Generator().manual_seed(seed))
    examples = [render_record(record, tokenizer) for record in read_records(TRAIN_FILES)[0]]
    tune(model, examples, STEPS, seed=seed, lr=FULL_LR)
    return exact_matches(model, tokenizer, test_questions())


def test_questions():
    """The first questions of each split, as many of each."""
    records = read_records(TEST_FILES)[0]
    return [record for split in TEST_SPLITS
            for record in [each for each in records if each.split == split][:MOST]]


def experiment():
    base, tokenizer = load_model(BASE)
    test = test_questions()
    before = [float(answer.right) for answer in answer_all(base, tokenizer, test)]
    done = side_by_side(run, [(seed, fresh) for fresh in (False, True) for seed in range(SEEDS)],
                        lesson.jobs)
    after, fresh = done[:SEEDS], done[SEEDS:]

    def of_split(scores, split):
        return [score for score, record in zip(scores, test) if record.split == split]

    def gain(split, runs):
        return paired_interval([of_split(before, split)] * SEEDS,
                                [of_split(scores, split) for scores in runs])

    def by_seed(split, runs):
        return [mean(of_split(scores, split)) for scores in runs]

    return {
        "steps": STEPS, "lr": FULL_LR, "seeds": SEEDS,
        "items": {split: len(of_split(before, split)) for split in TEST_SPLITS},
        "before": {split: mean(of_split(before, split)) for split in TEST_SPLITS},
        "by_seed": {split: by_seed(split, after) for split in TEST_SPLITS},
        "gains": {split: gain(split, after) for split in TEST_SPLITS},
        "from_random_weights": {split: mean(by_seed(split, fresh)) for split in TEST_SPLITS},
        "from_random_weights_new_passage": paired_interval(
            [[0.0] * MOST] * SEEDS, [of_split(scores, "new_passage") for scores in fresh])}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure
# **The published figure is of an older run**: 256 steps at a rate of 1e-3 (two thirds of a pass),
# and one seed from random weights.

# %%
before, gains = numbers["before"], numbers["gains"]
reached = {split: [before[split] + value for value in gains[split]] for split in gains}
plots.comparison(
    lesson.figure(), {split: (before[split], reached[split][0]) for split in gains},
    {split: reached[split][1:] for split in gains},
    f"Exact match before and after {numbers['steps']} steps ({numbers['seeds']} seeds)")

# %% [markdown]
# ## Verdict
# The notes name no size, so a claim holds if the gain is above zero.

# %%
UNSEEN = {"new_item": "words and sums that no question asked for",
          "new_wording": "tasks asked for in new words", "user_wording": "asked as users type",
          "new_attribute": "attributes that were never tuned on",
          "new_composition": "two operations never asked for together",
          "new_skill": "skills that were never tuned on"}
CLAIMS = [Claim("tuning unlocks the tasks that it shows, on new passages (any gain)",
                gains["new_passage"], least=0),
          *(Claim(f"it unlocks what it does not show: {what} (any gain)", gains[split], least=0)
            for split, what in UNSEEN.items())]
ANY = float("inf")
EXPECTED = {"new_passage": (0.95, ANY), "new_item": (0.3, 0.9), "new_wording": (0.6, 0.95),
            "new_attribute": (0.6, 0.95), "user_wording": (0.2, 0.6),
            "new_composition": (0.5, 0.95), "new_skill": (-ANY, 0.2), "control": (-ANY, 0.55)}
PREDICTIONS = [Claim(split.replace("_", " "), reached[split], least, most, unit="share")
               for split, (least, most) in EXPECTED.items()]
PREDICTIONS.append(Claim("new passage, from random weights",
                         numbers["from_random_weights_new_passage"], most=0.3, unit="share"))
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/03_first_sft.png))
#
# - **Holds**: new passages of the tuned tasks rise from 0% to 82%.
# - **Holds**: words and sums that no question asked for rise to 78%.
# - **Holds**: tasks asked for in new words rise to 33%.
# - **Holds**: asked as users type, 32%.
# - **Holds**: attributes that were never tuned on rise to 64%.
# - **Holds**: two operations that were never asked for together rise to 4%: a gain, but a very
#   small one, though each was asked for with others.
# - **Holds**: skills that were never tuned on rise to 12%.
#
# So tuning reaches beyond what it shows, and not evenly. The control, which nobody can know,
# stays at 52%, where guessing gives 50%. From random weights 3% of the new passages come out
# right after the same steps.
#
# Of nine predictions three were wrong: new passages (95% or more), new wordings and new
# compositions (too high). One is undecided: the interval of the control ends at 56%, and we had
# predicted at most 55%.
#
# **Read with care.** These numbers are of 256 steps at a rate of 1e-3. The default run (792 steps
# at 5e-4), which the lesson takes now, has other values: README shows 98% on new passages, 33% on
# new attributes and 30% on new compositions, in one run. Steps and rate differ at once, so which
# of the two makes the difference was not tried. From random weights there was one seed. The world
# is small and its answers are sentences that the prose contains: it shows the mechanism (tuning
# brings out what pre-training laid down), not how large the effect is elsewhere. Seeds vary the
# order of the data; there is one base.
#
# **What would change our mind.** Random weights that reach the tuned base on new passages at
# equal steps.
#
# **Exercise** (medium, 30 minutes). Tune on the `reading` task alone and look at every other
# task. Which of them come for free, which not, and which does the base lose?
#
# **Solution.** One run of 94 steps of 32 (two passes over the 1,500 rows of `reading`): new
# passages of reading come to 90%. For free come what is also answered by one sentence about the
# text: translating a sentence into English (95%), restating one (98%), a part of the follow-ups
# (22%). All others stay at 0%: asked for the first word of a list, the model answers "The color
# of Vera is red." It has learnt that every question is about a resident. The base loses as well:
# its loss on prose rises from 0.68 to 1.52, and as prose it now continues 10% of the chains
# correctly (100% before) and no summary (82% before).
