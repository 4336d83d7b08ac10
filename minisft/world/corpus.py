"""Splits, and the files in data/: everything here follows from a seed.

    train            tuned attributes, tuned wordings, items of knowledge that are not held out
    new_passage      the same tasks and wordings; the texts, lists and questions were not tuned on
                     in any wording
    new_item         words, opposites and sums; no training row asks for their translation, kind or
                     result
    new_wording      cores and layouts that no training row holds
    user_wording     as users type: in few words, in Chinese or two languages, with courtesies,
                     short forms and mistakes; these parts are not in training rows either
    new_attribute    attributes that were not tuned on (only the pre-training prose mentions them)
    new_composition  two operations on a list; each was tuned with others, but not with this one
    new_skill        skills that the prose shows and no training question asks for
    conversation     four to eight turns that change the topic; each answer must be right
    unanswerable     the text does not say, or nothing in the town tells
    control          a question that nothing in the world can answer: which of two words is lucky.
                     A model must choose, and is right half the time; a model that is far from half
                     has seen the test

Each row is a conversation in the `messages` format with two more keys, `task` and `split`. It has a
key `also` where more than one answer is right, a key `choices` where the model must choose one of
several answers, and a key `every_turn` where each answer must be right.
"""

import json
import math
import random
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from minisft.shipped import TEST_SPLITS
from minisft.tokenizer import SPECIAL_TOKENS, Tokenizer, train_bpe
from minisft.world import oracle
from minisft.world.dialogue import (
    DIALOGUES,
    draw_follow_up,
    draw_small_talk,
    draw_system,
    draw_topics,
)
from minisft.world.facts import ATTRIBUTES_OF, NEW_ATTRIBUTES
from minisft.world.noise import add_noise
from minisft.world.oracle import SKILLS
from minisft.world.prose import document
from minisft.world.skills import Scope
from minisft.world.users import clipped, corrected, expanded, mistyped, polite, without_courtesies
from minisft.world.wordings import TUNED_STYLES, first_wordings, wordings

NEW_SKILLS = ("plural", "capitals")
CONTROL = ("lucky",)
TUNED_TASKS = (*(name for name in SKILLS if name not in NEW_SKILLS + CONTROL), *DIALOGUES)
_KNOWLEDGE = tuple(
    name for name in TUNED_TASKS if name in SKILLS and SKILLS[name].asks_knowledge)
_TEXTS = tuple(name for name in TUNED_TASKS if name in ("follow_up", "small_talk", "system")
               or name in SKILLS and SKILLS[name].has_text)
_ATTRIBUTES = tuple(name for name in TUNED_TASKS if name in ("follow_up", "small_talk")
                    or name in SKILLS and SKILLS[name].uses_attributes
                    and name not in ("not_said", "outside"))
# Tasks that make no sense in the harbor.
_OF_PEOPLE = ("two_hop", "chain", "running_sum", "story", "small_talk", "topics", "outside")
# The tasks of one turn.
_ALONE = tuple(name for name in TUNED_TASKS if name not in DIALOGUES)
# How often training rows are in each style, and how often a turn is changed as users change it.
STYLES = {"tuned": 0.6, "short": 0.12, "chinese": 0.1, "mixed": 0.1, "plain": 0.08}
CHANGES = {clipped: 0.1, mistyped: 0.1, polite: 0.15}


@dataclass(frozen=True)
class Split:
    """What a split draws from: its tasks, and the styles in which they are worded.

    styles: of wordings.py, or "polite", "clipped" or "mistyped"; None for those of training
    new_attributes: whether it uses the new attributes or the tuned ones
    held_out, new_pairs: which items of knowledge and which pairs of operations, as in Scope
    outside: which questions about the rest of the world
    turns: fewest and most user turns of a conversation about several things
    """

    tasks: tuple
    styles: tuple | None = None
    new_attributes: bool = False
    held_out: bool | None = False
    new_pairs: bool = False
    outside: str = "tuned"
    turns: tuple = (2, 8)


