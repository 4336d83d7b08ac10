"""Read the files that people have: each row becomes one Record; errors name file and line.

    Alpaca              instruction, input (may be empty), output;
                        optional: system, and history [[user, assistant], ...]
    ShareGPT            conversations: [{from: human | gpt | system, value}, ...]
    messages            messages: [{role: system | user | assistant, content}, ...]
    prompt/completion   prompt, completion
    text                text (plain documents, as in pre-training)

A file is JSON lines, or one JSON array. The keys of each row tell its format. All other keys are
ignored, except these four, which evaluation uses:

    task, split   names by which evaluation groups its results
    also          a list of other answers that are correct too
    choices       a list of answers to choose from, the correct one among them

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
FORMATS = ("messages, or conversations (ShareGPT), or instruction and output (Alpaca), "
           "or prompt and completion, or text")


class Damaged(ValueError):
    """The rest of the file cannot be read, so skipping one row does not help."""


@dataclass(frozen=True)
class Record:
    """One row. item: a Conversation that ends with an answer, or plain text; source: "file:line".

    task, split, also and choices are described at the top of this file.
    """

    item: Conversation | str
    source: str
    task: str = "all"
    split: str = "all"
    also: tuple = ()
    choices: tuple = ()


def read_records(paths, skip_bad=False):
    """Read files in order; returns (list of Record, list of messages about the skipped bad rows).

    Raises ValueError at the first bad row ("file:line: what is wrong, what was expected"); with
    skip_bad, the row is skipped and its message kept. A file that cannot be read to its end, or
    that holds no row, is always an error.
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
                message = f"{source}: {error}"
                if not skip_bad or isinstance(error, Damaged):
                    raise ValueError(message) from None
                bad.append(message)
        if len(records) + len(bad) == before:
            raise ValueError(
                f"{path}: holds no rows; expected JSON lines or a JSON array of rows with "
                f"{FORMATS}")
    if not records:
        raise ValueError(f"none of the {len(bad)} rows could be used; the first: {bad[0]}")
    return records, bad


def parse_row(row, source="row"):
    """The Record of one decoded JSON row; ValueError says what is wrong and what was expected."""
    if not isinstance(row, dict):
        raise ValueError(f"the row is {_kind(row)}, expected an object with {FORMATS}")

    form = next((key for key in _PARSERS if key in row), None)
    if form is None:
        keys = ", ".join(repr(key[:40]) for key in list(row)[:8]) or "none"
        raise ValueError(f"the format is not known from its keys ({keys}); expected {FORMATS}")
    item = _PARSERS[form](row)

    if isinstance(item, Conversation) and item.messages[-1].role != "assistant":
        raise ValueError(
            "the conversation ends with the user; expected an assistant's answer at the end")
    return Record(
        item,
        source,
        task=_name(row.get("task")),
        split=_name(row.get("split")),
        also=_texts(row.get("also")),
        choices=_texts(row.get("choices")),
    )


def _name(value):
    """A task or split: the value if it is a non-empty text, else "all"."""
    return value if isinstance(value, str) and value else "all"


def _texts(value):
    """A list of non-empty texts as a tuple; for anything else, an empty tuple."""
    if isinstance(value, list) and all(isinstance(text, str) and text for text in value):
        return tuple(value)
    return ()


def render_record(record, tokenizer):
    """Token ids and loss mask of a record, a conversation or plain text."""
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
            raise ValueError(
                f"turn {number} must be an object with from and value, got {short(turn)}")
        speaker = turn["from"]
        if not isinstance(speaker, str) or speaker not in SHAREGPT_ROLES:
            raise ValueError(
                f"turn {number}: from is {short(speaker)}, expected human, gpt or system")
        messages.append({"role": SHAREGPT_ROLES[speaker], "content": turn["value"]})
    return Conversation.from_messages(messages)


