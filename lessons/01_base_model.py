# %% [markdown]
# # 01 A base model continues; it does not follow
#
# **Question.** A model that was pre-trained on plain text knows things. What does it do when it is *asked*?
#
# **What the notes say** (指令微调, instruction tuning): pre-training gives a model its knowledge and abilities;
# instruction tuning teaches it to use them as a person asks. What others found: people preferred the 1.3B model of
# InstructGPT to the untuned 175B GPT-3 (Ouyang et al. 2022; tuned with human feedback, not with instructions alone).
#
# **My prediction, written before the run.** Asked in plain words, the base answers fewer than 5% of the questions.
# Given the *beginning of the very sentence* that answers, it completes more than 80% of them. So the knowledge is
# there, and what is missing is the habit of answering.
#
# Shown five examples ("red > color ; rice > dish ; ..."), it goes on rightly with the sixth in 80% or more for skills
# that its prose holds; a mapping made up for the list it can look up (80% or more); a sorting made up for it, whose
# sixth word is new, it cannot do (at most 65%, where guessing gives 50%). In training, looking back in a text arises
# suddenly, before learning from examples. (This second part is older than the first base that was trained on lists of
# examples.)

# %%
import json
import re
import sys

sys.path[:0] = [".", ".."]  # found from the project's folder, and from lessons/

from minisft import plots  # noqa: E402
from minisft.checkpoint import load_model  # noqa: E402
from minisft.config import shipped  # noqa: E402
from minisft.evaluate import TEST_FILES, answer_all, paired_bootstrap  # noqa: E402
from minisft.generate import generate  # noqa: E402
from minisft.lesson import FAST, result_path, verdict, write_results  # noqa: E402
from minisft.records import read_records  # noqa: E402
from minisft.tokenizer import END_OF_TEXT  # noqa: E402
from minisft.world.probe import completes, few_shot_items  # noqa: E402
from minisft.world.prose import RELATED  # noqa: E402

model, tokenizer = load_model(shipped("checkpoints/base.pt"))
START = tokenizer.special(END_OF_TEXT)

# %% [markdown]
# ## First, listen to it
# A text, and what the model would write next. Nothing is asked; it just goes on.


# %%
def continue_text(text, tokens):
    """What the model writes after `text`, greedily."""
    ids = generate(model, [[START] + tokenizer.encode(text)], tokens, stop=(START,))[0]
    return tokenizer.decode(ids)


for text in ("Mia keeps a dog. Tom keeps a cat. The pet of Mia is",
             "The opposite of hot is",
             "What is the opposite of hot?"):
    print(f"{text!r}\n    ... {continue_text(text, 12)!r}\n")

# %% [markdown]
# ## The experiment: the same questions, three ways
# Only tasks whose right answer is one sentence with the answer at its end, so that the sentence can be begun.
#
# | arm | what the model is given |
# | --- | --- |
# | chat | the question between role tokens, which it has never seen |
# | plain | the question as plain text, and a line end |
# | begun | the text it is about (if any), and the answering sentence without its last words |

# %%
BEGUN_AT = {"reading": " is", "opposite": " is", "classification": " names", "to_chinese": " is", "to_english": " is",
            "arithmetic": " is"}
ARMS = ("chat", "plain", "begun")

records = [record for record in read_records(TEST_FILES)[0] if record.task in BEGUN_AT]
if FAST:
    records = records[::8]


def begun(record):
    """The passage of a question, if it has one, and the answer up to where the asked-for words begin; and the rest."""
    question, answer = (message.content for message in record.item.messages)
    cut = answer.rindex(BEGUN_AT[record.task]) + len(BEGUN_AT[record.task])
    sentences = [s for s in re.split(r"(?<=[.?:])\s+", question) if s.endswith(".")] if record.task == "reading" else []
    return " ".join([*sentences, answer[:cut]]), answer[cut:]


questions = [record.item.messages[0].content for record in records]
answers = [record.item.messages[1].content for record in records]
beginnings, endings = zip(*map(begun, records))
scores = {
    "chat": [answer.right for answer in answer_all(model, tokenizer, records)],
    "plain": completes(model, tokenizer, [(question + "\n", answer) for question, answer in zip(questions, answers)]),
    "begun": completes(model, tokenizer, list(zip(beginnings, endings))),
}

# %% [markdown]
# And without any question: five examples, and the sixth to be gone on with.