_USUAL = ("plain", "tuned")  # so that only one thing is new in each of these splits
_ASKED = tuple(name for name in TUNED_TASKS if name not in ("not_said", "outside", "topics"))
SPLITS = {
    "train": Split(TUNED_TASKS),
    "new_passage": Split(_TEXTS, _USUAL),
    "new_item": Split(_KNOWLEDGE, _USUAL, held_out=True),
    "new_wording": Split(_ASKED, ("new",)),
    "user_wording": Split(_ASKED, ("new_short", "new_chinese", "new_mixed", "polite", "clipped",
                                   "mistyped")),
    "new_attribute": Split(_ATTRIBUTES, _USUAL, new_attributes=True, held_out=True),
    "new_composition": Split(("compose",), _USUAL, new_pairs=True),
    "new_skill": Split(NEW_SKILLS, _USUAL, held_out=None),
    "conversation": Split(("topics",), _USUAL, turns=(4, 8)),
    "unanswerable": Split(("not_said", "outside"), _USUAL, outside="new"),
    "control": Split(CONTROL, _USUAL, held_out=None),
}

# Rows of each task. A task that has fewer different instructions gives all it has.
TRAIN_ROWS = dict.fromkeys(TUNED_TASKS, 300) | {
    "topics": 4500, "reading": 2000, "not_said": 1400, "chain": 1000, "two_hop": 900,
    "follow_up": 900, "compose": 700, "system": 700, "outside": 600, "running_sum": 500,
    "sentence_to_chinese": 400, "sort": 350, "story": 350, "reverse": 350, "without_first": 350,
    "without_last": 350, "opposite": 250,
}
SIZES = {"small": 0.25, "middle": 1, "large": 4}
# Rows of a test split, shared equally among its tasks, but at least 40 of each. One or two tasks
# have fewer different instructions than that.
TEST_ROWS = 560
TRAIN_PROSE = 1800  # documents that are tuned on beside the conversations
LONGEST = 620  # characters of a conversation, see `is_long`


def scope_of(split, domain="town", difficulty=None):
    """The Scope of a split in a domain."""
    rules = SPLITS[split]
    nouns = tuple(noun for noun in ATTRIBUTES_OF[domain]
                  if (noun in NEW_ATTRIBUTES) == rules.new_attributes)
    return Scope(nouns, rules.held_out, difficulty, rules.new_pairs, rules.outside,
                 rules.turns)


def tasks_of(split, domain="town"):
    """The tasks of a split that make sense in a domain."""
    return _sensible(SPLITS[split].tasks, domain)


def _sensible(tasks, domain):
    return tasks if domain == "town" else tuple(task for task in tasks if task not in _OF_PEOPLE)


def prose(seed, count, stream="train"):
    """`count` documents of a stream; "train" and "valid" give different documents for one seed."""
    rng = random.Random(f"prose {stream} {seed}")
    return [document(rng) for _ in range(count)]


def draw_turns(rng, task, scope, styles=None, most=None, changes=CHANGES, alone=_ALONE):
    """(system message or None, user turns) of one conversation of a task.

    styles: one is drawn, see Split; None draws one as in training. most: wordings that each form
    of a task has in training, None for all of them. changes: how often a turn of training is
    changed as users change it, {change: share}; nothing is changed where `most` is given. alone:
    the tasks that a conversation about several things may hold.
    """
    if styles is None:
        return _as_in_training(rng, task, scope, most, changes, alone)
    style = rng.choice(styles)
    if style in _CHANGE_OF:
        return _changed(rng, task, scope, _CHANGE_OF[style], alone)
    bank = "new" if style.startswith("new") else "tuned"
    return _draw(rng, task, scope, lambda: style, bank, alone)


_CHANGE_OF = {"polite": polite, "clipped": clipped, "mistyped": mistyped}


def _as_in_training(rng, task, scope, most, changes, alone):
    """As `draw_turns`, in the styles of training, turns changed as users change them."""
    def style_of():
        if most:
            return "plain"
        return rng.choices(tuple(STYLES), tuple(STYLES.values()))[0]

    system, turns = _draw(rng, task, scope, style_of, "tuned", alone, most)
    if most:
        return system, turns
    changed = []
    for turn in turns:
        for change, share in changes.items():
            if rng.random() < share:
                turn = change(rng, turn)
        changed.append(turn)
    return system, changed


def _changed(rng, task, scope, change, alone):
    """A conversation as in training, at least one of its turns changed as only tests change it."""
    while True:
        system, turns = _draw(rng, task, scope, lambda: "tuned", "tuned", alone)
        changed = [change(rng, turn, "new") for turn in turns]
        if changed != turns:
            return system, changed


