# %% [markdown]
# # 02 The conversation and its mask: what is learnt from what
#
# **Question.** A conversation is one row of tokens. On which of them should the model be trained?
#
# **What the notes say** (优化设置, optimization settings; 多轮对话数据的高效训练, training
# efficiently on multi-turn dialogue): the loss counts the outputs only, and all answers of a
# conversation are learnt in one pass.
#
# **What others found.**
#
# - A mask that was lost on the way to the loop left the training loss as it was and the model
#   clearly worse (karpathy/nanochat issue 582).
# - Where the end token also fills up short rows (padding), it is masked out with them, is never
#   learnt, and the model never stops (huggingface/trl issues 976 and 1623).
# - Loss on instructions is said to help when they are long and answers short, or data is little
#   (Shi et al. 2024, not checked by us).

# %%
import sys
from dataclasses import replace
from pathlib import Path

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

from minisft import plots
from minisft.checkpoint import load_model
from minisft.conversation import Conversation, Rendered, render
from minisft.experiment import Arm, Trial, for_results, measure, pilot
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Claim, Lesson, show_source
from minisft.records import read_records, render_record
from minisft.shipped import BASE, CONVERSATIONS, shipped
from minisft.show import terminal
from minisft.tokenizer import END_OF_TURN

lesson = Lesson("02_conversation_and_mask")
_, tokenizer = load_model(BASE)
END = tokenizer.special(END_OF_TURN)

# %% [markdown]
# ## What the model sees
# Green: the model must predict this token. Grey: it only reads it.

# %%
example = Conversation.from_messages([
    {"role": "user", "content": "Hello, I am Mia."},
    {"role": "assistant", "content": "Hello, Mia. How can I help?"},
    {"role": "user", "content": "What is my name?"},
    {"role": "assistant", "content": "Your name is Mia."}])
shown = render(example, tokenizer)
print(terminal(shown, tokenizer))
plots.tokens(lesson.figure("02_mask.png"), [tokenizer.decode([token]) for token in shown.ids],
             shown.loss_mask, "One conversation, one row of tokens: what is supervised")

# %% [markdown]
# ## The code
# Ids and mask are appended in one and the same call, so they cannot disagree.

# %%
show_source(render)

# %% [markdown]
# ## The experiment: four masks over the same tokens
# Everything else is the same in all arms: base, conversations, order, steps. The rows are those of
# ten tasks about a text or a list, two of them conversations of several turns. A pilot on rows held
# out from the training data sets the number of steps, so that the right mask answers about 80%,
# each arm's learning rate, and the number of seeds that it takes to see a difference of 2 points.


# %%
def answers_only(rendered):
    return rendered.loss_mask


def everything(rendered):
    return [0] + [1] * (len(rendered.ids) - 1)


def last_answer_only(rendered):
    ends = [i for i, (token, flag) in enumerate(zip(rendered.ids, rendered.loss_mask))
            if flag and token == END]
    before = ends[-2] if len(ends) > 1 else -1
    return [int(flag and i > before) for i, flag in enumerate(rendered.loss_mask)]


def without_end(rendered):
    return [int(flag and token != END) for token, flag in zip(rendered.ids, rendered.loss_mask)]


MASKS = {"answers only": answers_only, "everything": everything,
         "last answer only": last_answer_only, "without end token": without_end}
FOLLOW_UPS = ("follow_up", "small_talk")  # tasks of several turns
TASKS = (*FOLLOW_UPS, "reading", "count", "first", "last", "reverse", "sort", "without_first",
         "without_last")
EFFECT = 0.02  # the smallest difference that matters, as a share
STEPS = lesson.scale((60, 120, 240), fast=(10,))  # of 16 rows; the pilot takes one of them
RATES = lesson.scale((5e-4, 1e-3, 2e-3), fast=(1e-3,))


def make_arms():
    rows, test = ([record for record in read_records([file])[0] if record.task in TASKS]
                  for file in (CONVERSATIONS, shipped("data/new_passage.jsonl")))
    examples = [render_record(row, tokenizer) for i, row in enumerate(rows) if i % 20]
    held_out = rows[::lesson.scale(20, fast=400)]
    trial = Trial([], held_out, test[::lesson.scale(1, fast=10)], steps=0, batch_size=16)
    masked = {name: [Rendered(each.ids, mask(each)) for each in examples]
              for name, mask in MASKS.items()}
    return {name: Arm(BASE, None, replace(trial, examples=masked[name]), RATES) for name in MASKS}