def _parse_alpaca(row):
    prompt = _text(row, "instruction")
    given = row.get("input")
    if given is not None and not isinstance(given, str):
        raise ValueError(f"input is {_kind(given)}, expected text, possibly empty")
    if given and given.strip():
        prompt = f"{prompt}\n{given}"

    messages = []
    if row.get("system") not in (None, ""):
        messages.append({"role": "system", "content": row["system"]})
    for user, answer in _alpaca_history(row):
        messages += _exchange(user, answer)
    messages += _exchange(prompt, _text(row, "output"))
    return Conversation.from_messages(messages)


def _alpaca_history(row):
    """The earlier [user, assistant] pairs of an Alpaca row; an empty list if there are none."""
    history = row.get("history")
    if history is None or history == "":
        return []
    if not isinstance(history, list) or not all(
            isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise ValueError("history must be a list of [user, assistant] pairs")
    return history


def _parse_prompt_completion(row):
    return Conversation.from_messages(_exchange(_text(row, "prompt"), _text(row, "completion")))


def _exchange(user, answer):
    """A question and its answer as two messages."""
    return [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]


def _parse_text(row):
    text = _text(row, "text")
    if not text.strip():
        raise ValueError("text is empty, expected a document")
    check_text(text)
    return text


# The first of these keys that a row has decides. `text` is last: many Alpaca rows have it too.
_PARSERS = {
    "messages": _parse_messages,
    "conversations": _parse_sharegpt,
    "instruction": _parse_alpaca,
    "prompt": _parse_prompt_completion,
    "text": _parse_text,
}


def _text(row, key):
    if key not in row:
        raise ValueError(f"{key} is missing, expected text")
    if not isinstance(row[key], str):
        raise ValueError(f"{key} is {_kind(row[key])}, expected text")
    return row[key]


def _kind(value):
    """What JSON calls a value of this type."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _decode(text, decode=json.loads):
    """The decoded JSON value, or a ValueError (returned, not raised) that says what is wrong."""
    try:
        return decode(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}"
        if error.lineno > 1:
            place = f"line {error.lineno}, {place}"
        return ValueError(
            f"not JSON: {error.msg} at {place}; expected an object, on one line unless the file is "
            "one array")
    except (ValueError, RecursionError) as error:  # a number too long, or brackets nested too deep
        return ValueError(
            f"JSON that cannot be read ({type(error).__name__}: {str(error)[:80]}); expected a "
            "plain object")


def _rows(path):
    """Yield (line number, decoded row) for a file of JSON lines or a JSON array.

    For a row that cannot be decoded, a ValueError is yielded in its place: raised here, it would
    end the generator, and the rows after it could not be read.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected JSON lines or a JSON array")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # UTF-8's byte order mark
    if content.lstrip()[:1] == b"[":
        yield from _array_rows(content)
        return
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                yield number, _decode(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield number, ValueError(
                    f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")


def _array_rows(content):
    """Yield the elements of one JSON array, each with the number of the line on which it starts."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield line, Damaged("not UTF-8; save the file as UTF-8")
        return

    white_space = re.compile(r"[ \t\r\n]*")
    decoder = json.JSONDecoder()

    def skip_space(start):
        return white_space.match(text, start).end()

    at = skip_space(text.index("[") + 1)
    if text[at:at + 1] == "]":
        return
    line, counted = 1, 0  # `line` is right for the position `counted`
    while True:
        line += text.count("\n", counted, at)
        counted = at
        found = _decode(text, lambda whole, start=at: decoder.raw_decode(whole, start))
        if isinstance(found, ValueError):
            yield line, Damaged(f"{found}; the rest of the array cannot be read")
            return
        row, end = found
        yield line, row

        at = skip_space(end)
        mark = text[at:at + 1]
        at = skip_space(at + 1)
        if mark == "]":
            if at < len(text):
                line += text.count("\n", counted, at)
                yield line, Damaged("there is text after the array's end; expected nothing more")
            return
        if mark != ",":
            yield line, Damaged(
                f"expected , or ] after this element, got {mark!r}; the rest cannot be read")
            return
