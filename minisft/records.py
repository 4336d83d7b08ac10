"""Read the files that people have: one row, one Record; a bad row is named by file and line.

    JSON lines          one object, or one list of messages, on each line
    JSON                one array of rows, or one object that holds one list of rows
    CSV, TSV            a header line, then rows
    any of them .gz     compressed by gzip

What a row may say is in minisft/rows.py. Beside its text a row may have `task` and `split`, by
which evaluation groups its results, `also`, a list of other answers that are as right as the last
one, `choices`, a list of answers with the right one among them, and `every_turn`: if it is true,
the conversation counts as right only if each of its answers is.

Notes: 指令格式 (instruction formats).
"""

import csv
import gzip
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from minisft.conversation import Conversation, render, render_text
from minisft.rows import FORMATS, TURNS, parse

EXPECTED = "expected JSON lines, a JSON array, CSV, or one of them with .gz"


class Damaged(ValueError):
    """A file that cannot be read on from here, so that skipping a row does not help."""


@dataclass(frozen=True)
class Record:
    """A Conversation that ends with an answer, or a plain text, and where it comes from.

    source: "file:line"; task and split: names; also: other answers that are as right as the last
    one; choices: answers to choose the right one from; every_turn: whether each answer is asked
    for, and not the last one alone; ignored: keys of the row that were not used.
    """

    item: Conversation | str
    source: str
    task: str = "all"
    split: str = "all"
    also: tuple = ()
    choices: tuple = ()
    every_turn: bool = False
    ignored: tuple = ()


def read_records(paths, skip_bad=False):
    """Read files in order; returns (list of Record, list of messages about skipped bad rows).

    Raises ValueError at the first bad row ("file:line: what is wrong, what was expected"), or with
    skip_bad counts it and continues. A file that cannot be read to its end, or that holds no row,
    is always an error.
    """
    records, bad = [], []
    for source, row in read_rows(paths):
        try:
            if isinstance(row, ValueError):
                raise row
            records.append(parse_row(row, source))
        except ValueError as error:
            message = f"{source}: {error}"
            if not skip_bad:
                raise ValueError(message) from None
            bad.append(message)
    if not records:
        raise ValueError(f"none of the {len(bad)} rows could be used; the first: {bad[0]}")
    return records, bad


def read_rows(paths):
    """Yield ("file:line", decoded row) of files in order; a ValueError stands for a bad row.

    Raises ValueError for a file that cannot be read to its end, or that holds no row.
    """
    for path in paths:
        is_empty = True
        for line, row in _rows(Path(path)):
            is_empty = False
            if isinstance(row, Damaged):
                raise ValueError(f"{path}:{line}: {row}")
            yield f"{path}:{line}", row
        if is_empty:
            raise ValueError(f"{path}: holds no rows; {EXPECTED}, of rows with {FORMATS}")


def parse_row(row, source="row"):
    """The Record of one decoded row; ValueError says what is wrong and what was expected."""
    parsed = parse(row)
    return Record(parsed.item, source, parsed.task, parsed.split, parsed.also, parsed.choices,
                  parsed.every_turn, tuple(parsed.ignored.elements()))


def render_record(record, tokenizer):
    """Token ids and loss mask of a record, a conversation or plain text."""
    if isinstance(record.item, str):
        return render_text(record.item, tokenizer)
    return render(record.item, tokenizer)


def hold_out(records, every=20):
    """(records to train on, records to evaluate on): every 20th question is held out.

    Rows that ask the same, with the same turns up to the last answer, stay on one side.
    """
    groups = {}
    for record in records:
        groups.setdefault(asked(record), []).append(record)
    train, held_out = [], []
    for number, group in enumerate(groups.values(), 1):
        (train if number % every else held_out).extend(group)
    order = {id(record): place for place, record in enumerate(records)}
    return (sorted(train, key=lambda record: order[id(record)]),
            sorted(held_out, key=lambda record: order[id(record)]))


def asked(record):
    """What a record asks: its turns up to the last answer, or its text."""
    if isinstance(record.item, str):
        return record.item
    return tuple((message.role, message.content) for message in record.item.messages[:-1])


def describe(records, bad=()):
    """A line for each file: what was read, what is not learnt, what was skipped or ignored."""
    files = dict.fromkeys(_file(text) for text in [record.source for record in records] + [*bad])
    return [_describe_file(file, [record for record in records if _file(record.source) == file],
                           [message for message in bad if _file(message) == file])
            for file in files]


def _file(source):
    """The file of "file:line" or "file:line: message"."""
    return re.match(r"(.*?):\d+(:|$)", source, re.DOTALL)[1]


