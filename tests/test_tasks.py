"""Pairs of NLP tasks become instructions: worked by hand, the split's invariants, the command."""

import csv
import gzip
import io
import json
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisft import build
from minisft.instruct.dialogue import normalised
from minisft.instruct.tally import Tally
from minisft.instruct.tasks import (
    ASKED,
    CONFLICT,
    FORMATS,
    NO_SPACE,
    READ,
    REPEATED,
    SEVERAL,
    instructions,
    make_rows,
)
from minisft.instruct.templates import Pair, to_template
from minisft.records import read_records, render_record
from minisft.tokenizer import Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])

OPPOSITE = {
    "name": "opposite",
    "descriptions": ["Give the opposite of the word.", "What is the opposite of {input}?"],
    "input": "word", "output": "The opposite of {word} is {opposite}.",
}
MOOD = {"name": "mood", "descriptions": ["Is this good or bad?"], "input": "text", "output": "mood",
        "output_space": ["good", "bad"]}
CHINESE = {
    "name": "chinese", "descriptions": ["Translate into Chinese."], "input": "en", "output": "zh",
    "reverse": {"descriptions": ["Translate into English.", "{input}: in English, please."],
                "input": "zh", "output": "en"},
}


def to_pairs(*rows, name="pairs"):
    return [Pair(f"{name}:{number}", row) for number, row in enumerate(rows, 1)]


def words(*pairs, name="pairs"):
    """Pairs of the fields en and zh."""
    return to_pairs(*({"en": en, "zh": zh} for en, zh in pairs), name=name)


def turns(row):
    return [turn["content"] for turn in row["messages"]]


def made(template, pairs, format="description", others=(), split="train", seed=0):
    """Rows of a template's forward direction."""
    task = to_template(template).tasks[0]
    return instructions(pairs, task, format, random.Random(seed), others, split)


def test_a_pair_becomes_a_question_and_an_answer_that_know_where_they_come_from():
    pairs = to_pairs({"word": "hot", "opposite": "cold"})
    wordings = {1: "Give the opposite of the word.\nhot", 2: "What is the opposite of hot?"}
    seen = set()
    for seed in range(10):
        (row,) = made(OPPOSITE, pairs, seed=seed)
        seen.add(row["template"])
        assert row == {
            "task": "opposite", "split": "train",
            "messages": [{"role": "user", "content": wordings[row["template"]]},
                         {"role": "assistant", "content": "The opposite of hot is cold."}],
            "source": "pairs:1", "direction": "forward", "format": "description",
            "template": row["template"]}
    assert seen == {1, 2}


@pytest.mark.parametrize("format, question", [
    ("none", "Fine {input} day"), ("name", "mood\nFine {input} day"),
    ("description", "Is this good or bad?\nFine {input} day"),
    ("space", "Answer with one of: good, bad.\nFine {input} day"),
    ("shuffled", "What is the opposite of Fine {input} day?"),
])
def test_the_format_says_what_stands_above_the_input_and_nothing_else_differs(format, question):
    other = to_template(OPPOSITE | {"descriptions": OPPOSITE["descriptions"][1:]}).tasks
    (row,) = made(MOOD, to_pairs({"text": "Fine {input} day", "mood": "good"}), format, other)
    assert turns(row) == [question, "good"] and row["format"] == format
    assert row["choices"] == ["good", "bad"]
    assert row["template"] == (1 if format in ("description", "shuffled") else None)
    assert row.get("description_of") == ("opposite" if format == "shuffled" else None)


def test_braces_in_names_and_spaces_are_no_slots_and_doubled_ones_are_braces():
    braces = MOOD | {"name": "{input}", "output_space": ["{a}", "{{b}}"],
                     "descriptions": ["Fill {{input}}:"]}
    pairs = to_pairs({"text": "x", "mood": "{a}"})
    found = [turns(made(braces, pairs, format)[0])[0]
             for format in ("name", "space", "description")]
    assert found == ["{input}\nx", "Answer with one of: {a}, {{b}}.\nx", "Fill {input}:\nx"]