def experiment():
    arms = make_arms()
    plan = pilot(arms["answers only"], STEPS, EFFECT, lesson.jobs)
    seeds = lesson.scale(plan["seeds"], fast=1)
    measured = measure(arms, seeds, plan["steps"], processes=lesson.jobs)
    tasks = [record.task for record in arms["answers only"].trial.test]

    def follow_ups(name):
        return [[score for score, task in zip(scores, tasks) if task in FOLLOW_UPS]
                for scores in measured[name]["scores"]]

    def share(scores):
        return over_seeds([sum(each) / len(each) for each in scores])

    right = measured["answers only"]["scores"]
    effects = {name: paired_interval(right, measured[name]["scores"])
               for name in MASKS if name != "answers only"}
    effects["last answer only, follow-ups"] = paired_interval(
        follow_ups("answers only"), follow_ups("last answer only"))
    return {
        "steps": plan["steps"], "pilot": plan, "seeds": seeds, "items": len(tasks),
        "arms": for_results(measured), "effects": effects,
        "shares": {name: [share(measured[name]["scores"]), share(follow_ups(name))]
                   for name in MASKS}}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure

# %%
plots.grouped_bars(
    lesson.figure(), numbers["shares"], ("all tasks", "conversations of several turns"),
    f"What is supervised decides what is learnt ({numbers['steps']} steps, "
    f"{numbers['seeds']} seeds, {numbers['items']} questions)", "exact match")

# %% [markdown]
# ## Verdict
# An effect is the exact match of an arm minus that of the right mask.

# %%
effects = numbers["effects"]
CLAIMS = [
    Claim("to supervise everything is worse than the outputs only", effects["everything"], most=0),
    Claim("to learn the last answer only is worse for follow-up questions than to learn all",
          effects["last answer only, follow-ups"], most=0),
    Claim("without the end token the model answers next to nothing",
          numbers["shares"]["without end token"][0], most=0.05, unit="share",
          source="reports of trl's users")]
PREDICTIONS = [
    Claim("without the end token", effects["without end token"], most=-0.9),
    Claim("last answer only, follow-up questions", effects["last answer only, follow-ups"],
          most=-0.01),
    Claim("everything supervised", effects["everything"], least=-0.2, most=-0.01)]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/02_conversation_and_mask.png))
#
# - **Holds**: with everything supervised exact match is 16 points lower than with the outputs
#   only, and 26 lower in conversations of several turns.
# - **Undecided**: to learn the last answer only makes no difference that could be seen in
#   conversations of several turns: a gain of 1 point, and the interval reaches from a loss of 7 to
#   a gain of 10.
# - **Holds**: without the end token not one answer is right, because no answer ends.
#
# One prediction was wrong in size: the fall without the end token was 83 points and not 90 or
# more, as the right mask itself is at 83%. That everything supervised loses 1 to 20 points was
# right.
#
# **Read with care.** All arms take the same steps on the same tokens and differ in how many
# *targets* a step has. The loss is a mean over targets; with everything supervised each answer
# token weighs less. That is one of the reasons why it can lose. Its best rate is the highest of its
# grid, so a higher one might do better. Who learns the last answer only loses most of the targets
# of a conversation, and none of a single question: only two of the ten tasks could show it, with 80
# questions, so the interval is wide in spite of twelve seeds.
#
# **What would change our mind.** An arm that beats the right mask on every seed.
#
# **Exercise** (medium, 30 minutes). Shift the mask by one token to the left: the last token
# before an answer is supervised, and its end is not. Predict first: what will the model do where
# an answer should end?
#
# **Solution.** After 240 steps the model answers none of 100 questions exactly. It gives the right
# answer and does not stop: "In order they are 2, 3, 13, 20. How can ...", or it says the answer
# again and again. The end of the turn was never a target, so it continues with what begins answers
# or prose. (The role token, which is supervised now, does no harm: it is given in the prompt.)
