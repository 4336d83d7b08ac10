"""Read the files that people have into Conversations: one row, one record; a bad row is named by file and line.

    Alpaca              instruction, input (may be empty), output; optional system and history [[user, assistant], ...]
    ShareGPT            conversations: [{from: human | gpt | system, value}, ...]
    messages            messages: [{role: system | user | assistant, content}, ...]
    prompt/completion   prompt, completion
    text                text (plain documents, as in pre-training)

The format is told from each row's keys; other keys are left alone, but for `task` and `split`, by which evaluation
groups its results, `also`, a list of other answers that are as right as the last one, and `choices`, a list of answers
with the right one among them. A file is JSON lines, or one JSON array.

Notes: 指令格式 (instruction formats).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short

from minisft.conversation import Conversation, render, render_text
from minisft.tokenizer import check_text

SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
FORMATS = ("messages, or conversations (ShareGPT), or instruction and output (Alpaca), or prompt and completion, "
           "or text")


class Damaged(ValueError):
    """A file that cannot be read on from here, so that skipping a row does not help."""


@dataclass(frozen=True)
class Record:
    """item: a Conversation that ends with an answer, or plain text; source: "file:line"; task and split: names;
    also: other answers that are as right as the last one; choices: answers to choose the right one from."""

    item: Conversation | str
    source: str
    task: str = "all"
    split: str = "all"
    also: tuple = ()
    choices: tuple = ()


def read_records(paths, skip_bad=False):
    """Read files in order; returns (list of Record, list of messages about the bad rows that were skipped).

    Raises ValueError at the first bad row ("file:line: what is wrong, what was expected"), or with skip_bad counts it
    and goes on. A file that cannot be read to its end, or that holds no row, is always an error.
    """
    records, bad = [], []
    for path in paths:
        before = len(records) + len(bad)
        for line, row in _rows(Path(path)):
            source = f"{path}:{line}"
            try:
                if isinstance(row, ValueError):
                    raise row
                records.append(parse_row(row, source))
            except ValueError as error:
                if not skip_bad or isinstance(error, Damaged):
                    raise ValueError(f"{source}: {error}") from None
                bad.append(f"{source}: {error}")
        if len(records) + len(bad) == before:
            raise ValueError(f"{path}: holds no rows; expected JSON lines or a JSON array of rows with {FORMATS}")
    if not records:
        raise ValueError(f"none of the {len(bad)} rows could be used; the first: {bad[0]}")
    return records, bad


def parse_row(row, source="row"):
    """The Record of one decoded JSON row; ValueError says what is wrong and what was expected."""
    if not isinstance(row, dict):
        raise ValueError(f"the row is {_kind(row)}, expected an object with {FORMATS}")
    for key, parse in _PARSERS.items():
        if key in row:
            item = parse(row)
            break
    else:
        keys = ", ".join(repr(key[:40]) for key in list(row)[:8]) or "none"
        raise ValueError(f"the format is not known from its keys ({keys}); expected {FORMATS}")
    if isinstance(item, Conversation) and item.messages[-1].role != "assistant":
        raise ValueError("the conversation ends with the user; expected an assistant's answer at the end")
    names = {key: row[key] for key in ("task", "split") if isinstance(row.get(key), str) and row[key]}
    return Record(item, source, **names, also=_texts(row.get("also")), choices=_texts(row.get("choices")))


def _texts(value):
    known = isinstance(value, list) and all(isinstance(text, str) and text for text in value)
    return tuple(value) if known else ()


def render_record(record, tokenizer):
    """Token ids and loss mask of a record, whichever kind it is."""
    if isinstance(record.item, str):
        return render_text(record.item, tokenizer)
    return render(record.item, tokenizer)


def _parse_messages(row):
    return Conversation.from_messages(row["messages"])


def _parse_sharegpt(row):
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise ValueError(f"conversations is {_kind(turns)}, expected a list of from and value")
    messages = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
            raise ValueError(f"turn {number} must be an object with from and value, got {short(turn)}")
        if not isinstance(turn["from"], str) or turn["from"] not in SHAREGPT_ROLES:
            raise ValueError(f"turn {number}: from is {short(turn['from'])}, expected human, gpt or system")
        messages.append({"role": SHAREGPT_ROLES[turn["from"]], "content": turn["value"]})
    return Conversation.from_messages(messages)


def _parse_alpaca(row):
    instruction, given = _text(row, "instruction"), row.get("input")
    if given is not None and not isinstance(given, str):
        raise ValueError(f"input is {_kind(given)}, expected text, possibly empty")
    messages = []
    if row.get("system") not in (None, ""):
        messages.append({"role": "system", "content": row["system"]})
    history = [] if row.get("history") in (None, "") else row["history"]
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise ValueError("history must be a list of [user, assistant] pairs")
    for user, assistant in history:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    prompt = f"{instruction}\n{given}" if given and given.strip() else instruction
    messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": _text(row, "output")}]
    return Conversation.from_messages(messages)


def _parse_prompt_completion(row):
    return Conversation.from_messages([
        {"role": "user", "content": _text(row, "prompt")},
        {"role": "assistant", "content": _text(row, "completion")}])


def _parse_text(row):
    text = _text(row, "text")
    if not text.strip():
        raise ValueError("text is empty, expected a document")
    check_text(text)
    return text


# In this order: Alpaca files often carry a `text` column beside their own.
_PARSERS = {
    "messages": _parse_messages, "conversations": _parse_sharegpt, "instruction": _parse_alpaca,
    "prompt": _parse_prompt_completion, "text": _parse_text,
}


def _text(row, key):
    if key not in row:
        raise ValueError(f"{key} is missing, expected text")
    if not isinstance(row[key], str):
        raise ValueError(f"{key} is {_kind(row[key])}, expected text")
    return row[key]


def _kind(value):
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _decode(text, decode=json.loads):
    """The decoded JSON value, or a ValueError (returned, not raised) that says what is wrong with it."""
    try:
        return decode(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        return ValueError(f"not JSON: {error.msg} at {place}; expected an object, on one line unless the file is one "
                          "array")
    except (ValueError, RecursionError) as error:  # numbers of too many digits, brackets nested too deep
        return ValueError(f"JSON that cannot be read ({type(error).__name__}: {str(error)[:80]}); expected a "
                          "plain object")


def _rows(path):
    """Yield (line number, decoded row or ValueError) for a file of JSON lines or a JSON array."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected JSON lines or a JSON array")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if content.lstrip()[:1] == b"[":
        yield from _array_rows(content)
        return
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                yield number, _decode(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield number, ValueError(f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")


def _array_rows(content):
    """The elements of one JSON array, each with the line on which it starts."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield line, Damaged("not UTF-8; save the file as UTF-8")
        return
    space = re.compile(r"[ \t\r\n]*")
    decoder = json.JSONDecoder()
    at, line, counted = space.match(text, text.index("[") + 1).end(), 1, 0
    if text[at:at + 1] == "]":
        return
    while True:
        line, counted = line + text.count("\n", counted, at), at
        found = _decode(text, lambda whole, start=at: decoder.raw_decode(whole, start))
        if isinstance(found, ValueError):
            yield line, Damaged(f"{found}; the rest of the array cannot be read")
            return
        row, end = found
        yield line, row
        at = space.match(text, end).end()
        mark, at = text[at:at + 1], space.match(text, at + 1).end()
        if mark == "]":
            if at < len(text):
                line += text.count("\n", counted, at)
                yield line, Damaged("something stands after the array's end; expected nothing more")
            return
        if mark != ",":
            yield line, Damaged(f"expected , or ] after this element, got {mark!r}; the rest cannot be read")
            return