def test_shuffled_draws_from_all_other_descriptions_and_never_from_the_tasks_own():
    others = [*to_template(CHINESE).tasks,
              to_template(OPPOSITE | {"descriptions": MOOD["descriptions"]}).tasks[0]]
    pairs = to_pairs(*({"text": f"text {i}", "mood": "bad"} for i in range(60)))
    found = Counter((row["description_of"], row["template"])
                    for row in made(MOOD, pairs, "shuffled", others))
    assert set(found) == {("chinese", 1), ("chinese, reverse", 1), ("chinese, reverse", 2)}
    for alone in ((), others[2:]):
        with pytest.raises(ValueError, match="shuffled needs the description of another task"):
            made(MOOD, pairs, "shuffled", alone)
    collection = [(to_template(MOOD), pairs),
                  (to_template(CHINESE), words(*((f"w{i}", f"字{i}") for i in range(20))))]
    for row in make_rows(collection, ["shuffled"], 0, 0, Tally())[0]:
        assert (row["description_of"] == "mood") == row["task"].startswith("chinese")
    with pytest.raises(ValueError, match="there is no format 'title', expected one of none, name"):
        made(MOOD, pairs, "title")


def test_a_task_in_both_directions_asks_each_way():
    tally = Tally()
    train, test, conflicts = make_rows([(to_template(CHINESE), words(("cat", "猫")))],
                                       ["none", "name"], 0.1, 7, tally)
    assert [(turns(row), row["task"], row["direction"]) for row in train] == [
        (["cat", "猫"], "chinese", "forward"), (["chinese\ncat", "猫"], "chinese", "forward"),
        (["猫", "cat"], "chinese, reverse", "reverse"),
        (["chinese, reverse\n猫", "cat"], "chinese, reverse", "reverse")]
    assert test == conflicts == [] and {row["seed"] for row in train} == {7}


# Conflicts

TWO_SENSES = words(("bat", "蝙蝠"), ("cat", "猫"), ("bat", "球棒"), ("feline", "猫"), ("cat", "猫"))


def test_the_same_input_with_different_outputs_is_dropped_and_named_in_its_direction_alone():
    tally = Tally()
    train, _, conflicts = make_rows([(to_template(CHINESE), TWO_SENSES)], ["none"], 0, 0, tally)
    assert list(map(turns, train)) == [
        ["cat", "猫"], ["feline", "猫"], ["蝙蝠", "bat"], ["球棒", "bat"]]
    assert conflicts == [
        {"task": "chinese", "input": "bat", "outputs": ["蝙蝠", "球棒"],
         "sources": ["pairs:1", "pairs:3"]},
        {"task": "chinese, reverse", "input": "猫", "outputs": ["cat", "feline"],
         "sources": ["pairs:2", "pairs:4"]}]
    assert tally.counts[READ] == 5 and tally.counts[REPEATED] == 1
    assert tally.counts[CONFLICT] == 4 and tally.counts[SEVERAL] == 0
    assert tally.first[REPEATED] == "pairs:5, as in pairs:2"
    assert tally.first[CONFLICT] == "pairs:1 '蝙蝠', pairs:3 '球棒', task chinese"


def test_several_right_answers_are_kept_and_known_to_the_test():
    template = CHINESE | {"several_answers": True}
    rows = made(template, TWO_SENSES, "none", split="test")
    assert [(turns(row), row.get("also")) for row in rows[:3]] == [
        (["bat", "蝙蝠"], ["球棒"]), (["cat", "猫"], None), (["bat", "球棒"], ["蝙蝠"])]
    assert not any("also" in row for row in made(template, TWO_SENSES, "none"))
    tally = Tally()
    train, _, conflicts = make_rows([(to_template(template), TWO_SENSES)], ["none"], 0, 0, tally)
    assert sum(row["direction"] == "forward" for row in train) == 4
    assert tally.counts[SEVERAL] == 2 and [row["input"] for row in conflicts] == ["猫"]


