# %% [markdown]
# # 01 A base model continues; it does not follow
#
# **Question.** A model that was pre-trained on plain text knows things. What does it do when it
# is *asked*?
#
# **What the notes say** (指令微调, instruction tuning): pre-training gives a model its knowledge
# and abilities; instruction tuning teaches it to use them as a person asks.
#
# **What others found.** People preferred the 1.3B model of InstructGPT to the untuned 175B GPT-3
# (Ouyang et al. 2022; it was tuned with human feedback, not with instructions alone).

# %%
import json
import re
import sys
from pathlib import Path

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

from minisft import plots
from minisft.checkpoint import load_model
from minisft.evaluate import answer_all
from minisft.generate import generate
from minisft.intervals import paired_interval
from minisft.lesson import Claim, Lesson, show_source
from minisft.records import read_records
from minisft.shipped import BASE, TEST_FILES, shipped
from minisft.tokenizer import END_OF_TEXT
from minisft.world.probe import completes, few_shot_items
from minisft.world.prose import RELATED

lesson = Lesson("01_base_model")
model, tokenizer = load_model(BASE)
START = tokenizer.special(END_OF_TEXT)

# %% [markdown]
# ## First, listen to it
# The model gets a text and continues it, one token at a time, always with the likeliest one.
# Nothing is asked.


# %%
def continue_text(text, tokens):
    """What the model writes after `text`, by greedy decoding."""
    ids = generate(model, [[START] + tokenizer.encode(text)], tokens, stop=(START,))[0]
    return tokenizer.decode(ids)


for text in ("Mia keeps a dog. Tom keeps a cat. The pet of Mia is",
             "The opposite of hot is",
             "What is the opposite of hot?"):
    print(f"{text!r}\n    ... {continue_text(text, 12)!r}\n")

# %% [markdown]
# ## The code
# Whether a model can continue a text is a question that has nothing to do with instructions:

# %%
show_source(completes)

# %% [markdown]
# ## The experiment: the same questions, three ways
# Only tasks whose answer is one sentence that ends with the word asked for, so that the sentence
# can be begun for the model.
#
# | arm | what the model is given |
# | --- | --- |
# | chat | the question between role tokens, which it has never seen |
# | plain | the question as plain text, and a line end |
# | begun | the text it is about (if any), and the answering sentence without its last words |
#
# And, without any question, lists of five examples ("red > color ; rice > dish ; ...") that the
# model continues with a sixth: of skills that its prose holds, of a mapping made up for the list,
# and of a sorting made up for the list whose sixth word is new (guessing is right in 50%).

# %%
BEGUN_AT = {"reading": " is", "opposite": " is", "classification": " names", "to_chinese": " is",
            "to_english": " is", "arithmetic": " is"}
COUNT = lesson.scale(500, fast=10)  # lists of examples of each kind
ARMS = {"chat": "asked in chat form", "plain": "asked in plain words",
        "begun": "answer begun for it"}
LISTS = ("known", "mapping", "sorting")


def begun(record):
    """(what the model is given, what it should add) of a question: its answer, begun."""
    question, answer = (message.content for message in record.item.messages)
    cut = answer.rindex(BEGUN_AT[record.task]) + len(BEGUN_AT[record.task])
    passage = []
    if record.task == "reading":
        passage = [part for part in re.split(r"(?<=[.?:])\s+", question) if part.endswith(".")]
    return " ".join([*passage, answer[:cut]]), answer[cut:]


def few_shot(kind):
    """For each list of five examples, whether the model continues it correctly."""
    names = RELATED if kind == "known" else (kind,)
    each = COUNT // len(names) + (kind == "known")
    return [right for name in names
            for right in completes(model, tokenizer, few_shot_items(each, name))]


def share(right):
    """(share, low, high) over questions."""
    scores = [float(x) for x in right]
    return paired_interval([[0.0] * len(scores)], [scores])


