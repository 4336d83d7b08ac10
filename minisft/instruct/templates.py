"""Template files: how the fields of a pair become the question and the answer of a task.

    {"name": "opposite",
     "descriptions": ["Give the opposite of the word.", "What is the opposite of {input}?"],
     "input": "word",
     "output": "The opposite of {word} is {opposite}."}

This is all that a CSV file with the columns word and opposite needs.

    name               of the task
    descriptions       what is to be done, in several wordings; a row takes one of them by chance.
                       The input stands where {input} stands, or else below the description
    input, output      a field of the pairs, or a text with {field} slots; {{ and }} are braces
    output_space       optional: the list of all outputs that are allowed
    several_answers    optional: true if an input may have several right outputs
    reverse            optional: the other direction; descriptions, input and output of its own, and
                       perhaps several_answers
    test_share         optional: share of the pairs held out, in place of that of the command
    pairs              optional: a file of pairs or a list of files, seen from the template's
                       folder, in place of those of the command

Notes: 基于现有的 NLP 任务数据集构建 (building from NLP task data). Source: Wei et al. 2022 (FLAN),
section 2.1.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as short
from typing import NamedTuple

from minisft.instruct.dialogue import normalised
from minisft.rows import kind

DIRECTION_KEYS = ("descriptions", "input", "output")
REQUIRED = ("name", *DIRECTION_KEYS)
OPTIONAL = ("output_space", "several_answers", "reverse", "test_share", "pairs")
SLOT = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


class Pair(NamedTuple):
    """An example: where it comes from, different for each, and its fields {name: text}."""

    source: str
    fields: dict


@dataclass(frozen=True)
class Task:
    """One direction of a task; see the beginning of this file.

    asked, answer: the two texts of a pair. ValueError for a value that cannot be used.
    """

    name: str
    descriptions: tuple
    input: str
    output: str
    output_space: tuple = ()
    several_answers: bool = False
    direction: str = "forward"

    def __post_init__(self):
        check_text_of("name", self.name)
        check_texts("descriptions", self.descriptions)
        for number, description in enumerate(self.descriptions, 1):
            others = [slot for slot in slots(description) if slot != "input"]
            if others:
                raise ValueError(
                    f"description {number} has the slot {{{others[0]}}}; a description can show "
                    "the input as a whole, as {input}, and no field (braces are {{ and }})")
        for key in ("input", "output"):
            check_text_of(key, getattr(self, key))
        if not slots(to_slot(self.input)):
            raise ValueError(f"input never shows the input: {short(self.input)} has no {{field}}")
        if self.output_space:
            check_texts("output_space", self.output_space)
        if not isinstance(self.several_answers, bool):
            raise ValueError(f"several_answers is {kind(self.several_answers)}, expected true or "
                             "false")

    @property
    def label(self):
        """The name, for the other direction "name, reverse"."""
        return self.name if self.direction == "forward" else f"{self.name}, {self.direction}"

    def asked(self, pair):
        """The input of a pair as text."""
        return fill(to_slot(self.input), pair.fields)

    def answer(self, pair):
        """The output of a pair as text."""
        return fill(to_slot(self.output), pair.fields)


@dataclass(frozen=True)
class Template:
    """A template file: the task in one direction or in both; test_share: None for the usual one.

    pairs: names of files, empty for those of the command.
    """

    tasks: tuple
    test_share: float | None = None
    pairs: tuple = ()

    @property
    def fields(self):
        """The names of all fields that are used."""
        return list(dict.fromkeys(name for task in self.tasks for text in (task.input, task.output)
                                  for name in slots(to_slot(text))))

    def links(self, pair):
        """Keys of a pair: pairs that have one in common stand on one side of the split."""
        task = self.tasks[0]
        asked, answer = ([normalised(pair.fields[name]) for name in slots(to_slot(text))]
                         for text in (task.input, task.output))
        return ("row", pair.source), ("input", *asked), ("values", frozenset(asked + answer))


# Slots


def to_slot(text):
    """A field's name as a text that shows it; other texts stay.

    >>> to_slot("word"), to_slot("Word: {word}")
    ('{word}', 'Word: {word}')
    """
    return text if "{" in text else f"{{{text}}}"


def slots(text):
    """The names in the slots of a text.

    >>> slots("{a} is {{not}} {b}")
    ['a', 'b']
    """
    return [found[1] for found in SLOT.finditer(text) if found[1] is not None]


def fill(text, values):
    """A text with its slots filled; braces in a value are no slots.

    >>> fill("{{{a}}}", {"a": "{b}"})
    '{{b}}'
    """
    return SLOT.sub(lambda found: found[0][0] if found[1] is None else values[found[1]], text)


def as_it_is(text):
    """A text in which braces are no slots.

    >>> fill(as_it_is("{a}"), {})
    '{a}'
    """
    return text.replace("{", "{{").replace("}", "}}")


# Reading


def read_template(path):
    """The Template of a file; ValueError names the file and what is wrong with it."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=once)
        template = to_template(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}; "
                         "expected one object that describes a task") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return replace(template, pairs=tuple(str(Path(path).parent / name) for name in template.pairs))