def test_other_right_answers_are_no_wrong_choices():
    template = MOOD | {"output_space": ["good", "bad", "calm"], "several_answers": True}
    pairs = to_pairs({"text": "a", "mood": "good"}, {"text": "a", "mood": "calm"},
                     {"text": "b", "mood": "bad"})
    assert [row["choices"] for row in made(template, pairs)] == [
        ["good", "bad"], ["bad", "calm"], ["good", "bad", "calm"]]


# The split


def test_a_tenth_is_held_out_or_what_command_or_template_says_and_one_pair_at_least():
    pairs = words(*((f"w{i}", f"字{i}") for i in range(40)))
    for share, own, expected in [(0.1, None, 4), (0.25, None, 10), (0, None, 0), (0.1, 0.5, 20),
                                 (0.1, 0, 0), (0.001, None, 1), (0.999, None, 39)]:
        template = to_template(CHINESE if own is None else CHINESE | {"test_share": own})
        train, test, _ = make_rows([(template, pairs)], ["none"], share, 0, Tally())
        assert (len(train), len(test)) == (80 - 2 * expected, 2 * expected)
        assert {row["split"] for row in train} == {"train"}
        assert {row["split"] for row in test} <= {"test"}


def test_the_split_and_the_wordings_depend_on_the_seed_and_not_on_the_formats():
    pairs = words(*((f"w{i}", f"字{i}") for i in range(40)))

    def rows(formats, seed=0):
        train, test, _ = make_rows([(to_template(CHINESE), pairs)], formats, 0.2, seed, Tally())
        return [(row["source"], row["split"], row["template"]) for row in train + test
                if row["format"] == formats[-1]]

    assert rows(["description"]) == rows(["none", "description"]) == rows(["name", "description"])
    assert [row[:2] for row in rows(["none"])] == [row[:2] for row in rows(["description"])]
    assert sorted(row[:2] for row in rows(["none"])) != sorted(
        row[:2] for row in rows(["none"], seed=1))
    numbers = [int(source.split(":")[1]) for source, _, _ in rows(["none"])[:32]]
    assert numbers == sorted(set(numbers))


def test_what_an_earlier_task_has_put_on_a_side_stays_there():
    pairs = words(*((f"w{i}", f"字{i}") for i in range(40)))
    more = words(*((f"new{i}", f"新{i}") for i in range(20)), name="more")
    greedy = to_template(CHINESE | {"name": "greedy", "test_share": 0.5})
    _, test, _ = make_rows([(to_template(CHINESE), pairs), (greedy, pairs + more)], ["none"], 0.1,
                           0, Tally())
    found = Counter((row["task"], row["source"].split(":")[0]) for row in test
                    if row["direction"] == "forward")
    assert found == {("chinese", "pairs"): 4, ("greedy", "pairs"): 4, ("greedy", "more"): 20}


def test_a_test_row_that_asks_what_training_asks_is_left_out():
    template = MOOD | {"reverse": {"descriptions": ["Write a text of this mood."], "input": "mood",
                                   "output": "text", "several_answers": True}}
    pairs = to_pairs(*({"text": f"text {i}", "mood": "good"} for i in range(10)))
    tally = Tally()
    train, test, _ = make_rows([(to_template(template), pairs)], ["none"], 0.2, 0, tally)
    assert Counter(row["task"] for row in train) == {"mood": 8, "mood, reverse": 8}
    assert Counter(row["task"] for row in test) == {"mood": 2} and tally.counts[ASKED] == 2


TEXTS = st.sampled_from(["a", "A", " a", "b", "c", "d", "e f", "e  F"])
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12)


@given(PAIRS, PAIRS, st.booleans(), st.booleans(), st.sampled_from([None, 0, 0.5]),
       st.sampled_from([0, 0.1, 0.4, 0.9]), st.integers(0, 3))