def experiment():
    records = [record for record in read_records(TEST_FILES)[0] if record.task in BEGUN_AT]
    if lesson.fast:
        records = records[::8]
    turns = [[message.content for message in record.item.messages] for record in records]
    right = {
        "chat": [answer.right for answer in answer_all(model, tokenizer, records)],
        "plain": completes(model, tokenizer, [(asked + "\n", answer) for asked, answer in turns]),
        "begun": completes(model, tokenizer, list(map(begun, records)))}
    by_task = {task: [share(x for x, record in zip(right[arm], records) if record.task == task)
                      for arm in ARMS] for task in BEGUN_AT}
    return {
        "items": len(records), "by_task": by_task,
        "shares": {name: share(each) for name, each in right.items()}
                  | {kind: share(few_shot(kind)) for kind in LISTS}}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure

# %%
plots.grouped_bars(
    lesson.figure(), numbers["by_task"], list(ARMS.values()),
    f"A base model asked, and allowed to continue ({numbers['items']:,} questions)",
    "correct answers")

# %% [markdown]
# When do these abilities arise? The base was probed now and then as it trained, and its card
# holds what it could do.

# %%
card = json.loads(Path(shipped("checkpoints/base.json")).read_text(encoding="utf-8"))
plots.over_training(lesson.figure("01_over_training.png"), card["probes"])

# %% [markdown]
# ## Verdict

# %%
shares = numbers["shares"]
CLAIMS = [
    Claim("asked in chat form, the base does not answer", shares["chat"], most=0.05, unit="share"),
    Claim("asked in plain words, the base does not answer", shares["plain"], most=0.05,
          unit="share"),
    Claim("the knowledge is there: it completes an answer that is begun", shares["begun"],
          least=0.8, unit="share")]
PREDICTIONS = [
    Claim("asked in plain words", shares["plain"], most=0.05, unit="share"),
    Claim("answer begun", shares["begun"], least=0.8, unit="share"),
    Claim("five examples of known skills", shares["known"], least=0.8, unit="share"),
    Claim("a mapping made up for the list", shares["mapping"], least=0.8, unit="share"),
    Claim("a sorting made up for the list", shares["sorting"], most=0.65, unit="share")]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([asked](results/01_base_model.png), [over
# training](results/01_over_training.png))
#
# - **Holds**: asked in chat form, the base answers none of the questions.
# - **Holds**: asked in plain words, it answers 2.3%, nearly all of them about a text.
# - **Holds**: with the answer begun for it, it completes 99.6%.
#
# From five examples it continues 86% of the lists of known skills, and 98% of the mappings made
# up for the list. One prediction was wrong, for the better: it also sorts *new* words by a
# sorting made up for the list, in 99%. To do so it has to find out which kinds of words carry
# which label. So it learns from the examples and does not only look up.
#
# Over training, recall of a text comes first: 15% after 500 steps, 73% after 2,000, 95% after
# 4,500. Made-up lists follow between 3,000 and 4,500 steps. Known skills from examples come
# slowly, above one half at 4,000 steps, and still rise at the end. The loss has fallen most before
# 2,500 steps, and it does not say what is being learnt.
#
# **Read with care.** How this base was made was found by trials that looked at these very probes.
# So the figures say what this base can do, not that any base of its size would. There is one base
# model and decoding is greedy, so the intervals speak of other questions, not of other bases. The
# begun sentences have a form that the prose contains: it shows that the knowledge can be reached,
# not that any wording reaches it. Asked, the model must give a whole sentence; begun, only its
# last words. A part of the gap is this difference in form.
#
# **What would change our mind.** A plain-text prompt, without examples, with which the base
# answers more than 20%.
#
# **Exercise** (easy, 15 minutes). Make the base answer questions about opposites without giving
# it the words "The opposite of". How far do you get with a list of examples in front?
#
# **Solution.** With a list in front, "hot > cold ; big > small ; ... ; clean >", the base
# continues all of 200 lists correctly. The mark alone, "clean >", brings 77% of the 62 pairs,
# because its prose holds such lists. Questions with their answers as examples ("What is the
# opposite of big? small.") bring none: it has never seen a question answered.
