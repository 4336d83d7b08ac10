# %% [markdown]
# # 24 LoRA: how much of a model has to move?
#
# **Question.** LoRA trains two thin matrices beside each frozen one. Is that enough, for which layers, at which rank,
# and at which learning rate?
#
# **What the notes say** (低秩适配, low-rank adaptation): the change that tuning makes to a matrix W has a low rank, so
# W + A B^T with few columns does (below, as in the paper, it is B A: their A is our B). What others found: GPT-2
# medium on E2E, a public test set, 70.4 BLEU (overlap with reference texts) with 0.35M parameters, 68.2 in full
# (Hu et al. 2021); LoRA learns less and forgets less (Biderman et al. 2024); it equals full tuning if all linear
# layers have it, at about ten times the learning rate, until the data exceed what it can hold ("LoRA Without
# Regret", 2025).
#
# **My prediction, written before the run.** Two things are learnt apart: a *format* (tasks that the prose has taught
# are asked for) and *new facts* (made-up pairs, which no text holds).
#
# 1. Format: rank 8 on all linear layers comes within 2 points of full tuning.
# 2. Format: rank 1 comes within 5 points of full tuning.
# 3. Format: on the attention alone, with a rank (21) that makes it as large, it is worse than on all linear layers.
# 4. Facts: rank 1 stays 20 points or more behind full tuning.
# 5. Facts: rank 8 is better than rank 1.
#
# A claim holds only if it does at both ends of its 95% interval. At this width (C = 128) rank 8 is not tiny; the shares
# are printed.
#
# **What was known when.** The predictions are older than every run. A first trial (40 steps of 32) was stopped: the
# base then had one and the same row of its embedding for all tokens that its prose never holds, so that a method that
# leaves the rows alone could not end an answer (checkpoints/README.md). That was mended, and tasks, length, grids and
# the facts (512 at first) were set anew with single runs on questions held back, so that the arms lie neither at the
# bottom nor at the top. With the facts as they are now, full tuning was seen to learn 100%, rank 8 44% and rank 1 6%.
# Ranks 4 and 16 were added after a first run of the other arms, in which 100 rows chose the rates; nothing was
# predicted of them.

# %%
import sys
from functools import partial

sys.path[:0] = [".", ".."]

from minisft import plots  # noqa: E402
from minisft.checkpoint import load_model  # noqa: E402
from minisft.config import shipped  # noqa: E402
from minisft.lesson import (  # noqa: E402
    FAST,
    SEEDS,
    format_shift,
    gap,
    made_up_facts,
    measure,
    result_path,
    share,
    summary,
    tested,
    write_results,
)
from minisft.peft import LoRAConfig, add_peft, describe_parameters  # noqa: E402

BASE = shipped("checkpoints/base.pt")
_, tokenizer = load_model(BASE)

# %% [markdown]
# ## What is trained
# The layer is frozen; beside it stand A (r, in) and B (out, r). B begins as zero, so nothing has changed yet. What they
# say counts alpha / r; alpha is 16 throughout, and each arm's own learning rate is to make up for its scale.

# %%
ATTENTION = ("attn.c_attn", "attn.c_proj")
CONFIGS = {"full": None, **{f"all, r = {r}": LoRAConfig(r=r) for r in (1, 4, 8, 16)},
           "attention, r = 21": LoRAConfig(ATTENTION, r=21)}
for name, config in CONFIGS.items():
    if config:
        print(f"{name}\n{describe_parameters(add_peft(load_model(BASE)[0], config))}\n")

# %% [markdown]
# ## The experiment
# | what is learnt | rows | tested on |
# | --- | --- | --- |
# | format | eight tasks of one sentence, 80 steps of 16 | 398 new items and 112 new passages of these tasks |
# | facts | "What is the code of Mia?" for 64 residents, 80 steps of 16 | the same questions, by heart |
#
# Each arm has a grid of learning rates, of which 148 rows held back from the training data choose one, then five
# seeds. New items (words and sums never asked for) are harder than those rows. Facts have no unseen questions: eight
# seeds have codes of their own, and those of a ninth choose the rate.

# %%
FULL_RATES, LORA_RATES = (1.5e-4, 5e-4, 1.5e-3, 5e-3), (1.5e-3, 5e-3, 1.5e-2)

arms = {"format": {}, "facts": {}}
for trial, names, trial_of, seeds in (
        ("format", list(CONFIGS), format_shift(tokenizer), SEEDS),
        ("facts", ["full", "all, r = 1", "all, r = 8"], partial(made_up_facts, tokenizer), 1 if FAST else 8)):
    print(trial)
    for name in names:
        arms[trial][name] = measure(name, BASE, CONFIGS[name], trial_of, LORA_RATES if CONFIGS[name] else FULL_RATES,
                                    seeds)

# %% [markdown]
# ## Figure and verdict
# Dots are means over the seeds, the lines through them 95% intervals.

# %%
plots.arms(result_path("24_lora.png"), {
    title: {name: share(arm) for name, arm in arms[trial].items()}
    for title, trial in (("Format: tasks of the prose, asked for", "format"), ("Facts: codes, by heart", "facts"))
}, "right answers")
RULES = [("format: all, r = 8 within 2 points of full", ("format", "full", "all, r = 8"), lambda d: d >= -0.02),
         ("format: all, r = 1 within 5 points of full", ("format", "full", "all, r = 1"), lambda d: d >= -0.05),
         ("format: attention alone worse than all layers", ("format", "all, r = 8", "attention, r = 21"),
          lambda d: d < 0),
         ("facts: r = 1 stays 20 points behind full", ("facts", "full", "all, r = 1"), lambda d: d <= -0.2),
         ("facts: r = 8 better than r = 1", ("facts", "all, r = 1", "all, r = 8"), lambda d: d > 0)]
verdicts = [tested(claim, gap(arms[trial][one], arms[trial][other]), rule)
            for claim, (trial, one, other), rule in RULES]
write_results("24_lora.json", {
    "items": {"format": len(arms["format"]["full"]["scores"][0]),
              "facts": sum(map(len, arms["facts"]["full"]["scores"]))},
    "seeds": {trial: len(each["full"]["scores"]) for trial, each in arms.items()},
    "arms": {trial: summary(each) for trial, each in arms.items()},
    "verdicts": verdicts})

# %% [markdown]
# **What came out.** ([figure](results/24_lora.png))
#
# - **Fails**, by a little: rank 8 on all linear layers is 1.5 points behind full tuning, but its interval reaches to
#   2.7, beyond the two points.
# - **Fails**: rank 1 is 10 points behind.
# - **Holds**: on the attention alone, as many parameters do worse, by 6 points.
# - **Holds**: of made-up facts full tuning learns all in 80 steps, rank 1 only 9%.
# - **Holds**: rank 8 learns 31% of them, more than rank 1.
#
# The format saturates early: ranks 4, 8 and 16 differ by less than their seeds do. Facts are another matter. The best
# rate of LoRA is ten times that of full tuning for the format (5e-3 and 5e-4), three times for the facts.
#
# **Read with care.** All arms take the same 80 steps. That rank 8 has learnt a third of the facts by then does not say
# that it cannot hold them: it learns them more slowly. Rank 8 is 5% of this model's parameters; in a large model it
# would be a thousandth. Seeds of the facts differ in their codes too.
#
# **What would change my mind.** An arm whose best rate lies at the edge of its grid, and which gains when the grid goes
# on.
#
# **Exercise** (hard, 45 minutes). Is it too small or too slow? Double the steps until rank 8 knows all the codes, and
# find out whether rank 1 ever does.