def test_no_pair_stands_on_both_sides_in_whatever_direction_task_or_spelling(
        one, two, several, both_files, own_share, share, seed):
    reverse = CHINESE["reverse"] | {"several_answers": not several}
    first = to_template(CHINESE | {"several_answers": several, "reverse": reverse,
                                   "test_share": own_share})
    second = to_template({"name": "other", "descriptions": ["Do it."], "input": "Text: {zh}",
                          "output": "en", "several_answers": True})
    one, two = words(*one), words(*two, name="more")
    collection = [(first, one), (second, one + two if both_files else two)]
    tally = Tally()
    train, test, conflicts = make_rows(collection, ["none"], share, seed, tally)

    of = {pair.source: pair.fields for pair in one + two}

    def values(row):
        return frozenset(map(normalised, of[row["source"]].values()))

    def asked(row):
        return row["task"], normalised(turns(row)[0])

    def inputs(rows):
        """What the pairs of rows ask in the forward direction."""
        return {normalised(of[row["source"]]["zh" if row["task"] == "other" else "en"])
                for row in rows}

    assert not set(map(values, train)) & set(map(values, test))
    assert not set(map(asked, train)) & set(map(asked, test))
    assert not inputs(train) & inputs(test)
    assert not {row["source"] for row in train} & {row["source"] for row in test}

    # Nothing is lost: each different question and answer is written, in conflict, or left out.
    expected = {(task.label, task.asked(pair), task.answer(pair))
                for template, pairs in collection for task in template.tasks for pair in pairs}
    assert {(row["task"], *turns(row)) for row in train + test} <= expected
    assert len(train) + len(test) + tally.counts[CONFLICT] + tally.counts[ASKED] == len(expected)
    assert sum(len(row["outputs"]) for row in conflicts) == tally.counts[CONFLICT]
    outputs = defaultdict(set)
    for label, question, answer in expected:
        outputs[label, question].add(answer)
    answers = {"chinese": several, "chinese, reverse": not several, "other": True}
    assert tally.counts[CONFLICT] == sum(len(found) for (label, _), found in outputs.items()
                                         if len(found) > 1 and not answers[label])


# Files and the command


