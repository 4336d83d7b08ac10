# %% [markdown]
# # 05 Daily conversation: one wording or many?
#
# **Question.** People ask for one thing in a hundred ways. Does a model have to be trained on many
# of them, and on the way in which users type?
#
# **What the notes say** (基于日常对话数据构建, building from daily conversations): what real users
# ask is closer to what a model will be asked, and more diverse, than instructions made from NLP
# tasks.
#
# **What others found.** InstructGPT was tuned on queries (what users had typed and sent to a
# service), with personal data removed and at most 200 of each user (Ouyang et al. 2022). That does
# not tell what the wordings alone are worth, as users also ask for other tasks.

# %%
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import mean

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

from minisft import plots
from minisft.batching import prepare
from minisft.checkpoint import load_model
from minisft.experiment import Arm, Trial, for_results, measure, pilot, side_by_side
from minisft.instruct.dialogue import DialogueConfig, build, clean
from minisft.intervals import over_seeds, paired_interval
from minisft.lesson import Answer, Claim, Lesson, show_source
from minisft.records import parse_row
from minisft.shipped import BASE
from minisft.world.corpus import CHANGES, Asked, instructions

lesson = Lesson("05_conversations", answer=Answer("new wordings", 0.24, 0.42))
base, tokenizer = load_model(BASE)

# %% [markdown]
# ## The code
# A chat log (a file of chats between users and an assistant) cannot be trained on as it is. These
# eight chats are made up; they have what real ones have: personal data, an answer that breaks off,
# two turns of one speaker in a row, an answer before any question, an empty turn, the same chat
# twice, a question that nobody answered. Here is what is left of them, and then the code:

# %%
USER, ASSISTANT = "user", "assistant"
CHATS = [
    [(USER, "Hi, write to ann@example.org that I am late. My number is +1 415 555 0132."),
     (ASSISTANT, "Dear Ann, I am late. Call me at +1 415 555 0132."),
     (USER, "Make it shorter."), (ASSISTANT, "Ann, I am late.")],
    [(USER, "How do I sort a list in Python?"),
     (ASSISTANT, "Like this:\n```python\nnumbers.sort()")],
    [(USER, "What is the opposite of hot?"), (USER, "In one word, please."), (ASSISTANT, "Cold.")],
    [(ASSISTANT, "Hello, how can I help?"), (USER, "Name a fruit."), (ASSISTANT, "A pear."),
     (USER, "Another one!")],
    [(USER, "Name a bird."), (ASSISTANT, "")],
    [(USER, "what is the opposite  of hot?"), (USER, "in one word, please."),
     (ASSISTANT, "Cold.")],
    [(USER, "Is anybody there?")],
    [(USER, "name a fruit"), (ASSISTANT, "A plum."), (USER, "And a pet."), (ASSISTANT, "A cat.")]]

with tempfile.TemporaryDirectory() as folder:
    log = Path(folder) / "chats.jsonl"
    log.write_text("".join(
        json.dumps([{"role": role, "content": content} for role, content in turns]) + "\n"
        for turns in CHATS), encoding="utf-8")
    rows, tally, beside = build(DialogueConfig(files=(str(log),)))
for row in rows:
    print(f"\n{Path(row['source']).name}")
    for turn in row["messages"]:
        print(f"  {turn['role']:10} {turn['content']!r}")
print("\nwhat was done, and how often:")
for reason, number in tally.counts.items():
    print(f"{number:4} {reason}")
print("\nwhat users asked first:")
for row in beside["queries.jsonl"]:
    print(f"{1 + row['repeats']:4} {row['instruction']}")
show_source(clean)

