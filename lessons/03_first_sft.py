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
from minisft.batching import prepare
from minisft.checkpoint import load_model
from minisft.evaluate import answer_all
from minisft.experiment import side_by_side
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Claim, Lesson, show_source
from minisft.loop import train_steps
from minisft.records import read_records
from minisft.shipped import BASE, TEST_FILES, TEST_SPLITS, TRAIN_FILES
from minisft.start import initialize
from minisft.train import FULL_LR, TrainConfig, steps_for, tune
from minisft.world.dialogue import CHINESE_SAYINGS
from minisft.world.skills import DO_NOT_KNOW, NOT_SAID

lesson = Lesson("03_first_sft")

# %% [markdown]
# ## The code
# Instruction tuning is the loop of pre-training, on other data:

# %%
show_source(train_steps)

# %% [markdown]
# ## The experiment
# | arm | start | tuning | seeds |
# | --- | --- | --- | --- |
# | before | base | none | |
# | after | base | the default run of `python -m minisft.train` | 5 |
# | from nothing | random weights | the same | 2 |
#
# Two of the ways to be wrong are counted apart: to answer what cannot be known (the split
# *unanswerable*), and to refuse what can.

# %%
SEEDS = lesson.scale(5, fast=1)
FRESH_SEEDS = lesson.scale(2, fast=1)  # from nothing; they show one thing only, and take as long
STEPS = lesson.scale(None, fast=10)  # None: those of the default run
ROWS = lesson.scale(None, fast=400)  # None: all
MOST = lesson.scale(250, fast=8)  # questions of each split
REFUSALS = (NOT_SAID, DO_NOT_KNOW, *CHINESE_SAYINGS.values())


def run(seed, fresh):
    """(right, refused) on all test questions after tuning, from the base or from nothing."""
    model, tokenizer = load_model(BASE)
    if fresh:
        initialize(model, torch.Generator().manual_seed(seed))
    records = read_records(TRAIN_FILES)[0][:ROWS]
    examples, _ = prepare(records, tokenizer, model.config.block_size)
    tune(model, examples, STEPS or steps_for(TrainConfig(), examples), seed=seed)
    return judge(answer_all(model, tokenizer, test_questions()))


def judge(answers):
    """Whether each answer is right, and whether it refuses what can be answered; 1.0 or 0.0."""
    return ([float(answer.right) for answer in answers],
            [float(refuses(answer.given) and not refuses(answer.expected)) for answer in answers])


def refuses(text):
    """Whether an answer says that it cannot be known, also after "Sure." or in Chinese."""
    return any(text.endswith(refusal) for refusal in REFUSALS)