def _draw(rng, task, scope, style_of, bank, alone, most=None):
    """A conversation of a task, its turns in the styles that `style_of` gives."""
    def draw_alone(style, tasks=None):
        task = rng.choice(_sensible(tasks or alone, scope.domain))
        return task, _instruction(rng, task, scope, style, most)

    def reading(style):
        return _fitting("reading", style, most, frozenset({"passage", "question"}))

    if task == "follow_up":
        return None, draw_follow_up(rng, scope, style_of(), reading)
    if task == "small_talk":
        return None, draw_small_talk(rng, scope, style_of())
    if task == "topics":
        return None, draw_topics(rng, scope, style_of, draw_alone, reading)
    if task == "system":
        return draw_system(rng, scope, bank, style_of, draw_alone, reading)
    return None, [_instruction(rng, task, scope, style_of(), most)]


def _instruction(rng, task, scope, style, most=None):
    """One instruction of a task in a style."""
    return worded(rng, task, SKILLS[task].draw(rng, scope), style, most)


def worded(rng, task, slots, style, most=None):
    """The instruction of a task with its slots, in a wording of a style."""
    return rng.choice(_fitting(task, style, most, frozenset(slots))).fill(**slots)


@cache
def _fitting(task, style, most, slots):
    """The wordings of a task that have just these slots."""
    known = first_wordings(task, most) if most else wordings(task, style)
    return [wording for wording in known if set(wording.slots) == slots]


def conversation(turns, system=None):
    """(messages, also): the user turns with the oracle's answers, and other right last answers."""
    messages = [{"role": "system", "content": system}] if system else []
    all_judged = oracle.judge_all(turns, system)
    assert all_judged, f"the oracle cannot read what the world wrote: {turns}"
    for turn, judged in zip(turns, all_judged):
        messages.append({"role": "user", "content": turn})
        messages.append({"role": "assistant", "content": judged.answers[0]})
    return messages, list(all_judged[-1].answers[1:])


def make_row(task, split, turns, system=None):
    """The row of a conversation, ready to be written."""
    messages, also = conversation(turns, system)
    row = {"task": task, "split": split, "messages": messages}
    if also:
        row["also"] = also
    if task in CONTROL:
        _, *slots = oracle.judge(turns).meaning
        row["choices"] = [f"The lucky word is {word}." for _, word in slots]
    if split == "conversation":
        row["every_turn"] = True
    return row


@dataclass(frozen=True)
class Asked:
    """What some rows say (`text_of`) and ask (`meaning_of`)."""

    texts: frozenset = frozenset()
    meanings: frozenset = frozenset()

    @classmethod
    def by(cls, rows):
        return cls(frozenset(map(text_of, rows)), frozenset(map(meaning_of, rows)) - {None})


def instructions(seed, split, rows, asked=Asked(), domain="town", difficulty=None, styles=None,
                 most=None, changes=CHANGES, alone=_ALONE, again=None):
    """Rows of a split: at most `rows[task]` of each task, no two alike in what `as_typed` keeps.

    asked: texts that must not come again, and questions that must not come again in other words
    either, except for those of knowledge in a split of new wordings. styles: instead of those of
    the split; most, changes, alone: see `draw_turns`; again: instead of that of Scope.
    """
    scope, styles = scope_of(split, domain, difficulty), styles or SPLITS[split].styles
    if again is not None:
        scope = replace(scope, again=again)
    written = []
    for task, count in rows.items():
        rng = random.Random(f"instructions {split} {task} {seed}")
        texts, found = set(asked.texts), []
        for _ in range(20 * count):
            system, turns = draw_turns(rng, task, scope, styles, most, changes, alone)
            text = as_typed(turns), system
            if text in texts:
                continue
            judged = oracle.judge(turns, system)
            if task in DIALOGUES and (judged is None or judged.skill != task):
                continue  # it came out as another kind, or cannot be answered as `system` wants it
            if not _may_ask_again(split, task) and judged.meaning in asked.meanings:
                continue
            row = make_row(task, split, turns, system)
            if task == "topics" and is_long(row):
                continue
            texts.add(text)
            found.append(row)
            if len(found) == count:
                break
        written += found

    random.Random(f"order {split} {seed}").shuffle(written)
    return written