def once(items):
    """A dict of a JSON object's items; ValueError if a key stands there twice."""
    keys = [key for key, _ in items]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key!r} stands twice in an object; leave one out")
    return dict(items)


def to_template(value):
    """The Template of a dict, as a template file holds it."""
    check_keys(value, REQUIRED, OPTIONAL)
    value = dict(value)
    share, reverse, pairs = (value.pop(key, None) for key in ("test_share", "reverse", "pairs"))
    if share is not None:
        check_share(share, "test_share")
    pairs = [pairs] if isinstance(pairs, str) else pairs
    if pairs is not None:
        check_texts("pairs", pairs)
    tasks = [Task(**value)]
    if reverse is not None:
        try:
            check_keys(reverse, DIRECTION_KEYS, ("several_answers",))
            tasks.append(Task(value["name"], **reverse, direction="reverse"))
        except ValueError as error:
            raise ValueError(f"reverse: {error}") from None
    return Template(tuple(tasks), share, tuple(pairs or ()))


def to_pair(row, source, template):
    """The Pair of a decoded row, with the fields that the template uses."""
    try:
        if isinstance(row, ValueError):
            raise row
        if not isinstance(row, dict):
            raise ValueError(f"the row is {kind(row)}, expected an object with the fields "
                             f"{', '.join(template.fields)}")
        pair = Pair(source, {name: take_text(row, name) for name in template.fields})
        task = template.tasks[0]
        answer = task.answer(pair)
        if task.output_space and answer not in task.output_space:
            names = " and ".join(slots(to_slot(task.output))) or "none"
            raise ValueError(
                f"the output {short(answer)} (field {names}) is not in the output_space of "
                f"{task.name}: {', '.join(task.output_space)}")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return pair


def take_text(row, name):
    """The text of a field; a number counts as text."""
    if name not in row:
        has = ", ".join(str(key) for key in row) or "none"
        raise ValueError(f"there is no field {name!r}, which the template shows; the row has {has}")
    value = row[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str) and not value.strip():
        raise ValueError(f"the field {name!r} is empty, expected text")
    if not isinstance(value, str):
        raise ValueError(f"the field {name!r} is {kind(value)}, expected text or a number")
    return value


# Checks


def check_keys(value, required, optional):
    """ValueError unless a value is a dict with these keys."""
    if not isinstance(value, dict):
        raise ValueError(f"found {kind(value)}, expected an object with {', '.join(required)}")
    for key in value:
        if key not in required + optional:
            raise ValueError(f"unknown key {key!r}, expected {', '.join(required)}, and perhaps "
                             f"{', '.join(optional)}")
    for key in required:
        if key not in value:
            raise ValueError(f"{key} is missing, expected {', '.join(required)}")


def check_text_of(name, value):
    if not isinstance(value, str) or not value.strip():
        found = "empty" if isinstance(value, str) else kind(value)
        raise ValueError(f"{name} is {found}, expected text")


def check_texts(name, values):
    """ValueError unless values is a list of different texts."""
    if not isinstance(values, list | tuple) or not values:
        found = "empty" if isinstance(values, list | tuple) else kind(values)
        raise ValueError(f"{name} is {found}, expected a list of texts")
    first = {}
    for number, text in enumerate(values, 1):
        check_text_of(f"number {number} of {name}", text)
        if first.setdefault(text.strip(), number) != number:
            raise ValueError(f"{name} {first[text.strip()]} and {number} are the same, "
                             f"{short(text)}; leave one out")


def check_share(value, name):
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number from 0 to less than 1, got {short(value)}")
