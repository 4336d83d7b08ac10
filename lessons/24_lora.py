# %% [markdown]
# # 24 LoRA: how much of a model has to move?
#
# **Question.** LoRA trains two thin matrices beside each frozen one. Is that enough, for which
# layers, at which rank, and at which learning rate?
#
# **What the notes say** (低秩适配, low-rank adaptation): the change that tuning makes to a matrix
# W has a low rank, so W + A B^T with few columns is enough. (The notes write A B^T, the paper and
# the code B A: the same, with the names swapped.)
#
# **What others found.** GPT-2 medium on E2E, a public test set, reached 70.4 BLEU (overlap with
# reference texts) with 0.35M trained parameters, and 68.2 in full (Hu et al. 2021). LoRA learns
# less and forgets less (Biderman et al. 2024). It equals full tuning if all linear layers have
# it, at about ten times the learning rate, until the data exceed what it can hold ("LoRA Without
# Regret", 2025).

# %%
import sys
from functools import partial
from pathlib import Path

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

from lessons.trials import format_shift, made_up_facts
from minisft import plots
from minisft.checkpoint import load_model
from minisft.experiment import Arm, for_results, measure, pilot
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Claim, Lesson, show_source
from minisft.peft import LoRAConfig, add_peft, describe_parameters
from minisft.peft.lora import LoRALinear
from minisft.shipped import BASE

lesson = Lesson("24_lora")
_, tokenizer = load_model(BASE)

# %% [markdown]
# ## The code
# The layer is frozen; beside it stand A (r, in) and B (out, r). B begins as zero, so nothing has
# changed yet. Their product is scaled by alpha / r; alpha is 16 throughout, and each arm's own
# learning rate can make up for its scale.

# %%
show_source(LoRALinear)
ATTENTION = ("attn.c_attn", "attn.c_proj")
CONFIGS = {"full": None,
           **{f"LoRA, r = {r}": LoRAConfig(r=r) for r in (1, 4, 8, 16)},
           "attention only, r = 21": LoRAConfig(ATTENTION, r=21)}
for name, config in CONFIGS.items():
    if config:
        print(f"{name}\n{describe_parameters(add_peft(load_model(BASE)[0], config))}\n")

# %% [markdown]
# ## The experiment
# | what is learnt | rows | tested on |
# | --- | --- | --- |
# | format | eight tasks of one sentence, in steps of 16 | 407 new items and 103 new passages |
# | facts | "What is the code of Mia?" for 64 residents | the same questions, by heart |
#
# The prose has taught the tasks of *format*; only the form is new. No text holds the *facts*. A
# pilot sets the number of steps, so that full tuning answers about 80%, each arm's learning rate,
# and the number of seeds that it takes to see 2 points: for the format on 118 rows held out from
# the training data, for the facts on the codes of another seed. The rank of 21 on the attention
# alone gives it as many parameters as rank 8 on all layers.

# %%
STEPS = lesson.scale((20, 40, 80, 160), fast=(3,))
FULL_RATES = lesson.scale((1.5e-4, 5e-4, 1.5e-3, 5e-3), fast=(5e-4,))
LORA_RATES = lesson.scale((1.5e-3, 5e-3, 1.5e-2), fast=(5e-3,))
EFFECT = 0.02  # the smallest difference that matters, as a share
TRIALS = {"format": format_shift(tokenizer, lesson.fast),
          "facts": partial(made_up_facts, tokenizer, fast=lesson.fast)}
ARMS = {"format": list(CONFIGS), "facts": ["full", "LoRA, r = 1", "LoRA, r = 8"]}
COMPARED = {  # (trial, arm, the arm that it is measured against)
    "format: r = 8 - full": ("format", "LoRA, r = 8", "full"),
    "format: r = 1 - full": ("format", "LoRA, r = 1", "full"),
    "format: attention - r = 8": ("format", "attention only, r = 21", "LoRA, r = 8"),
    "facts: r = 8 - full": ("facts", "LoRA, r = 8", "full"),
    "facts: r = 1 - full": ("facts", "LoRA, r = 1", "full"),
    "facts: r = 8 - r = 1": ("facts", "LoRA, r = 8", "LoRA, r = 1")}


def measure_trial(trial):
    """(plan of the pilot, measured arms)."""
    arms = {name: Arm(BASE, CONFIGS[name], TRIALS[trial],
                      LORA_RATES if CONFIGS[name] else FULL_RATES) for name in ARMS[trial]}
    plan = pilot(arms["full"], STEPS, EFFECT, lesson.jobs)
    plan["seeds"] = lesson.scale(plan["seeds"], fast=1)
    return plan, measure(arms, plan["seeds"], plan["steps"], processes=lesson.jobs)