def is_long(row):
    """Whether a conversation may not fit into the 256 tokens of the shipped bases."""
    return sum(len(message["content"]) + 8 for message in row["messages"]) > LONGEST


def _may_ask_again(split, task):
    """Whether a question may come again in other words: one of knowledge, if the wording is new."""
    return split in ("train", "new_wording", "user_wording") and task in _KNOWLEDGE


def as_typed(turns):
    """User turns without courtesies, typing mistakes, capitals, punctuation and extra spaces."""
    bare = [corrected(expanded(without_courtesies(turn))).lower() for turn in turns]
    return tuple(re.sub(r"\W+", " ", turn).strip() for turn in bare)


def text_of(row):
    """What a row says, as `as_typed` keeps it, and its system message."""
    return as_typed(user_turns(row)), system_of(row)


def user_turns(row):
    return tuple(message["content"] for message in row["messages"] if message["role"] == "user")


def system_of(row):
    """The row's system message, or None."""
    first = row["messages"][0]
    return first["content"] if first["role"] == "system" else None


def judge_row(row):
    """The oracle's Judgement of a row."""
    return oracle.judge(user_turns(row), system_of(row))


def meaning_of(row):
    """What a row asks, whatever its words, or None if the oracle cannot tell."""
    judged = judge_row(row)
    return judged.meaning if judged else None


def find_leaks(train, test):
    """The test rows that were tuned on, a list of (row, reason).

    The reason is "the same text" if at most courtesies, typing mistakes, capitals and punctuation
    differ, and "the same question in other words" if the oracle gives both the same `meaning`.
    """
    asked, leaks = Asked.by(train), []
    for row in test:
        if text_of(row) in asked.texts:
            leaks.append((row, "the same text"))
        elif meaning_of(row) in asked.meanings and not _may_ask_again(row["split"], row["task"]):
            leaks.append((row, "the same question in other words"))
    return leaks


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write_rows(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def train_rows(size="middle", domain="town"):
    """{task: number of rows to tune on that `make` asks for}."""
    return {task: max(1, round(TRAIN_ROWS[task] * SIZES[size]))
            for task in tasks_of("train", domain)}


def make(seed=0, size="middle", domain="town", difficulty=None, noise="", noise_rate=0.0,
         wordings=None):
    """{split: rows} of the whole corpus; the arguments are the flags of the command.

    Only the training split gets noise.
    """
    train = instructions(seed, "train", train_rows(size, domain),
                         domain=domain, difficulty=difficulty, most=wordings)
    made = {"train": add_noise(train, noise, noise_rate, seed) if noise else train}
    asked = Asked.by(train)
    for split in TEST_SPLITS:
        tasks = tasks_of(split, domain)
        share = max(40, math.ceil(TEST_ROWS / max(1, len(tasks))))  # a split may have no task
        made[split] = instructions(
            seed, split, dict.fromkeys(tasks, share), asked, domain, difficulty)
    return made


def said_in_all_wordings(seed, rows=400):
    """The texts of `rows` conversations of each task, half of the users' turns with courtesies.

    The tokenizer is learnt from them, so that it depends neither on how many rows of a task are
    tuned on, nor on how often a style is used or a kind of task comes twice in a conversation.
    """
    rng = random.Random(f"tokenizer {seed}")
    written = instructions(seed, "train", dict.fromkeys(TUNED_TASKS, rows), styles=TUNED_STYLES,
                           again=0)
    messages = [message for row in written for message in row["messages"]]
    return [polite(rng, message["content"]) if message["role"] == "user" and rng.random() < 0.5
            else message["content"] for message in messages]


def write(folder, seed=0, vocab_size=2560, **knobs):
    """Write the files of data/ into a folder; returns {split: rows}. knobs: arguments of `make`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = make(seed, **knobs)
    for split, rows in made.items():
        write_rows(folder / f"{split}.jsonl", rows)
    texts = prose(seed, 20_000)
    for name, documents in (("prose", texts[:TRAIN_PROSE]),
                            ("prose_valid", prose(seed, 500, "valid"))):
        write_rows(folder / f"{name}.jsonl", [{"text": text} for text in documents])

    texts += said_in_all_wordings(seed)
    Tokenizer(train_bpe(texts, vocab_size - len(SPECIAL_TOKENS))).save(folder / "tokenizer.json")
    return made