# %% [markdown]
# With a log of your own: `python -m minisft.build dialogue chats.jsonl --out dialogue.jsonl`.
#
# ## The experiment
# | arm | the user's turns in training |
# | --- | --- |
# | 1, 4, 16 wordings | each form of a task (sum, difference) in so many, the plainest first |
# | all wordings | in all of them: hundreds for each task, in English, Chinese and both |
# | as users type | the same; a third of the turns with "please", "plz" or typing mistakes |
#
# All arms have the same eleven tasks of one step, conversations about several of them, and the same
# number of rows of each. No training row asks what a test asks, not in other words either. Only
# questions of knowledge ("the opposite of hot") may be asked again in other words, because what is
# new in their tests is the wording. The tests are drawn by the rules of the shipped test sets
# (data/README.md):
#
# | test | what is new |
# | --- | --- |
# | known wording | other texts and lists, in the one wording that every arm knows |
# | new wording | orders, questions and layouts that no training row holds |
# | user wording | other short forms, courtesies and kinds of mistakes than in training |
# | conversation | four to eight turns about several things; right only if every answer is |
#
# A pilot on rows held out from training sets the number of steps, so that the reference arm (as
# users type) answers about 80%, and the number of seeds. Batches are half as large as in the
# default run and the rate is higher, 1.5e-3, so that all arms fit into 20 minutes; no prose is
# tuned on beside. The rules were fixed before the run: an effect below 5 points does not matter.

# %%
ARMS = {"1 wording": 1, "4 wordings": 4, "16 wordings": 16, "all wordings": None,
        "as users type": None}
ONE, ALL, TYPED = "1 wording", "all wordings", "as users type"
TESTS = ("known wording", "new wording", "user wording", "conversation")
EFFECT = 0.05  # the smallest difference that matters, as a share
STEPS = lesson.scale((200, 400), fast=(2,))
BATCH_SIZE, RATE = lesson.scale(16, fast=8), 1.5e-3
ON_TEXTS = ("reading", "first", "last", "count", "sort", "sentence_to_english")
TASKS = (*ON_TEXTS, "classification", "opposite", "to_chinese", "to_english", "arithmetic")
ROWS = dict.fromkeys(TASKS, lesson.scale(150, fast=2)) | {"topics": lesson.scale(400, fast=4)}


def make_rows(arm, rows_of, asked):
    """Training rows of an arm: `rows_of[task]` of each task, none of them asked before."""
    return instructions(0, "train", rows_of, asked, most=ARMS[arm], alone=TASKS,
                        changes=CHANGES if arm == TYPED else {})


def make_tests():
    """{test: its rows}."""
    def drawn(split, tasks, number, most=None):
        rows_of = dict.fromkeys(tasks, lesson.scale(number, fast=2))
        return instructions(1, split, rows_of, most=most, alone=TASKS)

    return {"known wording": drawn("train", ON_TEXTS, 90, most=1),
            "new wording": drawn("new_wording", TASKS, 50),
            "user wording": drawn("user_wording", TASKS, 50),
            "conversation": drawn("conversation", ("topics",), 250)}


def make_trials(tests):
    """{arm: its Trial}, the same test questions in all of them."""
    asked = Asked.by([row for rows in tests.values() for row in rows])
    rows = {ONE: make_rows(ONE, ROWS, asked)}
    rows_of = Counter(row["task"] for row in rows[ONE])  # one wording may not give as many
    others = [arm for arm in ARMS if arm != ONE]
    rows |= dict(zip(others, side_by_side(
        make_rows, [(arm, rows_of, asked) for arm in others], lesson.jobs, "writing rows")))
    assert all(Counter(row["task"] for row in own) == rows_of for own in rows.values())
    test = [parse_row(row) for own in tests.values() for row in own]
    trials = {}
    for arm, own in rows.items():
        records = [parse_row(row) for row in own]
        learnt = [record for i, record in enumerate(records) if i % 20]
        examples, _ = prepare(learnt, tokenizer, base.config.block_size)
        trials[arm] = Trial(examples, records[::20], test, STEPS[-1], BATCH_SIZE)
    return trials


def experiment():
    tests = make_tests()
    trials = make_trials(tests)
    arms = {name: Arm(BASE, None, trials[name], (RATE,)) for name in ARMS}
    plan = pilot(arms[TYPED], STEPS, EFFECT, lesson.jobs)
    seeds = lesson.scale(plan["seeds"], fast=1)
    measured = measure(arms, seeds, plan["steps"], processes=lesson.jobs)
    names = [name for name, rows in tests.items() for _ in rows]
    scores = {arm: {test: [[score for score, name in zip(each, names) if name == test]
                           for each in measured[arm]["scores"]] for test in TESTS} for arm in ARMS}

    def gains(arm, other):
        return {test: paired_interval(scores[other][test], scores[arm][test]) for test in TESTS}

    return {
        "pilot": plan, "steps": plan["steps"], "seeds": seeds, "items": len(names),
        "items_of_test": {name: len(rows) for name, rows in tests.items()},
        "rows": len(trials[ONE].examples), "arms": for_results(measured),
        "shares": {test: {arm: over_seeds([mean(each) for each in scores[arm][test]])
                          for arm in ARMS} for test in TESTS},
        "gains": {f"{arm} - {other}": gains(arm, other) for arm, other in (
            (ALL, ONE), (ALL, "4 wordings"), (ALL, "16 wordings"), (TYPED, ALL))}}


