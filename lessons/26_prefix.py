# %% [markdown]
# # 26 Prefix tuning: keys and values of words that nobody said
#
# **Question.** A prefix is a trainable beginning of the cache. Does it have to be made by a network, as its authors
# say, and does it help to begin with real words?
#
# **What the notes say** (前缀微调, prefix tuning): virtual tokens in front of the input of every layer; a network makes
# them in training and is dropped afterwards. What others found (Li and Liang 2021): 69.7 BLEU (overlap with reference
# texts, higher is better) on E2E against 68.2 in full, but a loss on XSUM, both public test sets; trained directly,
# prefixes were unstable; real words' activations beat a random start.
#
# **My prediction, written before the run.** Ten virtual tokens:
#
# 1. Through the network the result varies less over the seeds than with a direct, random prefix (standard deviation,
#    mean over three rates each).
# 2. At each arm's best rate the network is better than the direct, random prefix.
# 3. A direct prefix that begins with the activations of real words is better than one that begins at random.
# 4. No prefix comes within 5 points of full tuning.
#
# A claim holds only if it does at both ends of its 95% interval.
#
# **What was known when.** The predictions are older than every run. A first trial (40 steps of 32) was stopped: the
# base then had one and the same row of its embedding for all tokens that its prose never holds, so that a method that
# leaves the rows alone could not end an answer (checkpoints/README.md). That was mended, and tasks, length and grids
# were set anew with single runs on questions held back, so that the arms lie neither at the bottom nor at the top. It
# ran once before, with 100 rows to choose a rate by instead of 148.

# %%
import random
import sys
from statistics import mean, pstdev

sys.path[:0] = [".", ".."]

from minisft import plots  # noqa: E402
from minisft.checkpoint import load_model  # noqa: E402
from minisft.config import shipped  # noqa: E402
from minisft.lesson import (  # noqa: E402
    FAST,
    SEEDS,
    format_shift,
    gap,
    measure,
    result_path,
    right,
    share,
    summary,
    tested,
    tuned,
    write_results,
)
from minisft.peft import PrefixConfig, add_peft, describe_parameters  # noqa: E402

BASE = shipped("checkpoints/base.pt")
_, tokenizer = load_model(BASE)

# %% [markdown]
# ## The experiment
# Eight tasks of one sentence, 80 steps of 16; a grid of three rates for each arm, of which 148 rows held back from the
# training data choose one; five seeds on 398 new items and 112 new passages, which are harder than those rows. A seed
# draws the start of the prefix, and the order of the data.

# %%
CONFIGS = {"full": None, "direct, random": PrefixConfig(10), "direct, words": PrefixConfig(
    10, text="A question is asked, and this is the answer:"), "network": PrefixConfig(10, hidden=128)}
RATES = {"full": (1.5e-4, 5e-4, 1.5e-3), "direct, random": (1e-1, 3e-1, 1.0), "direct, words": (1e-1, 3e-1, 1.0),
         "network": (3e-3, 1e-2, 3e-2)}
trial = format_shift(tokenizer)
for name, config in CONFIGS.items():
    if config:
        print(f"{name}\n{describe_parameters(add_peft(load_model(BASE)[0], config, tokenizer))}\n")
arms = {name: measure(name, BASE, config, trial, RATES[name]) for name, config in CONFIGS.items()}

# %% [markdown]
# ## Figure and verdict
# Dots are means over the seeds, the lines through them 95% intervals.

# %%
plots.arms(result_path("26_prefix.png"), {
    "Format: tasks of the prose, asked for": {name: share(arm) for name, arm in arms.items()}}, "right answers")
# %% [markdown]
# How much does it vary? Five seeds at each rate, for the two arms that start at random.

# %%
def share_of(name, rate, seed):
    model, tokenizer, _ = tuned(BASE, CONFIGS[name], trial, rate, seed)
    return mean(right(model, tokenizer, trial.test))


shares = {name: [[mean(scores) for scores in arms[name]["scores"]] if rate == arms[name]["rate"]
                 else [share_of(name, rate, seed) for seed in range(SEEDS)]
                 for rate in RATES[name][:1 if FAST else 3]] for name in ("direct, random", "network")}
spread = {name: [pstdev(seeds) for seeds in rates] for name, rates in shares.items()}
print("standard deviation at each rate:", {name: [f"{s:.1%}" for s in each] for name, each in spread.items()})
rng, draws = random.Random(0), []
for _ in range(2000):
    drawn = [rng.randrange(SEEDS) for _ in range(SEEDS)]
    draws.append(mean(pstdev([rate[i] for i in drawn]) for rate in shares["network"])
                 - mean(pstdev([rate[i] for i in drawn]) for rate in shares["direct, random"]))
draws.sort()
less = (mean(spread["network"]) - mean(spread["direct, random"]), draws[49], draws[-50])
verdicts = [tested("the network varies less over seeds than direct, random (standard deviation)", less,
                   lambda d: d < 0)]
for claim, one, other, rule in (
        ("network better than direct, random", "direct, random", "network", lambda d: d > 0),
        ("real words better than a random start", "direct, random", "direct, words", lambda d: d > 0)):
    verdicts.append(tested(claim, gap(arms[one], arms[other]), rule))
gaps = {name: gap(arms["full"], arm) for name, arm in arms.items() if name != "full"}
nearest = max(gaps, key=lambda name: gaps[name][2])  # by the upper end: if it is not within, none is
verdicts.append(tested(f"no prefix within 5 points of full; the nearest is {nearest}", gaps[nearest],
                       lambda d: d < -0.05))
write_results("26_prefix.json", {"items": len(trial.test), "seeds": len(arms["full"]["scores"]), "arms": summary(arms),
                                 "spread": spread, "shares": shares,
                                 "verdicts": verdicts})

# %% [markdown]
# **What came out.** ([figure](results/26_prefix.png))
#
# - **Fails**, narrowly: through the network the result varies less over the seeds, by 4.7 points of standard deviation
#   against 9.7, but the interval of the difference ends just above zero. (In the run before this one, on one core
#   instead of two, sums were rounded otherwise; it ended just below, and the claim held. So it is undecided.)
# - **Fails**: the network is not better, it is 10 points behind the direct, random prefix, at the best rate of each.
# - **Fails**: real words are no better start but a far worse one, by 22 points, although the rows held back had put
#   them level.
# - **Holds**: no prefix comes near full tuning; the best is 40 points behind.
#
# **Read with care.** A part of the small spread is a low place: at its highest rate the network answers 5 to 13%, where
# there is little room to vary. Five seeds tell little about a spread; its interval draws them with replacement, which
# makes it too narrow. The rows held back are of the training rows' kind, the questions reported are new passages and
# new items: prefixes lose far more from the one to the other than full tuning does, and the one that begins with words
# most of all. Eighty steps are few for a prefix.
#
# **What would change my mind.** A network that overtakes the direct prefix when both are given ten times the steps.
#
# **Exercise** (medium, 30 minutes). Is a prefix of zeros nothing? Compare the base's answers with and without one, and
# say where its share of the attention goes.