def _describe_file(file, records, bad):
    conversations = [record.item for record in records if isinstance(record.item, Conversation)]
    not_learnt = sum(not message.learn for item in conversations for message in item.messages)
    ignored = Counter(key for record in records for key in record.ignored)
    parts = [f"{len(records) + len(bad):,} rows: {len(conversations):,} conversations, "
             f"{len(records) - len(conversations):,} documents"]
    if not_learnt:
        parts.append(f"{not_learnt:,} turns not learnt")
    if bad:
        parts.append(f"{len(bad):,} bad rows skipped, the first: {bad[0]}")
    if ignored:
        counts = ", ".join(f"{key} ({number:,})" for key, number in sorted(ignored.items()))
        parts.append(f"keys ignored: {counts}")
    return f"{file}: {'; '.join(parts)}"


# Files


def _rows(path):
    """Yield (line number, decoded row) of a file.

    For a row that cannot be decoded, a ValueError is yielded in its place: raised here, it would
    end the generator, and the rows after it could not be read.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {EXPECTED}")
    content, name = path.read_bytes(), path.name.lower()
    if content[:2] == b"\x1f\x8b":
        try:
            content, name = gzip.decompress(content), name.removesuffix(".gz")
        except (OSError, EOFError) as error:
            raise ValueError(f"{path}: gzip that cannot be read ({error})") from None
    if content[:4] == b"PAR1":
        raise ValueError(f"{path}: a Parquet file; convert it with: python -c \"import pandas; "
                         f"pandas.read_parquet('{path.as_posix()}').to_json('rows.jsonl', "
                         "orient='records', lines=True)\"")
    content = content.removeprefix(b"\xef\xbb\xbf")  # UTF-8's byte order mark
    if name.endswith((".csv", ".tsv")):
        yield from _csv_rows(content, "\t" if name.endswith(".tsv") else ",")
    elif _is_lines(content):
        yield from _json_lines(content)
    elif content.lstrip()[:1] == b"[":
        yield from _array_rows(content)
    else:
        yield from _object_rows(content)


def _is_lines(content):
    """Whether a file is JSON lines, and not one value, which may be spread over several lines."""
    first, _, rest = content.strip().partition(b"\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        is_array = first[:1] == b"["
        return not is_array and not _is_json(content)  # JSON lines, the first of them damaged
    if isinstance(value, list):
        return _is_conversation(value)
    return bool(rest.strip()) or _only_list_of_rows(value) is None


def _is_json(content):
    try:
        json.loads(content)
        return True
    except (ValueError, RecursionError):
        return False


def _is_conversation(value):
    """Whether a value is a list of messages, and not of rows."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(each, dict) and {"role", "from"} & each.keys()
        and {"content", "value"} & each.keys() for each in value)


def _only_list_of_rows(value):
    """The one list of objects that an object holds, if it is no row itself; else None."""
    if not isinstance(value, dict) or any(key in value for key in TURNS):
        return None
    lists = [each for each in value.values()
             if isinstance(each, list) and each and all(isinstance(row, dict) for row in each)]
    return lists[0] if len(lists) == 1 else None


def _json_lines(content):
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                yield number, _decode(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield number, ValueError(
                    f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")


def _object_rows(content):
    """The rows of one JSON object: those of the one list in it, or itself."""
    value = json.loads(content)
    rows = _only_list_of_rows(value)
    yield from enumerate([value] if rows is None else rows, 1)


def _whole_text(content):
    """(text of a file, None), or (None, (line, Damaged)) where it is not UTF-8."""
    try:
        return content.decode("utf-8"), None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return None, (line, Damaged("not UTF-8; save the file as UTF-8"))


def _csv_rows(content, delimiter):
    """Rows of a table with a header; an empty cell counts as absent."""
    text, damage = _whole_text(content)
    if damage:
        yield damage
        return
    csv.field_size_limit(2**31 - 1)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    end = 1  # the line on which the row before ends
    try:
        header = table.fieldnames or []
        if len(header) == 1 and set(header[0]) & (set(";,\t") - {delimiter}):
            expected = "commas" if delimiter == "," else "tabs"
            yield 1, Damaged(f"the header is one cell, {header[0]!r}; expected {expected} between "
                             "the cells (commas in .csv, tabs in .tsv)")
            return
        for row in table:
            start, end = end + 1, table.line_num
            if None in row or None in row.values():
                more_or_fewer = "more" if None in row else "fewer"
                yield start, ValueError(f"the row has {more_or_fewer} cells than the header, which "
                                        f"has {len(table.fieldnames)}")
            else:
                yield start, {key: value or None for key, value in row.items()}
    except csv.Error as error:
        yield end + 1, Damaged(f"the table cannot be read from here ({error})")


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


def _array_rows(content):
    """Yield the elements of one JSON array, each with the number of the line on which it starts."""
    text, damage = _whole_text(content)
    if damage:
        yield damage
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
