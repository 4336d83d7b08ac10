"""NLP task data becomes instructions: a task is described in words, its pairs are the examples.

    pairs -> shuffle -> split -> description + input -> {"messages": [question, answer], ...}

A task has a name, descriptions in several wordings, perhaps an output space (the list of all
outputs that are allowed), and pairs of input and output, which some tasks use in both directions.
Its template file says all this: see minisft/instruct/templates.py.

The split comes before everything else, and what is linked stays on one side: pairs with the same
input, with the same values (whichever of them is asked for), and from the same row of a file. This
holds across tasks. A test row that asks what a training row of its task asks is left out.

What stands in an instruction above its input is the format: nothing (none), the task's name, a
description, the output space alone, or a description of another task, drawn anew for each row
(shuffled). Comparing them shows what a model learns from descriptions.

Notes: 基于现有的 NLP 任务数据集构建 (building from NLP task data). Source: Wei et al. 2022 (FLAN),
sections 2.1 (templates, some of which turn a task around), 2.3 (the output space) and 4.3 (no
template, name only). Simplified: a pair gives one row for each direction and format.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from reprlib import repr as short

from tqdm import tqdm

from minisft.config import option
from minisft.conversation import Conversation, Message
from minisft.instruct.dialogue import normalised
from minisft.instruct.tally import Tally
from minisft.instruct.templates import (
    as_it_is,
    check_share,
    fill,
    read_template,
    slots,
    to_pair,
)
from minisft.records import read_rows

FORMATS = ("none", "name", "description", "space", "shuffled")

READ, REPEATED = "pairs read", "dropped: repeated"
CONFLICT = "dropped: the same input with another output"
SEVERAL = "kept: the same input with another right output"
ASKED = "left out of the test: training asks the same"
NO_SPACE = "format space without an output space: the input stands alone"


@dataclass(frozen=True)
class TasksConfig:
    pairs: tuple = option((), "files of pairs, in any format of file that training takes; for the "
                              "templates that name none themselves")
    templates: tuple = option((), "template files, one for each task")
    formats: tuple = option(("description",), "what stands above the input: nothing, the task's "
                            "name, a description, the output space, the description of another "
                            "task; each pair is written in each format named", choices=FORMATS)
    test_share: float = option(0.1, "share of the pairs that are held out")
    seed: int = option(0, "random seed of the order, the split and the wordings")
    out: str = option("", "file to write, OUT.jsonl; a summary OUT.json, the test rows "
                          "OUT.test.jsonl and the conflicting pairs OUT.conflicts.jsonl stand "
                          "beside it")

    def __post_init__(self):
        if not self.templates:
            raise ValueError("no template is named; name at least one file with --templates")
        if len(set(self.formats)) < len(self.formats):
            raise ValueError(f"--formats names one twice: {' '.join(self.formats)}; leave one out")
        check_share(self.test_share, "--test-share")


def build(config):
    """(rows, Tally, {"test.jsonl": rows, "conflicts.jsonl": rows}) of what a TasksConfig names."""
    templates = [read_template(path) for path in config.templates]
    if config.pairs and all(template.pairs for template in templates):
        raise ValueError(f"{config.pairs[0]} would not be used, as each template names its pairs; "
                         "leave it out, or remove the key pairs from a template")
    collection = []
    for path, template in zip(config.templates, templates):
        if not (template.pairs or config.pairs):
            raise ValueError(f"{path}: the task has no pairs; name a file of them on the command "
                             "line, or in the template with the key pairs")
        collection.append((template, read_pairs(template.pairs or config.pairs, template)))
    tally = Tally(READ, REPEATED, CONFLICT, SEVERAL, ASKED, *(
        f"{split} rows: {task.label}" for template in templates for task in template.tasks
        for split in ("train", "test")))
    train, test, conflicts = make_rows(collection, config.formats, config.test_share, config.seed,
                                       tally)
    return train, tally, {"test.jsonl": test, "conflicts.jsonl": conflicts}


def read_pairs(paths, template):
    """The list of Pair of some files; ValueError names file, line and field."""
    rows = tqdm(list(read_rows(paths)), desc=f"reading {template.tasks[0].name}", unit="pair",
                dynamic_ncols=True)
    return [to_pair(row, source, template) for source, row in rows]


def make_rows(collection, formats, test_share, seed, tally):
    """(training rows, test rows, rows about conflicting pairs) of [(Template, list of Pair), ...].

    Rows stand in the order of the tasks and of their pairs. The split and the wordings are the same
    whatever the formats are.
    """
    names = [template.tasks[0].name for template, _ in collection]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two templates have the name {name!r}; give each task its own")
    for _, pairs in collection:
        tally.add(READ, pairs[0].source if pairs else "", len(pairs))
    collection = [(template, distinct(pairs, lambda pair: tuple(pair.fields.values()), tally))
                  for template, pairs in collection]
    held = held_out(collection, test_share, random.Random(seed))

    rows, conflicts = {"train": [], "test": []}, []
    for template, pairs in collection:
        others = [task for other, _ in collection if other is not template for task in other.tasks]
        for task in template.tasks:
            agreeing, found = agreed(pairs, task, tally)
            conflicts += found
            for split, chosen in sides(agreeing, task, held, tally).items():
                for format in formats:
                    draws = random.Random(f"{seed} {task.label} {split}")
                    made = instructions(chosen, task, format, draws, others, split)
                    rows[split] += [row | {"seed": seed} for row in made]
                    where = chosen[0].source if chosen else ""
                    tally.add(f"{split} rows: {task.label}", where, len(made))
                    if format == "space" and not task.output_space:
                        tally.add(NO_SPACE, where, len(made))
    return rows["train"], rows["test"], conflicts


def distinct(pairs, key, tally):
    """The pairs without those whose key an earlier one has."""
    first = {}
    for pair in pairs:
        if first.setdefault(key(pair), pair) is not pair:
            tally.add(REPEATED, f"{pair.source}, as in {first[key(pair)].source}")
    return list(first.values())


def held_out(collection, test_share, rng):
    """The sources of the pairs that are held out, a set.

    Linked pairs are a group. Groups drawn at random are held out as long as they fit into the
    task's share; a group that an earlier task has put on a side stays there.
    """
    group_of = linked([template.links(pair) for template, pairs in collection for pair in pairs])
    test, decided = set(), set()
    for template, pairs in collection:
        groups = defaultdict(list)
        for pair in rng.sample(pairs, len(pairs)):
            groups[group_of["row", pair.source]].append(pair)
        share = test_share if template.test_share is None else template.test_share
        left = min(max(1, round(share * len(pairs))), len(pairs) - 1) if share else 0
        left -= sum(len(group) for name, group in groups.items() if name in test)
        for name, group in groups.items():
            if name not in decided and len(group) <= left:
                test.add(name)
                left -= len(group)
        decided |= groups.keys()
    return {pair.source for _, pairs in collection for pair in pairs
            if group_of["row", pair.source] in test}


def linked(links):
    """{key: its group} of tuples of keys; the keys of one tuple are in one group.

    >>> linked([("a", "b"), ("c", "d"), ("b", "e")])
    {'a': 'a', 'b': 'a', 'c': 'c', 'd': 'c', 'e': 'a'}
    """
    above = {}

    def top(key):
        while above.setdefault(key, key) != key:
            above[key] = above[above[key]]  # so that the way is shorter next time
            key = above[key]
        return key

    for first, *others in links:
        for other in others:
            above[top(other)] = top(first)
    return {key: top(key) for key in above}


def agreed(pairs, task, tally):
    """(the pairs to use, rows about those that conflict: the same input, different outputs)."""
    pairs = distinct(pairs, lambda pair: (task.asked(pair), task.answer(pair)), tally)
    same = defaultdict(list)
    for pair in pairs:
        same[task.asked(pair)].append(pair)
    conflicts = []
    for asked, group in same.items():
        if len(group) > 1:
            where = ", ".join(f"{pair.source} {short(task.answer(pair))}" for pair in group[:4])
            tally.add(SEVERAL if task.several_answers else CONFLICT,
                      f"{where}, task {task.label}", len(group))
            conflicts.append({"task": task.label, "input": asked,
                              "outputs": [task.answer(pair) for pair in group],
                              "sources": [pair.source for pair in group]})
    if task.several_answers:
        return pairs, []
    return [pair for pair in pairs if len(same[task.asked(pair)]) == 1], conflicts


def sides(pairs, task, held, tally):
    """{"train": pairs, "test": pairs}; held: the sources of those that are held out."""
    train = [pair for pair in pairs if pair.source not in held]
    asked, test = {normalised(task.asked(pair)) for pair in train}, []
    for pair in pairs:
        if pair.source not in held:
            continue
        if normalised(task.asked(pair)) in asked:
            tally.add(ASKED, f"{pair.source}, task {task.label}")
        else:
            test.append(pair)
    return {"train": train, "test": test}


# Instructions


def instructions(pairs, task, format, rng, others=(), split="train"):
    """Rows of the pairs of a Task in one of FORMATS, in their order.

    others: other tasks, whose descriptions `shuffled` draws from; rng: random.Random. In the format
    `space` a task without an output space is as in `none`. `choices` is the output space without
    other answers that are right too; these stand in `also` of the rows of the split "test".

    >>> from minisft.instruct.templates import Pair, Task
    >>> pairs = [Pair("pairs.csv:2", {"word": "hot", "opposite": "cold"})]
    >>> task = Task("opposite", ("Say the opposite of {input}.",), "word", "opposite")
    >>> for format in ("none", "name", "description"):
    ...     instructions(pairs, task, format, random.Random(0))[0]["messages"][0]["content"]
    'hot'
    'opposite\\nhot'
    'Say the opposite of hot.'
    """
    pool = wordings(task, format, others)
    right = defaultdict(dict)  # {input: {output: None}}, in order
    if task.several_answers:
        for pair in pairs:
            right[task.asked(pair)][task.answer(pair)] = None

    rows = []
    for pair in pairs:
        asked, answer = task.asked(pair), task.answer(pair)
        text, provenance = rng.choice(pool)
        row = {"task": task.label, "split": split,
               "messages": messages(instruction(text, asked), answer, pair.source)}
        if task.output_space:
            row["choices"] = [output for output in task.output_space
                              if output == answer or output not in right[asked]]
        if split == "test" and len(right[asked]) > 1:
            row["also"] = [output for output in right[asked] if output != answer]
        rows.append(row | {"source": pair.source, "direction": task.direction, "format": format,
                           **provenance})
    return rows


def wordings(task, format, others):
    """[(what stands above the input, or around its slot, {what it is}), ...] to draw from.

    template: the number of a description.
    """
    if format == "description":
        return numbered(task)
    if format == "shuffled":
        pool = [(text, number | {"description_of": other.label}) for other in others
                for text, number in numbered(other) if text not in task.descriptions]
        if not pool:
            raise ValueError(f"the format shuffled needs the description of another task than "
                             f"{task.name}; name the templates of several tasks")
        return pool
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}, expected one of {', '.join(FORMATS)}")
    text = "{input}"
    if format == "name":
        text = as_it_is(task.label)
    elif format == "space" and task.output_space:
        text = as_it_is(f"Answer with one of: {', '.join(task.output_space)}.")
    return [(text, {"template": None})]


def numbered(task):
    return [(text, {"template": number}) for number, text in enumerate(task.descriptions, 1)]


def instruction(text, asked):
    """A wording with an input in its slot, or below it if it has none."""
    return fill(text if "input" in slots(text) else text + "\n{input}", {"input": asked})


def messages(question, answer, source):
    """The two turns; ValueError with the source for text that no tokenizer can encode."""
    try:
        return Conversation((Message("user", question), Message("assistant", answer))).to_messages()
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