def written(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROWS = [{"en": "cat", "zh": "猫"}, {"en": "seven, or so", "zh": "七"}, {"en": "a\nb", "zh": "甲"}]


def table(delimiter):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["zh", "en"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize("name, content", [
    ("pairs.csv", table(",")), ("pairs.tsv", table("\t")), ("pairs.jsonl", JSON_LINES),
    ("pairs.json", json.dumps(ROWS, indent=1).encode()),
    ("pairs.json", json.dumps({"data": ROWS}).encode()),
    ("pairs.csv.gz", gzip.compress(table(","))), ("pairs.jsonl.gz", gzip.compress(JSON_LINES)),
])
def test_pairs_come_in_every_format_of_file_that_training_reads(tmp_path, name, content):
    path, out = tmp_path / name, tmp_path / "out.jsonl"
    path.write_bytes(content)
    template = written(tmp_path / "chinese.json", CHINESE)
    build.main(["tasks", str(path), "--templates", template, "--formats", "none", "--test-share",
                "0", "--out", str(out)])
    rows = lines_of(out)
    assert sorted(turns(row) for row in rows if row["direction"] == "forward") == sorted(
        list(row.values()) for row in ROWS)
    assert all(row["source"].startswith(f"{path}:") for row in rows)
    assert (tmp_path / "out.test.jsonl").read_bytes() == b""


def test_numbers_are_text(tmp_path):
    source = written(tmp_path / "sums.jsonl", '{"a": 3, "b": 0.5, "sum": 3.5}\n')
    template = written(tmp_path / "sum.json", {
        "name": "sum", "descriptions": ["Add up."], "input": "{a} + {b}", "output": "sum"})
    build.main(["tasks", source, "--templates", template, "--out", str(tmp_path / "out.jsonl")])
    assert turns(lines_of(tmp_path / "out.jsonl")[0]) == ["Add up.\n3 + 0.5", "3.5"]


def test_the_command_builds_several_tasks_that_training_and_evaluation_read(tmp_path, capsys):
    source = written(tmp_path / "words.csv",
                     "en,zh\n" + "".join(f"w{i},字{i}\n" for i in range(10)))
    written(tmp_path / "more" / "moods.tsv", "text\tmood\nFine.\tgood\nBad.\tbad\nFine.\tbad\n"
            + "".join(f"text {i}\tgood\n" for i in range(7)))
    chinese = written(tmp_path / "chinese.json", CHINESE)
    mood = written(tmp_path / "more" / "mood.json", MOOD | {"pairs": "moods.tsv"})
    out = tmp_path / "out.jsonl"
    command = ["tasks", source, "--templates", chinese, "--templates", mood, "--formats",
               "description", "space", "--test-share", "0.2", "--seed", "3", "--out", str(out)]
    build.main(command)

    train, test = lines_of(out), lines_of(tmp_path / "out.test.jsonl")
    summary = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    for rows, split in ((train, "train"), (test, "test")):
        assert {(row["split"], row["seed"]) for row in rows} == {(split, 3)}
        for label, number in Counter(row["task"] for row in rows).items():
            assert summary["counts"][f"{split} rows: {label}"] == number
    counts = summary["counts"]
    assert counts[READ] == 20 and counts[CONFLICT] == 2 and counts["test rows: chinese"] == 4
    assert counts[NO_SPACE] == 20 and counts[REPEATED] == counts[SEVERAL] == counts[ASKED] == 0
    assert f"{20:>12,}  {READ} (the first: {source}:2)" in printed
    assert [row["outputs"] for row in lines_of(tmp_path / "out.conflicts.jsonl")] == [
        ["good", "bad"]]

    records, bad = read_records([out, tmp_path / "out.test.jsonl"])
    assert len(records) == len(train) + len(test) and not bad
    for record, row in zip(records, train + test):
        assert sum(render_record(record, TOKENIZER).loss_mask) > 0
        assert (record.task, record.split) == (row["task"], row["split"])
        assert record.choices == (("good", "bad") if record.task == "mood" else ())

    files = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    build.main(command)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == files


@pytest.mark.parametrize("content, template, found", [
    ("text,mood\na,good\n", OPPOSITE, "2: there is no field 'word', which the template shows; the "
                                      "row has text, mood"),
    ("text,mood\na,good\n,bad\n", MOOD, "3: the field 'text' is empty"),
    ("text,mood\na, \n", MOOD, "2: the field 'mood' is empty"),
    ("text,mood\na,good\nb,Good\n", MOOD,
     r"3: the output 'Good' \(field mood\) is not in the output_space of mood: good, bad"),
    ("text,mood\na,good,more\n", MOOD, "2: the row has more cells than the header"),
    ('{"text": ["a"], "mood": "good"}', MOOD, "1: the field 'text' is a list, expected text"),
    ('{"text": true, "mood": "good"}', MOOD, "1: the field 'text' is true or false"),
    ('["a", "good"]', MOOD, "1: the row is text, expected an object with the fields text, mood"),
    ('{"text": "a", "mood": "good"}\nnonsense', MOOD, "2: not JSON"),
    ('{"text": "\\ud800", "mood": "good"}', MOOD, "1: the user content has a lone surrogate"),
])
def test_a_row_that_does_not_fit_is_named_by_file_line_and_field(tmp_path, content, template,
                                                                 found):
    name = "pairs.csv" if content.startswith("text") else "pairs.jsonl"
    source, template = written(tmp_path / name, content), written(tmp_path / "t.json", template)
    with pytest.raises(SystemExit, match=f"{name}:{found}"):
        build.main(["tasks", source, "--templates", template, "--out", str(tmp_path / "o.jsonl")])
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize("change, found", [
    ({"title": "x"}, "unknown key 'title', expected name, descriptions, input, output, and"),
    ({"name": None}, "name is null, expected text"), ({"name": " "}, "name is empty"),
    ({"descriptions": []}, "descriptions is empty, expected a list of texts"),
    ({"descriptions": "Do it."}, "descriptions is text, expected a list of texts"),
    ({"descriptions": ["Do it.", 5]}, "number 2 of descriptions is a number, expected text"),
    ({"descriptions": ["Do.", "Go.", "Do. "]}, "descriptions 1 and 3 are the same, 'Do. '"),
    ({"descriptions": ["Do.", "{text}?"]}, "description 2 has the slot {text}; a description can "
                                           "show the input as a whole, as {input}"),
    ({"input": "{{text}}"}, "input never shows the input"), ({"input": ""}, "input is empty"),
    ({"output_space": {"good": 1}}, "output_space is an object, expected a list of texts"),
    ({"output_space": ["good", "good"]}, "output_space 1 and 2 are the same"),
    ({"several_answers": "yes"}, "several_answers is text, expected true or false"),
    ({"test_share": 1}, "test_share must be a number from 0 to less than 1, got 1"),
    ({"test_share": True}, "test_share must be a number"),
    ({"reverse": []}, "reverse: found a list, expected an object with descriptions, input, output"),
    ({"reverse": {"input": "mood"}}, "reverse: descriptions is missing"),
    ({"reverse": {"descriptions": ["Do."], "input": "a", "output": "b", "name": "x"}},
     "reverse: unknown key 'name'"),
    ({"pairs": 3}, "pairs is a number, expected a list of texts"),
])
def test_a_template_that_does_not_fit_is_refused_with_what_was_expected(change, found):
    with pytest.raises(ValueError) as error:
        to_template(MOOD | change)
    assert found in str(error.value)


@pytest.mark.parametrize("content, found", [
    ('{"name": "a",\n "descriptions" ["b"]}', ":2: not JSON: Expecting ':' delimiter at column 17"),
    ("[]", ": found a list, expected an object with name"),
    ('{"name": "a", "name": "b"}', ": 'name' stands twice in an object; leave one out"),
    ('{"name": "a"}', ": descriptions is missing"),
])
def test_a_template_file_that_cannot_be_read_is_named(tmp_path, content, found):
    template = written(tmp_path / "t.json", content)
    source = written(tmp_path / "p.csv", "a,b\n1,2\n")
    with pytest.raises(SystemExit) as end:
        build.main(["tasks", source, "--templates", template, "--out", str(tmp_path / "o.jsonl")])
    assert f"{template}{found}" in end.value.code


def test_pairs_that_nobody_uses_or_that_are_missing_and_names_given_twice_are_refused(tmp_path):
    source = written(tmp_path / "moods.csv", "text,mood\na,good\nb,bad\n")
    mood = written(tmp_path / "mood.json", MOOD)
    own = written(tmp_path / "own.json", MOOD | {"pairs": ["moods.csv"]})
    out = ["--out", str(tmp_path / "out.jsonl")]
    for given_, found in [([source, "--templates", own], "moods.csv would not be used"),
                          (["--templates", own, mood], "mood.json: the task has no pairs"),
                          ([source, "--templates", own, mood], "two templates have the name"),
                          ([source, "--templates", mood, "--formats", "shuffled"], "another task")]:
        with pytest.raises(SystemExit, match=found):
            build.main(["tasks", *given_, *out])
    build.main(["tasks", "--templates", own, *out])
    assert len(lines_of(tmp_path / "out.jsonl")) == len(lines_of(tmp_path / "out.test.jsonl")) == 1


@pytest.mark.parametrize("flags, found", [
    ([], "name at least one file with --templates"),
    (["--templates", "t.json", "--formats", "none", "none"], "--formats names one twice"),
    (["--templates", "t.json", "--test-share", "1"], "--test-share must be a number from 0"),
    (["--templates", "t.json", "--formats", "title"], "invalid choice: 'title'"),
])
def test_wrong_flags_are_answered(capsys, flags, found):
    with pytest.raises(SystemExit):
        build.main(["tasks", "pairs.csv", *flags])
    assert found in " ".join(capsys.readouterr().err.split())


def test_every_format_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        build.main(["tasks", "--help"])
    shown = capsys.readouterr().out
    assert all(format in shown for format in FORMATS) and "PAIRS" in shown.upper()
