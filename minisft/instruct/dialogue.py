"""A chat log becomes training data: conversations of several turns, cleaned, and what users ask.

    row -> turns -> merge and trim -> check -> mask -> not seen before -> {"messages": [...]}

    merge     neighbouring turns of one speaker become one, with a blank line between
    trim      an answer before the first question and a question after the last answer are dropped
    check     conversations with an empty turn or a truncated answer are dropped
    mask      personal data becomes [EMAIL], [PHONE], ... (minisft/instruct/privacy.py)

What people ask a chat service is what an instruction is made for, so the first question of each
conversation is also a task description, in the words of a user.

An answer is taken as truncated if a code fence stays open; or if it has more than 200 characters,
ends with a letter, a digit, or a mark that announces more, and the line before its last one does
not: in lists and poems no line has an end mark. This is a rule of thumb. A long answer of one line
without its full stop is dropped too.

Notes: 基于日常对话数据构建 (building from daily conversations). Source: Ouyang et al. 2022, section
3.2 (queries of users, personal data removed, at most 200 queries of each user). Simplified: users
are not told apart.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from tqdm import tqdm

from minisft.config import option
from minisft.conversation import Conversation, Message
from minisft.instruct.privacy import KINDS, mask
from minisft.instruct.tally import Tally
from minisft.records import read_rows
from minisft.rows import chat_turns

LONG = 200  # characters; a shorter answer may be a word or a title
SENTENCE_MARKS = ".,:;!?。，、：；！？\"'"
MORE_TO_COME = ",，、:：;；-–—([{（【《“‘"

MERGED = "turns merged into the one before"
OPENING, CLOSING = "opening answers left out", "closing questions left out"
UNREADABLE = "dropped: cannot be read"
SYSTEM_LATER = "dropped: a system message among the turns"
NO_ANSWER = "dropped: no question with an answer to learn"
EMPTY = "dropped: an empty turn"
OPEN_FENCE = "dropped: truncated, a code fence stays open"
NO_END = "dropped: truncated, no end mark"
REPEATED = "dropped: repeated"
FAULTS = (UNREADABLE, SYSTEM_LATER, NO_ANSWER, EMPTY, OPEN_FENCE, NO_END, REPEATED)
QUERIES, NEAR_DUPLICATES = "different first questions", "near-duplicates among first questions"


@dataclass(frozen=True)
class DialogueConfig:
    files: tuple = option((), "chat logs: ShareGPT or messages rows, in any format of file that "
                              "training takes")
    out: str = option("", "file to write, OUT.jsonl; a summary OUT.json and the first questions "
                          "OUT.queries.jsonl stand beside it")

    def __post_init__(self):
        if not self.files:
            raise ValueError("no chat log is named; name at least one file")


class Dropped(Exception):
    """A conversation that is not kept; its argument is the reason."""


def build(config):
    """(rows, Tally, {"queries.jsonl": rows}) of the chat logs that a DialogueConfig names."""
    tally = Tally("rows read", "kept", *FAULTS, MERGED, OPENING, CLOSING,
                  *(f"masked: {kind}" for kind in KINDS), QUERIES, NEAR_DUPLICATES)
    rows, seen = [], set()
    for source, row in tqdm(list(read_rows(config.files)), desc="reading chats", unit="row",
                            dynamic_ncols=True):
        tally.add("rows read", source)
        try:
            conversation, changes = clean(row)
            key = tuple((message.role, normalised(message.content))
                        for message in conversation.messages)
            if key in seen:
                raise Dropped(REPEATED)
        except Dropped as reason:
            tally.add(str(reason), source)
            continue
        except ValueError as error:
            tally.add(UNREADABLE, f"{source}: {error}")
            continue
        seen.add(key)
        rows.append({"messages": conversation.to_messages(), "source": source})
        tally.add("kept", source)
        for change, number in changes.items():
            tally.add(change, source, number)
    return rows, tally, {"queries.jsonl": first_queries(rows, tally)}


def clean(row):
    """(Conversation, Counter of what was changed) of a row of a chat log, as read_rows gives it.

    Raises Dropped with the reason, or ValueError for a row that is no chat.
    """
    if isinstance(row, ValueError):  # it could not be decoded, and says why
        raise row
    turns, ignored = chat_turns(row)
    turns, changes = trim(*merge(turns))
    fault = fault_of(turns)
    if fault:
        raise Dropped(fault)
    changes.update({f"keys not kept: {key}": number for key, number in ignored.items()})
    messages = []
    for role, content, learn in turns:
        content, masked = mask(content)
        messages.append(Message(role, content, learn))
        changes.update({f"masked: {kind}": number for kind, number in masked.items()})
    return Conversation(tuple(messages)), changes


# Turns are (role, content, learn).


def merge(turns):
    """(turns whose speakers alternate, Counter of what was changed).

    Of merged turns the empty ones leave no trace. They are learnt if each of them was to be learnt.

    >>> merge([("user", "a", True), ("user", "b", True), ("assistant", "c", True)])[0]
    [('user', 'a\\n\\nb', True), ('assistant', 'c', True)]
    """
    merged, changes = [], Counter()
    for role, content, learn in turns:
        if not merged or merged[-1][0] != role:
            merged.append((role, content, learn))
            continue
        changes[MERGED] += 1
        _, before, learn_before = merged[-1]
        parts = [part for part in (before, content) if part.strip()]
        merged[-1] = (role, "\n\n".join(parts), learn and learn_before)
    return merged, changes


def trim(turns, changes):
    """(turns from the first question to the last answer, the Counter `changes` with what went).

    A system message at the beginning stays.
    """
    system = [turn for turn in turns[:1] if turn[0] == "system"]
    talk = turns[len(system):]
    if talk and talk[0][0] == "assistant":
        talk = talk[1:]
        changes[OPENING] += 1
    if talk and talk[-1][0] == "user":
        talk = talk[:-1]
        changes[CLOSING] += 1
    return system + talk, changes


def fault_of(turns):
    """Why merged and trimmed turns are not kept, or None."""
    roles = [role for role, _, _ in turns]
    if "system" in roles[1:]:
        return SYSTEM_LATER
    if not any(role == "assistant" and learn for role, _, learn in turns):
        return NO_ANSWER
    if not all(content.strip() for _, content, _ in turns):
        return EMPTY
    answers = [content for role, content, _ in turns if role == "assistant"]
    if any(map(has_open_fence, answers)):
        return OPEN_FENCE
    if any(map(ends_in_the_middle, answers)):
        return NO_END
    return None


def has_open_fence(answer):
    """Whether the last code fence (a line of ``` and perhaps a language) is never closed.

    Some fences open in the middle of a line and close on their own.
    """
    fences, marks = re.findall(r"^\s*```", answer, re.M), answer.count("```")
    return len(fences) % 2 == 1 and marks % 2 == 1


def ends_in_the_middle(answer):
    """Whether an answer of more than 200 characters stops where its other lines do not.

    >>> sentence = "This line is long enough to be counted as a line. " * 5
    >>> ends_in_the_middle(sentence), ends_in_the_middle(sentence + "And then the")
    (False, True)
    >>> ends_in_the_middle("- a first thing" + 20 * "\\n- another thing")
    False
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    if len(answer.strip()) <= LONG or not is_open(lines[-1]):
        return False
    return len(lines) == 1 or not is_open(lines[-2])


def is_open(line):
    """Whether a line ends without an end mark; one that ends with a link is complete."""
    last = line.rstrip()[-1]
    return (last.isalnum() or last in MORE_TO_COME) and "://" not in line.split()[-1]


# What users ask


def first_queries(rows, tally):
    """Rows of task descriptions, the first question of each conversation, each of them once.

    repeats: how many other conversations begin with nearly the same.
    """
    found = {}
    for row in rows:
        query = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")
        key = query_key(query)
        if key in found:
            found[key]["repeats"] += 1
            tally.add(NEAR_DUPLICATES, row["source"])
        else:
            found[key] = {"instruction": query, "source": row["source"], "repeats": 0}
            tally.add(QUERIES, row["source"])
    return list(found.values())


def query_key(query):
    """What near-duplicate queries have in common: their words, without marks around a word.

    This is the one place that decides what a near-duplicate is. A measure that compares two
    queries, such as ROUGE-L, would take the place of the look-up in `first_queries`.

    >>> query_key("What is  LoRA?") == query_key("what is LoRA")
    True
    >>> query_key("What is 3 + 4?") == query_key("What is 3 - 4?")
    False
    """
    words = (word.strip(SENTENCE_MARKS) for word in normalised(query).split())
    return " ".join(word for word in words if word) or query


def normalised(text):
    """Text without what typing alone may change: width of characters, capitals, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
