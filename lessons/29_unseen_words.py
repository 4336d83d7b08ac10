# %% [markdown]
# # 29 What full tuning does to words that it never sees
#
# **Question.** Full tuning changes every weight. What happens to the words that the tuning data
# never hold?
#
# **What the notes say** (优化设置, optimization settings): AdamW, with weight decay and clipping,
# is the usual optimizer for tuning. They do not speak of words that tuning never sees.
#
# **What others found.** That full tuning forgets more than LoRA is well known (Biderman et al.,
# 2024, not checked by us). This reason for it, a tied head and Adam, we have not found described.

# %%
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

import torch
from torch import nn

from minisft import plots
from minisft.checkpoint import load_model
from minisft.experiment import Arm, Trial, exact_matches, pilot, side_by_side
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Claim, Lesson, show_source
from minisft.model import GPT
from minisft.records import read_records, render_record
from minisft.shipped import BASE, CONVERSATIONS, shipped
from minisft.still import keep_still, unseen
from minisft.train import FULL_LR, TrainConfig, training_of

lesson = Lesson("29_unseen_words")

# %% [markdown]
# ## The code
# The head is tied to the embedding, so each step makes every token that is not the right one a
# little less likely: also tokens that the data never hold. Their gradient is tiny, and it has the
# same direction at every step. Adam divides a gradient by its usual size, so they move as far as
# the others. By default, `train` does not let them:

# %%
show_source(keep_still)

# %% [markdown]
# ## The experiment
# | arm | what moves |
# | --- | --- |
# | all rows | every row of the embedding, as `--train-unseen` does |
# | unseen rows still | the rows of tokens that the data hold: the default |
# | embedding frozen | no row |
# | eps 1e-5 | every row, but Adam divides by at least 1e-5 instead of 1e-8 |
#
# All other settings are those of the default run, but without weight decay, which would also move
# rows. The data are its conversations alone, without those that change the topic, which are half of
# the tokens: the prose that it takes beside them would show the model some of the words. A pilot on
# rows held out from training sets the number of steps and of seeds. Then a base with GPT-2's
# vocabulary: the rows of 50,257 tokens, of which the shipped base's own are used and all others are
# random, as large as those. There the first two arms take a quarter of the steps.

# %%
ALL, STILL, FROZEN, EPS = "all rows", "unseen rows still", "embedding frozen", "eps 1e-5"
SPLITS = ("new_passage", "new_item", "new_attribute", "new_skill")
EFFECT = 0.05  # the smallest difference that matters, as a share
STEPS = lesson.scale((100, 200, 300), fast=(3,))
MOST = lesson.scale(200, fast=10)  # questions of each split
ROWS = lesson.scale(None, fast=400)  # None: all
GPT2_ROWS = 50_257


def questions():
    """The first questions of each split, as many of each."""
    return [record for split in SPLITS
            for record in read_records([shipped(f"data/{split}.jsonl")])[0][:MOST]]


def make_trial(tokenizer):
    rows = [row for row in read_records([CONVERSATIONS])[0][:ROWS] if row.task != "topics"]
    held_out = rows[::40][:MOST]
    examples = [render_record(row, tokenizer) for i, row in enumerate(rows) if i % 40]
    return Trial(examples, held_out, questions(), STEPS[-1], batch_size=32)


def with_gpt2s_vocabulary(model):
    """The model with rows for 50,257 tokens; the new ones are random, as large as the old ones."""
    larger = GPT(replace(model.config, vocab_size=GPT2_ROWS))
    weights = model.state_dict()
    old = weights["wte.weight"]
    generator = torch.Generator().manual_seed(0)
    new = torch.randn(GPT2_ROWS - len(old), old.shape[1], generator=generator)
    weights["wte.weight"] = torch.cat([old, old.mean(0) + new * old.std(0)])
    larger.load_state_dict(weights)
    return larger


def run(arm, seed, steps, is_large):
    """Scores on all questions, and how far rows of the embedding moved, seen ones and others."""
    model, tokenizer = load_model(BASE)
    if is_large:
        model = with_gpt2s_vocabulary(model)
    trial = make_trial(tokenizer)
    before = model.wte.weight.detach().clone()
    model.wte.weight.requires_grad_(arm != FROZEN)
    torch.manual_seed(seed)
    config = TrainConfig(steps=steps, seed=seed, lr=FULL_LR, weight_decay=0,
                         train_unseen=arm in (ALL, EPS))
    training = training_of(model, trial.examples, steps, config)
    if arm == EPS:
        training.optimizer.eps = 1e-5
    for _ in training.records():
        pass
    moved = nn.functional.pairwise_distance(model.wte.weight.detach(), before, eps=0)
    others = list(unseen(len(before), trial.examples))
    is_seen = torch.ones(len(before), dtype=torch.bool)
    is_seen[others] = False
    return {"scores": exact_matches(model, tokenizer, trial.test),
            "seen": moved[is_seen].mean().item(), "unseen": moved[others].mean().item()}


def of_splits(scores):
    """{split: the scores of its questions}."""
    places = [record.split for record in questions()]
    return {split: [score for score, place in zip(scores, places) if place == split]
            for split in SPLITS}