numbers = lesson.run(experiment)

# %% [markdown]
# ## Figure

# %%
shares, gains = numbers["shares"], numbers["gains"]
plots.arms(lesson.figure(), shares, "exact match")

# %% [markdown]
# ## Verdict
# A gain is the exact match of the first arm minus that of the second.

# %%
many, typed = gains[f"{ALL} - {ONE}"], gains[f"{TYPED} - {ALL}"]
CLAIMS = [
    Claim("many wordings carry to wordings never seen: all - 1", many["new wording"], least=EFFECT),
    Claim("they carry to what users type: all - 1", many["user wording"], least=EFFECT),
    Claim("rows as users type carry further: user wordings, as users type - all",
          typed["user wording"], least=EFFECT),
    Claim("many wordings make whole conversations right: all - 1", many["conversation"],
          least=EFFECT)]
PREDICTIONS = [
    Claim("new wording, all - 1", many["new wording"], least=0.2),
    Claim("new wording, all - 16", gains[f"{ALL} - 16 wordings"]["new wording"], least=0.05),
    Claim("known wording, all - 1 (what many wordings cost)", many["known wording"], -0.15, -0.02),
    Claim("new wording, as users type - all", typed["new wording"], -EFFECT, EFFECT),
    Claim("conversation, as users type - all", typed["conversation"], -EFFECT, EFFECT)]
lesson.conclude(numbers, CLAIMS, PREDICTIONS)

# %% [markdown]
# **What came out.** ([figure](results/05_conversations.png))
#
# - **Holds**: many wordings bring 37 points on wordings never seen: 37% with one wording, 74% with
#   all.
# - **Holds**: they bring 41 points on what users type: 27% with one, 69% with all.
# - **Undecided**: rows as users type bring 4 points more there (2 to 6), which may be less than the
#   5 that matter.
# - **Undecided**: whether many wordings make whole conversations right, 3 points (-6 to 11).
#   Conversations stay between 12% and 21% in all arms: 200 steps are too few for them.
#
# So a model that was trained on one wording follows that wording (95%), and little else. The first
# few are worth most: from 1 to 4 wordings new ones rise by 21 points, from 4 to 16 by 10, and from
# there to hundreds by 6. What they cost is 6 points in the known wording.
#
# Of the predictions two were right and three are undecided.
#
# **Read with care.** The arms have the same rows of each task and take the same steps, so with
# many wordings each single wording is seen less often. "All wordings" differs from the first three
# arms in two more ways: a third of its rows are short, Chinese or both; and what is said between
# the tasks of a conversation (greetings, remarks) has many wordings too, where the other arms have
# one to three of each. The conversations of the test are in the plain and the tuned wordings, so
# there an arm with few of them is also asked in new words. Users here are a program of ours, with a
# few kinds of courtesies and mistakes; what it takes to train on real ones is not shown. Seeds vary
# the order of the data; rows and base are the same.
#
# **What would change our mind.** An arm with few wordings that catches up on new wordings when it
# is trained longer.
#
# **Exercise** (medium, 45 minutes). Rows are cheap where one wording is enough. Give the arm with
# one wording four times as many rows of the tasks on texts (`ROWS`), and the same number of steps.
# Does it come nearer to all wordings on new ones? (Check with `--answer`: the share of questions in
# new wordings that are right then.)
#
# **Solution.** No. With 4,600 rows in place of 1,850, five seeds and the same 200 steps, new
# wordings come to 33% (37% before) and what users type to 26% (27%); the known wording stays at
# 95%. Conversations fall from 12% to 4%, as their share of the rows is smaller. More rows of one
# wording teach that wording.