def experiment():
    found = {trial: measure_trial(trial) for trial in TRIALS}
    effects = {name: paired_interval(found[trial][1][other]["scores"],
                                      found[trial][1][arm]["scores"])
               for name, (trial, arm, other) in COMPARED.items()}
    plans = {trial: plan for trial, (plan, _) in found.items()}
    return {
        "steps": {trial: plan["steps"] for trial, plan in plans.items()}, "pilot": plans,
        "seeds": {trial: plan["seeds"] for trial, plan in plans.items()},
        "items": {"format": len(TRIALS["format"].test),
                  "facts": plans["facts"]["seeds"] * len(TRIALS["facts"](0).test)},
        "arms": {trial: for_results(measured) for trial, (_, measured) in found.items()},
        "effects": effects}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure

# %%
plots.arms(lesson.figure(), {
    title: {name: over_seeds(arm["by_seed"]) for name, arm in numbers["arms"][trial].items()}
    for title, trial in (("Format: known tasks, asked for", "format"),
                         ("Facts: made-up codes, by heart", "facts"))}, "correct answers")

# %% [markdown]
# ## Verdict
# "Enough" is at most 2 points behind full tuning.

# %%
effects = numbers["effects"]
CLAIMS = [
    Claim(f"for a format rank 8 is enough, against full tuning after the same "
          f"{numbers['steps']['format']} steps", effects["format: r = 8 - full"], least=-0.02),
    Claim(f"for new facts rank 8 is enough, against full tuning after the same "
          f"{numbers['steps']['facts']} steps", effects["facts: r = 8 - full"], least=-0.02),
    Claim("the attention alone is worse than all linear layers, at equal size",
          effects["format: attention - r = 8"], most=0, source="LoRA Without Regret")]
PREDICTIONS = [
    Claim("format: rank 8 against full", effects["format: r = 8 - full"], least=-0.02),
    Claim("format: rank 1 against full", effects["format: r = 1 - full"], least=-0.05),
    Claim("format: attention alone against rank 8 on all layers",
          effects["format: attention - r = 8"], most=0),
    Claim("facts: rank 1 against full", effects["facts: r = 1 - full"], most=-0.2),
    Claim("facts: rank 8 against rank 1", effects["facts: r = 8 - r = 1"], least=0)]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/24_lora.png))
#
# - **Undecided**: for a format rank 8 is 7 points behind full tuning, and the interval reaches
#   from 1 to 14, across the 2 points.
# - **Fails**: of made-up facts full tuning learns all in the same steps, rank 8 only 39%.
# - **Undecided**: on the attention alone, as many parameters do as well: half a point less, and the
#   interval reaches from 4 less to 3 more.
#
# So it depends on what is learnt. For the format, ranks 4, 8 and 16 differ by less than their seeds
# do (78%, 81% and 80%), and rank 1 has 58%. Facts take longer at a small rank. The best rate of
# LoRA is three to ten times that of full tuning (1.5e-3): 5e-3 for ranks 1 and 4 and for the facts,
# 1.5e-2 for the others. One prediction was wrong: rank 1 is 30 points behind on the format,
# and we had expected at most 5.
#
# **Read with care.** All arms take the same 80 steps, at which full tuning has 88% of the format
# and all of the facts (39% after 40 steps: no number that the pilot tried lies near 80%). That rank
# 8 has learnt four tenths of the facts by then does not say that it cannot hold them: it learns
# them more slowly. Its standard deviation over seeds is 3.4 points on the format, and that of full
# tuning was 0.8 in the pilot, which set the number of seeds: so the interval is wide. Three arms
# take the highest rate of their grid (ranks 8 and 16, and the attention alone); at 5e-2 rank 8
# answers nothing (lesson 28). At this width (C = 128) rank 8 is 5% of the model's parameters; in a
# large model it would be a thousandth. Seeds of the facts differ in their codes too.
#
# **What would change our mind.** An arm whose best rate lies at the edge of its grid, and which
# gains when the grid continues.
#
# **Exercise** (hard, 45 minutes). Is rank 8 too small for the facts, or too slow? Double the
# steps until it knows all the codes, and find out whether rank 1 ever does.
#
# **Solution.** Too slow, not too small. On the codes of seed 0, at a rate of 5e-3, rank 8 knows 38%
# after 80 steps and all of them after 160. Rank 1 knows 14% after 80 steps, 81% after 160 and all
# after 320. So it takes more steps, but 64 codes fit into rank 1.