def test_questions():
    """Questions taken evenly from each split, as many of each."""
    records = read_records(TEST_FILES)[0]
    chosen = []
    for split in TEST_SPLITS:
        own = [record for record in records if record.split == split]
        chosen += [own[i * len(own) // MOST] for i in range(MOST)]
    return chosen


def experiment():
    base, tokenizer = load_model(BASE)
    test = test_questions()
    before, _ = judge(answer_all(base, tokenizer, test))
    runs = [(seed, False) for seed in range(SEEDS)] + [(seed, True) for seed in range(FRESH_SEEDS)]
    done = side_by_side(run, runs, lesson.jobs)
    after, fresh = done[:SEEDS], done[SEEDS:]

    def of_split(scores, split):
        return [score for score, record in zip(scores, test) if record.split == split]

    def by_seed(split, runs):
        return [mean(of_split(right, split)) for right, _ in runs]

    answerable = [record.split not in ("unanswerable", "control") for record in test]
    return {
        "seeds": SEEDS, "lr": FULL_LR, "items": MOST,
        "before": {split: mean(of_split(before, split)) for split in TEST_SPLITS},
        "by_seed": {split: by_seed(split, after) for split in TEST_SPLITS},
        "reached": {split: paired_interval([[0.0] * MOST] * SEEDS,
                                           [of_split(right, split) for right, _ in after])
                    for split in TEST_SPLITS},
        "refused": over_seeds([mean(x for x, known in zip(refused, answerable) if known)
                               for _, refused in after]),
        "from_random_weights": {split: by_seed(split, fresh) for split in TEST_SPLITS}}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure

# %%
before, reached = numbers["before"], numbers["reached"]
plots.comparison(
    lesson.figure(), {split: (before[split], reached[split][0]) for split in reached},
    {split: reached[split][1:] for split in reached},
    f"Exact match before and after the default run ({numbers['seeds']} seeds)")
print("From random weights, new passages:",
      ", ".join(f"{share:.1%}" for share in numbers["from_random_weights"]["new_passage"]))

# %% [markdown]
# ## Verdict
# The notes name no size, so a claim holds if the exact match is above what it was before, which
# is zero.

# %%
UNSEEN = {"new_item": "words and sums that no question asked for",
          "new_wording": "tasks asked for in new words", "user_wording": "asked as users type",
          "new_attribute": "attributes that were never tuned on",
          "new_composition": "two operations never asked for together",
          "new_skill": "skills that were never tuned on"}
CLAIMS = [Claim("tuning unlocks the tasks that it shows, on new passages",
                reached["new_passage"], least=before["new_passage"], unit="share"),
          Claim("and conversations that change their topic, every answer right",
                reached["conversation"], least=before["conversation"], unit="share"),
          *(Claim(f"it unlocks what it does not show: {what}", reached[split],
                  least=before[split], unit="share") for split, what in UNSEEN.items())]
EXPECTED = {"new_passage": 0.97, "new_item": 0.95, "new_wording": 0.85, "user_wording": 0.75,
            "new_attribute": 0.92, "new_composition": 0.5, "new_skill": 0.4, "conversation": 0.8,
            "unanswerable": 0.9}
PREDICTIONS = [Claim(split.replace("_", " "), reached[split], least, unit="share")
               for split, least in EXPECTED.items()]
PREDICTIONS += [
    Claim("control, where guessing is right in half", reached["control"], 0.45, 0.55, unit="share"),
    Claim("refused, though it can be answered", numbers["refused"], most=0.02, unit="share")]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/03_first_sft.png))
#
# - **Holds**: new passages of the tuned tasks rise from 0% to 88%.
# - **Holds**: conversations of four to eight turns that change their topic, every answer right,
#   rise to 49%.
# - **Holds**: words and sums that no question asked for rise to 92%.
# - **Holds**: tasks asked for in new words rise to 66%.
# - **Holds**: asked as users type, 68%.
# - **Holds**: attributes that were never tuned on rise to 91%.
# - **Holds**: two operations that were never asked for together rise to 84%.
# - **Holds**: skills that were never tuned on rise to 39%.
#
# So tuning reaches beyond what it shows, and not evenly: far for new attributes and operations,
# less far for new wordings and skills. The control, which nobody can know, stays at 49%, where
# guessing gives 50%. What cannot be answered is refused in 86%, and 2.5% of what can be is refused
# too. From random weights 1% and 2% of the new passages come out right after the same steps; what
# such a model does learn is to refuse (84% and 88% of what cannot be answered).
#
# The predictions were the aims that this run was made for. One was right, new compositions.
# Passages, new items, both kinds of wordings, conversations and what cannot be answered stay below
# the aim; the others are undecided. README shows how far more passes over the same rows bring the
# model.
#
# **Read with care.** The world is small and its answers are sentences that the prose contains: it
# shows the mechanism (tuning brings out what pre-training laid down), not how large the effect is
# elsewhere. New skills are shown in the prose that is tuned on beside the conversations; without
# it almost none was answered in a trial. Seeds vary the order of the data; there is one base.
#
# **What would change our mind.** Random weights that reach the tuned base on new passages at
# equal steps.
#
# **Exercise** (medium, 30 minutes). Tune on the `reading` task alone and look at every other
# task. Which of them come for free, which not, and which does the base lose?
#
# **Solution.** One run of 188 steps of 32 (three passes over the 2,000 rows of `reading`): new
# passages of reading come to 95%. For free come what is also answered by one sentence about the
# text: restating one (98%), translating a sentence into English (75%), a part of the follow-ups
# (35%). All others stay at 0 to 2%: asked for the first word of a list, the model answers "The pet
# of David is a hamster." It has learnt that every question is about a resident. The base loses as
# well: its loss on prose rises from 0.75 to 2.63, and as prose it now continues no chain of calls
# correctly (100% before), 6% of the summaries (88% before) and 48% of the sorted lists (100%
# before). First and last words it still knows.