def compare(arms, seeds, steps, is_large=False):
    """{arm: scores, shares and movements by seed}, and each arm's gain over ALL by split."""
    runs = [(arm, seed, steps, is_large) for arm in arms for seed in range(seeds)]
    done = side_by_side(run, runs, lesson.jobs)
    runs = {arm: done[i * seeds:(i + 1) * seeds] for i, arm in enumerate(arms)}
    scores = {arm: [of_splits(each["scores"]) for each in own] for arm, own in runs.items()}
    return {
        "by_seed": {arm: {split: [mean(each[split]) for each in own] for split in SPLITS}
                    for arm, own in scores.items()},
        "moved": {arm: {rows: over_seeds([each[rows] for each in own])
                        for rows in ("seen", "unseen")} for arm, own in runs.items()},
        "gains": {arm: {split: paired_interval([each[split] for each in scores[ALL]],
                                               [each[split] for each in scores[arm]])
                        for split in SPLITS} for arm in arms if arm != ALL}}


def experiment():
    _, tokenizer = load_model(BASE)
    plan = pilot(Arm(BASE, None, make_trial(tokenizer), (FULL_LR,)), STEPS, EFFECT, lesson.jobs)
    seeds = lesson.scale(plan["seeds"], fast=2)
    own = compare((ALL, STILL, FROZEN, EPS), seeds, plan["steps"])
    large = compare((ALL, STILL), seeds, max(2, plan["steps"] // 4), is_large=True)
    return {"pilot": plan, "steps": plan["steps"], "seeds": seeds, "items": MOST,
            "own": own, "large": large}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure

# %%
own, large = numbers["own"], numbers["large"]


def shares(compared, split):
    """{arm: share of right answers with its interval over seeds}."""
    return {arm: over_seeds(splits[split]) for arm, splits in compared["by_seed"].items()}


plots.arms(lesson.figure(), {
    "new attributes": shares(own, "new_attribute"), "new skills": shares(own, "new_skill"),
    "new passages": shares(own, "new_passage")}, "exact match")

# %% [markdown]
# ## Verdict
# A smaller effect than 5 points does not matter here. The bounds were set before the run.

# %%
gains, large_gains = own["gains"][STILL], large["gains"][STILL]
moved = {arm: own["moved"][arm] for arm in (ALL, EPS)}
for vocabulary, compared in (("the shipped vocabulary", own), ("GPT-2's", large)):
    for arm, rows in compared["moved"].items():
        print(f"{vocabulary}, {arm}: rows of words in the data move by {rows['seen'][0]:.2f}, "
              f"others by {rows['unseen'][0]:.2f}")
CLAIMS = [
    Claim("tuning all rows harms words that it never sees: new attributes, still - all rows",
          gains["new_attribute"], least=EFFECT, source="us"),
    Claim("it harms skills that it never shows: new skills, still - all rows",
          gains["new_skill"], least=EFFECT, source="us"),
    Claim("keeping them still costs nothing elsewhere: new passages, still - all rows",
          gains["new_passage"], least=-EFFECT, source="us"),
    Claim("the same with GPT-2's vocabulary: new attributes, still - all rows",
          large_gains["new_attribute"], least=EFFECT, source="us")]
PREDICTIONS = [
    Claim("new attributes, still - all rows", gains["new_attribute"], least=0.3),
    Claim("new attributes, frozen - all rows", own["gains"][FROZEN]["new_attribute"], least=0.3),
    Claim("new attributes, eps 1e-5 - all rows", own["gains"][EPS]["new_attribute"], least=0.2),
    Claim("how far unseen rows move, all rows", moved[ALL]["unseen"],
          least=moved[ALL]["seen"][2], unit="length")]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/29_unseen_words.png))
#
# - **Holds**: where all rows move, 47% of the questions about new attributes are answered
#   correctly; where unseen rows keep still, 81%.
# - **Holds**: of new skills 7%, and 35%.
# - **Holds**: on new passages it costs nothing: 75% both times.
# - **Holds**: with GPT-2's vocabulary the gain on new attributes is 10 points, in a quarter of the
#   steps.
#
# Rows of words that the data never hold move twice as far as those of words that it does hold (0.33
# and 0.17, as lengths of vectors). With eps 1e-5 they move no further than the others (0.14 and
# 0.13), which brings back two thirds of the new attributes and a quarter of the new skills. To
# freeze the whole embedding keeps what is unseen as well, but costs 9 points on new passages: the
# rows of words that are used have something to learn. One prediction was wrong: a frozen embedding
# gains 23 points on new attributes, less than the 30 that we expected. Two are undecided.
#
# **Read with care.** The claims are ours, made after single trials that showed such effects on an
# older base. The pilot brought the first arm to 68%. How much is lost depends on the rate, the
# number of steps and the share of words that the data hold; a base whose head is not tied to the
# embedding would have to be tried. After a quarter of the steps the two arms with GPT-2's
# vocabulary are at 33% on new passages: far from done, and a larger loss could come later. That
# vocabulary is a made-up one: its further rows are random, and no word of the tests is among them.
#
# **What would change our mind.** A data set of your own where moving the unseen rows makes new
# words better.
#
# **Exercise** (easy, 15 minutes). Give our AdamW (`minisft.optim.AdamW`, rate 1e-3, 300 steps) two
# numbers to move: one whose gradient is always 1e-6, and one whose gradient is 1 or -1 by chance.
# How far does each go? And with `eps=1e-5`?
#
# **Solution.** The first goes 0.297: it makes 300 steps of nearly the whole rate, 1e-6 / (1e-6 +
# 1e-8), in one direction. The second, whose gradient is a million times as large, ends 0.01 to 0.02
# from where it began, because its steps undo each other. With `eps=1e-5` the first goes 0.027, as
# its steps are 1e-6 / (1e-6 + 1e-5) of the rate; the second as far as before.