# %%
COUNT = 10 if FAST else 500
few_shot = {
    "known": [right for name in RELATED
              for right in completes(model, tokenizer, few_shot_items(COUNT // len(RELATED) + 1, name))],
    "mapping": completes(model, tokenizer, few_shot_items(COUNT, "mapping")),
    "sorting": completes(model, tokenizer, few_shot_items(COUNT, "sorting")),
}

# %% [markdown]
# ## When does it arise?
# The base was probed now and then as it trained; its card holds what it could do.

# %%
card = json.loads(open(shipped("checkpoints/base.json"), encoding="utf-8").read())
plots.over_training(result_path("01_over_training.png"), card["probes"])

# %% [markdown]
# ## Figure and verdict

# %%
tasks = list(BEGUN_AT)
shares = {task: [sum(right for right, record in zip(scores[arm], records) if record.task == task)
                 / max(1, sum(record.task == task for record in records)) for arm in ARMS] for task in tasks}
plots.grouped_bars(
    result_path("01_base_model.png"), shares, ("asked in chat form", "asked in plain words", "answer begun for it"),
    f"A base model asked, and a base model allowed to go on ({len(records)} questions)", "right answers")

means = {arm: sum(scores[arm]) / len(records) for arm in ARMS}
gap = paired_bootstrap([[float(x) for x in scores["plain"]]], [[float(x) for x in scores["begun"]]])
for arm in ARMS:
    print(f"{arm:6} {means[arm]:6.1%}")
verdicts = [verdict("asked, it answers fewer than 5%; begun, it completes more than 80%; the gap", *gap,
                    holds=max(means["chat"], means["plain"]) < 0.05 and means["begun"] > 0.8)]
for name, claim, least, most in (("known", "examples of known skills: 80% or more", 0.8, 1),
                                 ("mapping", "a made-up mapping: 80% or more", 0.8, 1),
                                 ("sorting", "a made-up sorting: at most 65%", 0, 0.65)):
    right = [float(x) for x in few_shot[name]]
    means[name] = sum(right) / len(right)
    verdicts.append(verdict(claim, *paired_bootstrap([[0.0] * len(right)], [right]),
                            holds=least <= means[name] <= most))
first = {name: next((row["step"] for row in card["probes"] if row[name] > 0.5), None)
         for name in ("recall", "few_shot")}
print(f"above one half for the first time: {first}")
write_results("01_base_model.json", {
    "items": len(records), "means": means, "by_task": shares, "gap": gap, "above_one_half": first,
    "verdicts": verdicts})

# %% [markdown]
# **What came out.** ([asked](results/01_base_model.png), [over training](results/01_over_training.png))
#
# - **Holds**: asked, in chat form or in plain words, the base answers fewer than 1% of the questions; with the answer
#   begun for it, it completes nearly all (99.8%).
# - **Holds**: from five examples it goes on rightly with the sixth in 94% of the lists of known skills.
# - **Holds**: of mappings made up for the list it looks up 99%.
# - **Fails**, for the better: it also sorts *new* words by a sorting made up for the list, in 99% of the cases. It has
#   to find out which kinds of words carry which label, so it learns from the examples and does not only look up.
#
# Over training, recall comes first, as predicted: 22% after 500 steps, 64% after 1,000, above 90% from 2,000 on. The
# probes lie too far apart to say whether that is sudden. Made-up lists follow closely. Examples of known skills come
# slowly, above one half at 4,000 steps, as the skills themselves are learnt. The loss falls fastest in the same steps,
# but nothing in it says what is being learnt.
#
# **Read with care.** How this base was made (its start, its first texts, its mixture) was found by trials that looked
# at these very probes. So the figures say what this base can do, not that any base of its size would come to it. There
# is one base model and decoding is greedy, so the interval speaks of other questions, not of other base models. The
# begun sentences are of a form that the prose contains; that is the point, and also the limit: it shows that the
# knowledge can be reached, not that it can be reached by any wording. Asked, the model must give a whole sentence;
# begun, only its last words: a part of the gap is the form.
#
# **What would change my mind.** A plain-text prompt, without examples, that gets the base above 20%.
#
# **Exercise** (easy, 15 minutes). Find a wording of your own that makes the base answer a question about opposites
# without giving it the words "The opposite of". How far do you get with a list of examples in front?
