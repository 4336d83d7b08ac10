# %% [markdown]
# # 03 The first instruction tuning: before and after, split by split
#
# **Question.** How much does a short instruction tuning change, and how far does it reach beyond what it was shown?
#
# **What the notes say** (指令微调的作用, what instruction tuning is for): a small amount of instruction data unlocks
# tasks, also unseen ones. What others found: FLAN (Wei et al. 2022) improved zero-shot results on clusters of tasks
# held out of tuning in a 137B model, and is said to have hurt them at 8B and below (not checked by us).
#
# **My prediction, written before the run.** After one pass over the data: new passages of tuned tasks from below 5% to
# 95% or more; words and sums that no question asked for to between 30% and 90%; new wordings to between 60% and 95%;
# attributes never tuned on, known from the prose alone, to between 60% and 95%. From random weights instead of the
# base: below 30% on new passages, because there is nothing to unlock.
#
# And, written when the world grew to these splits, before the first run in it: asked as users type, between 20% and
# 60%; two operations never asked for together, between 50% and 95%; skills that no question asked for, below 20%, for
# nothing says that they may be asked for; the control, which nobody can know, at most 55% (guessing is right half the
# time).
#
# **What was known when.** The experiment ran four times before in a smaller world, and twice in this one, on bases in
# which tokens that the prose never holds, the chat's among them, were all alike or hardly apart. After the first time
# new items, until then a part of new passages, became a split of their own. The prediction for new items dates from
# then, so it is no blind one; the other four are older than all runs. Texts were about several residents, then about
# one, and are now about one or two. One pass was 256 steps then, and 256 steps it is still: two thirds of a pass over
# today's data.

# %%
import sys

sys.path[:0] = [".", ".."]

from minisft import plots  # noqa: E402
from minisft.checkpoint import load_model  # noqa: E402
from minisft.config import shipped  # noqa: E402
from minisft.evaluate import TEST_FILES, answer_all, exact_match, paired_bootstrap, table  # noqa: E402
from minisft.lesson import FAST, result_path, verdict, write_results  # noqa: E402
from minisft.records import read_records, render_record  # noqa: E402
from minisft.train import TRAIN_FILES, tune  # noqa: E402

BASE = shipped("checkpoints/base.pt")
base, tokenizer = load_model(BASE)
SEEDS, STEPS = (1, 10) if FAST else (5, 256)
examples = [render_record(record, tokenizer) for record in read_records(TRAIN_FILES)[0]]
test = read_records(TEST_FILES)[0]
SPLITS = list(dict.fromkeys(record.split for record in test))
test = [record for split in SPLITS for record in [r for r in test if r.split == split][:20 if FAST else 510]]

# %% [markdown]
# ## The experiment
# | arm | start | tuning |
# | --- | --- | --- |
# | before | base | none |
# | after | base | 256 steps of 32 conversations |
# | from nothing | random weights | the same |


# %%
def run(seed, fresh=False):
    model, _ = load_model(BASE)
    if fresh:
        model.reset_parameters()
    steps = tune(model, examples, STEPS, seed=seed, lr=1e-3)
    print(f"seed {seed}{', random weights' if fresh else ''}: loss {steps[0].loss:.2f} -> {steps[-1].loss:.3f}, "
          f"{sum(step.seconds for step in steps):.0f} s")
    return answer_all(model, tokenizer, test)


before = answer_all(base, tokenizer, test)
after = [run(seed) for seed in range(SEEDS)]
fresh = run(0, fresh=True)

# %% [markdown]
# ## Figure and verdict


# %%
def scores(answers, split):
    return [float(answer.right) for answer in answers if answer.split == split]


def mean(values):
    return sum(values) / len(values)


print("\n".join(table(exact_match(after[0]))))
gains = {split: paired_bootstrap([scores(before, split)] * SEEDS, [scores(answers, split) for answers in after])
         for split in SPLITS}
shares = {split: (mean(scores(before, split)), mean([mean(scores(answers, split)) for answers in after]))
          for split in SPLITS}
intervals = {split: (shares[split][0] + low, shares[split][0] + high) for split, (_, low, high) in gains.items()}
plots.comparison(result_path("03_first_sft.png"), shares, intervals,
                 f"Exact match before and after {STEPS} steps ({SEEDS} seeds)")
EXPECTED = {"new_passage": (0.95, 1.0), "new_item": (0.3, 0.9), "new_wording": (0.6, 0.95),
            "new_attribute": (0.6, 0.95), "user_wording": (0.2, 0.6), "new_composition": (0.5, 0.95),
            "new_skill": (0.0, 0.2), "control": (0.0, 0.55)}
verdicts = [
    verdict(f"{split}: to between {least:.0%} and {most:.0%}, and it came to {shares[split][1]:.1%}; gain",
            *gains[split], holds=least <= shares[split][1] <= most)
    for split, (least, most) in EXPECTED.items()]
from_nothing = {split: mean(scores(fresh, split)) for split in SPLITS}
unlocked = scores(fresh, "new_passage")
verdicts.append(verdict("from random weights: below 30% on new passages; it came to",
                        *paired_bootstrap([[0.0] * len(unlocked)], [unlocked]), holds=mean(unlocked) < 0.3))
write_results("03_first_sft.json", {
    "steps": STEPS, "seeds": SEEDS, "items": {split: len(scores(before, split)) for split in SPLITS},
    "shares": shares, "gains": gains, "verdicts": verdicts, "from_random_weights": from_nothing,
    "by_seed": {split: [mean(scores(answers, split)) for answers in after] for split in SPLITS}})

# %% [markdown]
# **What came out.** ([figure](results/03_first_sft.png))
#
# - **Fails**: new passages came to 82%, not 95%; there are 25 tasks now and two thirds of a pass (the default run, with
#   two passes, gets there).
# - **Holds**: new items came to 78%.
# - **Fails**: new wordings came to 33%. Perhaps three to six wordings of a task are too few; this was not varied here.
# - **Holds**: new attributes came to 64%. (The default run, three times as long at half the rate, comes to 33%.)
# - **Holds**: asked as users type, 32%.
# - **Fails**: two operations never asked for together came to 4%, though each was asked for with others. What was tuned
#   is the pair, more than its parts (the default run comes to 30%).
# - **Holds**: skills that no question asked for came to 12% (in the default run all of it is plurals).
# - **Holds**: the control stays at chance, 52% where guessing gives 50%.
# - **Holds**: from random weights 3% is right after the same steps (one seed; so few steps may just be too little).
#
# **Read with care.** Here a claim holds if the mean over seeds does, in lesson 02 only if all of its interval does; by
# that rule the control would fail, as its interval ends at 56%. The world is small and its answers are sentences that
# the prose contains; this shows the mechanism (tuning elicits what pre-training laid down), not how large the effect
# is elsewhere. Seeds vary the order of the data; there is one base.
#
# **What would change my mind.** Random weights that reach the tuned base on new passages at equal steps.
#
# **Exercise** (medium, 30 minutes). Tune on the `reading` task alone and look at every other task. Which of them come
# for free, which not, and which does the base lose?
