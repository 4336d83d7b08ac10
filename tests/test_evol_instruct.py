"""Evol-Instruct: each rule at its boundary, lineage by hand, and a command that may be killed."""

import json
import os
import random
import re
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256

import pytest
import torch

from minisft import build
from minisft.checkpoint import save_model
from minisft.generate import NoRoom
from minisft.instruct import evol_instruct
from minisft.instruct.evol_instruct import (
    COMPARE,
    DRAWN,
    ELSEWHERE,
    EMPTY,
    EQUAL,
    IN_BREADTH,
    IN_DEPTH,
    LEAK,
    LEAKED,
    NO_ROOM,
    NOT_ONE,
    OPERATIONS,
    REFUSAL,
    REPEATED,
    RULES,
    SAME_WORDS,
    SHORT_FORM,
    STOP_WORDS,
    UNCLEAR,
    EvolConfig,
    Prompts,
    attempt,
    copies_prompt,
    evolve,
    has_same_words,
    is_empty,
    is_refusal,
    read_roots,
    says_equal,
)
from minisft.instruct.tally import Tally
from minisft.instruct.teacher import KeptTeacher, scripted
from minisft.model import GPT, GPTConfig
from minisft.records import read_records
from minisft.tokenizer import Tokenizer

SHORT_PROMPTS = Prompts(evolve=lambda operation, text: f"{operation}: {text}",
                        compare=lambda text, evolved: f"{text} = {evolved}?")


def root(number, question):
    return {"id": str(number), "parent": None, "round": 0, "source": f"rows:{number}",
            "messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": "It is so."}]}


def question_of(row):
    return row["messages"][0]["content"]


# The rules


@pytest.mark.parametrize("words, is_short", [(79, True), (80, False)])
def test_sorry_counts_in_an_answer_of_up_to_79_words(words, is_short):
    answer = " ".join(["Sorry,", *["word"] * (words - 1)])
    assert is_refusal(answer) == is_short
    assert not is_refusal(answer.replace("Sorry,", "Glad"))


@pytest.mark.parametrize("answer", ["", " \n", "...", "?!", "the", "It is.", "This, that - and of",
                                    "的", "在 的。", "- - -", "😀"])
def test_an_answer_of_punctuation_and_stop_words_is_empty(answer):
    assert is_empty(answer)


@pytest.mark.parametrize("answer", ["No.", "Not.", "A", "b)", "I", "7", "The cat", "红", "的红",
                                    "Пять", "of9"])
def test_an_answer_with_one_other_word_or_digit_is_not_empty(answer):
    assert not is_empty(answer)


def test_words_that_can_be_a_whole_right_answer_are_no_stop_words():
    assert not STOP_WORDS & {"yes", "no", "not", "none", "all", "true", "false",
                             *"abcdefghijklmnopqrstuvwxyz"}


@pytest.mark.parametrize("evolved, copies", [
    ("Sum it as in the given prompt.", True), ("REWRITTEN PROMPT: sum it twice", True),
    ("#Rewritten instruction#\nSum it", True), ("#New#", True), ("#New one#", True),
    ("Sum #1 and #2 and #3.", False), ("# Sum\n## of all #", False), ("#", False), ("##", False),
    ("The prompt was given.", False), ("given  prompt", False), ("forgiven prompt", False),
])
def test_words_of_the_prompt_are_found(evolved, copies):
    assert copies_prompt("Sum it.", evolved) == copies


def test_words_of_the_prompt_that_the_instruction_had_before_are_no_leak():
    assert not copies_prompt("Improve the given prompt.", "Improve the Given Prompt in 9 words.")
    assert copies_prompt("Improve the given prompt.", "The given prompt: improve the given prompt.")
    assert copies_prompt("Improve the given prompt.", "Improve the rewritten prompt.")


def test_the_headings_of_all_prompts_are_among_the_words_that_are_found():
    headings = [line for form in (IN_DEPTH, IN_BREADTH, COMPARE) for line in form.splitlines()
                if line.startswith("#")]
    assert len(headings) == 6 and all(LEAKED.fullmatch(heading) for heading in headings)


@pytest.mark.parametrize("evolved, is_same", [
    ("Add 3 and 4.", True), ("  add 3 AND 4!\n", True), ("", True), (" \n", True),
    ("Add 3 and 5.", False), ("Add 3 and 4 twice.", False), ("Add 4 and 3.", False),
])
def test_an_instruction_of_the_same_words_gains_nothing(evolved, is_same):
    assert has_same_words("Add 3 and 4.", evolved) == is_same


@pytest.mark.parametrize("verdict, equal", [
    ("Equal", True), ("**equal**.", True), (" Equal, as both ask it", True),
    ("Not equal", False), ("not Equal.", False), ("", None), ("They are equal", None),
    ("Equality", None), ("Unequal", None),
])
def test_a_verdict_is_what_it_begins_with(verdict, equal):
    assert says_equal(verdict) is equal


@pytest.mark.parametrize("answers, reason", [
    (["Q!"], SAME_WORDS), (["#Created#: Q and R"], LEAK), (["Q and R", "Equal"], EQUAL),
    (["Q and R", "Not equal", "Sorry."], REFUSAL), (["Q and R", "Not equal", "..."], EMPTY),
    (["Q and R", "Not equal", " 7. "], None), (["Q and R", "who knows", "7."], None),
])
def test_the_teacher_is_asked_no_more_once_a_rule_has_spoken(answers, reason):
    left = list(answers)
    found = attempt("Q", "deepen", lambda prompt: left.pop(0), SHORT_PROMPTS)
    assert found.reason == reason and not left
    said = [found.instruction, found.verdict, found.answer]
    assert [text for text in said if text is not None] == [answers[0], *(
        text.strip() for text in answers[1:])]


def test_what_the_teacher_cannot_read_is_eliminated_and_what_was_said_is_kept():
    def teacher(prompt):
        if prompt == "Q and R":
            raise NoRoom("too long")
        return "Not equal" if prompt.endswith("?") else "Q and R"

    assert attempt("Q", "deepen", teacher, SHORT_PROMPTS) == ("Q and R", "Not equal", None, NO_ROOM)


def test_a_teacher_that_cannot_judge_is_not_asked_to():
    prompts = Prompts(compare=None)
    assert attempt("Q", "deepen", scripted(["Q and R", "7"]), prompts).reason is None


def test_the_short_form_names_the_operation_and_asks_for_no_verdict():
    asked = []

    def teacher(prompt):
        asked.append(prompt)
        return "Add 3 and 4, then 5." if len(asked) == 1 else "12"

    assert attempt("Add 3 and 4.", "more reasoning", teacher, SHORT_FORM).reason is None
    assert asked == ["Rewrite this task (more reasoning): Add 3 and 4.", "Add 3 and 4, then 5."]


# Evolving


def test_what_is_kept_takes_the_place_of_its_parent_and_what_is_not_leaves_it():
    failing = iter([False, True, True, False])
    asked = []

    def teacher(prompt):
        asked.append(prompt)
        if prompt.endswith("?"):
            return "Not equal"
        if ": " not in prompt:
            return "An answer"
        text = prompt.split(": ")[1]
        return text if next(failing) else f"{text}+"

    steps = list(evolve([root(1, "Q")], teacher, random.Random(0), 4, SHORT_PROMPTS))
    assert [(step["id"], step["parent"], step["round"], step.get("reason")) for step in steps] == [
        ("1.1", "1", 1, None), ("1.2", "1.1", 2, SAME_WORDS), ("1.3", "1.1", 3, SAME_WORDS),
        ("1.4", "1.1", 4, None)]
    operations = [step["operation"] for step in steps]
    assert asked == [f"{operations[0]}: Q", "Q = Q+?", "Q+", f"{operations[1]}: Q+",
                     f"{operations[2]}: Q+", f"{operations[3]}: Q+", "Q+ = Q++?", "Q++"]
    assert steps[3]["messages"] == [{"role": "user", "content": "Q++"},
                                    {"role": "assistant", "content": "An answer"}]
    assert all(step["source"] == "rows:1" for step in steps)


def drawn(seed, families=40, rounds=2):
    roots = [root(number, f"Q{number}") for number in range(1, families + 1)]
    prompts = Prompts(compare=None)
    teacher = scripted(lambda prompt: sha256(prompt.encode()).hexdigest())
    return [step["operation"] for step in evolve(roots, teacher, random.Random(seed), rounds,
                                                 prompts)]


def test_operations_are_drawn_by_the_seed_and_each_of_them_about_as_often():
    assert drawn(1) == drawn(1) != drawn(2)
    counts = Counter(drawn(3, families=600, rounds=1))
    assert counts.keys() == OPERATIONS.keys() and len(OPERATIONS) == 6
    assert all(65 < number < 135 for number in counts.values())  # 100 expected, 9 is one sigma


def test_an_operation_that_has_failed_is_drawn_again_only_after_all_others():
    steps = list(evolve([root(1, "Q")], scripted(lambda prompt: "Q"), random.Random(0), 7))
    assert len(steps) == 7 and {step["operation"] for step in steps[:6]} == OPERATIONS.keys()
    assert {step["parent"] for step in steps} == {"1"}


def test_a_prompt_holds_the_instruction_as_it_is_and_what_to_do():
    for name, how in OPERATIONS.items():
        prompt = evol_instruct.ask_to_evolve(name, "Sort {this}: {0} %s")
        assert "\nSort {this}: {0} %s\n" in prompt and how in prompt


# The command


class Fickle:
    """A teacher whose answers, good and bad, depend on the question; it is stopped by Ctrl-C.

    most: answers that it gives before that; asked: the questions that it has answered.
    """

    name = "fickle"

    def __init__(self, most=10**9):
        self.most, self.asked = most, []

    def __call__(self, prompt):
        if len(self.asked) == self.most:
            raise KeyboardInterrupt
        self.asked.append(prompt)
        draw = random.Random(prompt)
        if "#First instruction#" in prompt:
            return draw.choice(["Equal", "Not equal", "Not equal.", "Hm"])
        if "#Given instruction#" in prompt:
            text = re.search(r"#Given instruction#\n(.*)\n\n#", prompt, re.S)[1]
            return draw.choice([text.upper(), f"#Created instruction# {text}"]
                               + 6 * [f"{text} Then take {draw.randrange(10**6)}."])
        return draw.choice(["I am sorry.", "And so on ..."] + 4 * [f"It is {draw.random()}."])


ROWS = [{"instruction": f"Name thing {number} 红.", "output": f"Thing {number}."}
        for number in range(12)] + [
    {"instruction": "Name thing 3 红.", "output": "Another."},
    {"text": "A document."},
    {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "a"},
                  {"role": "assistant", "content": "b"}]},
]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command(teacher, name, *more flags): run the builder; returns {file: bytes} of its files.

    The figure is not drawn and nothing is forced to the disk, as that takes long.
    """
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    monkeypatch.setattr(evol_instruct, "figure", lambda roots, steps: b"a figure")
    monkeypatch.setattr(os, "fsync", lambda file: None)

    def run(teacher, name="out", *more):
        @contextmanager
        def chosen(*flags):
            with KeptTeacher(teacher, flags[-1]) as kept:
                yield kept

        monkeypatch.setattr(evol_instruct, "chosen", chosen)
        build.main(["evol-instruct", str(source), "--teacher", "fickle", "--rounds", "3",
                    "--out", str(tmp_path / f"{name}.jsonl"), *more])
        return files(name)

    def files(name):
        return {path.name.removeprefix(name): path.read_bytes()
                for path in tmp_path.glob(f"{name}.*") if path.is_file()}

    run.files, run.folder = files, tmp_path
    return run


def lines_of(content):
    return [json.loads(line) for line in content.decode().splitlines()]


def test_every_attempt_is_a_row_or_eliminated_with_its_reason_and_has_its_parent(command):
    teacher = Fickle()
    found = command(teacher)
    rows, gone = lines_of(found[".jsonl"]), lines_of(found[".eliminated.jsonl"])
    assert [row["id"] for row in rows[:12]] == [str(number) for number in range(1, 13)]
    assert len(rows) + len(gone) == 12 * (1 + 3)
    ids = {row["id"]: row for row in [*rows, *gone]}
    assert len(ids) == 48
    for row in [*rows[12:], *gone]:
        parent = ids[row["parent"]]
        assert "reason" not in parent and parent["round"] < row["round"]
        assert row["id"] == f"{parent['id'].split('.')[0]}.{row['round']}"
        assert (row["teacher"], row["seed"]) == ("fickle", 0) and row["operation"] in OPERATIONS
        asked = evol_instruct.ask_to_evolve(row["operation"], question_of(parent))
        assert asked in teacher.asked
    assert {row["reason"] for row in gone} == set(RULES) - {NO_ROOM}


def test_what_is_written_is_read_and_counts_are_those_of_the_files(command):
    found = command(Fickle())
    records, bad = read_records([command.folder / "out.jsonl"])
    rows, gone = lines_of(found[".jsonl"]), lines_of(found[".eliminated.jsonl"])
    assert len(records) == len(rows) and not bad
    assert all(record.item.messages[0].content == question_of(row)
               for record, row in zip(records, rows))

    counts = json.loads(found[".json"])["counts"]
    assert counts["rows read"] == 15 and counts[NOT_ONE] == 2 and counts[REPEATED] == 1
    for rule, number in Counter(row["reason"] for row in gone).items():
        assert counts[f"eliminated: {rule}"] == number
    for name, number in Counter(row["operation"] for row in rows[12:]).items():
        assert counts[f"kept: {name}"] == number
    assert counts[UNCLEAR] == sum(row.get("verdict") == "Hm" for row in [*rows, *gone]) > 0
    assert counts[ELSEWHERE] == 0


def test_only_one_question_with_one_answer_to_learn_is_evolved(tmp_path):
    asked, said = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    rows = [[asked, said], [asked, said, asked, said], [{"role": "system", "content": "x"}, asked,
            said], [asked, said | {"train": False}], [asked, said | {"content": "c"}]]
    source, tally = tmp_path / "rows.jsonl", Tally()
    source.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    assert [row["messages"] for row in read_roots([source], tally)] == [rows[0]]
    assert tally.counts == {"rows read": 5, NOT_ONE: 3, REPEATED: 1}


def test_a_tree_shows_each_instruction_below_its_parent(command):
    found = command(Fickle())
    text = found[".trees.txt"].decode()
    rows = {row["id"]: row for row in [*lines_of(found[".jsonl"]),
                                       *lines_of(found[".eliminated.jsonl"])]}
    families = text.split("\n\n")
    assert len(families) == 12
    shown, path = [], []
    for line in text.splitlines():
        if not line:
            continue
        depth = (len(line) - len(line.lstrip())) // 4
        id = line.strip().removeprefix("x ").split()[0]
        assert rows[id]["parent"] == (path[depth - 1] if depth else None)
        assert line.strip().startswith("x ") == ("reason" in rows[id])
        path = [*path[:depth], id]
        shown.append(id)
    assert sorted(shown) == sorted(rows)


def test_the_same_instruction_in_two_families_is_counted(command):
    class Same(Fickle):
        def __call__(self, prompt):
            is_task = "#Given instruction#" in prompt
            return "Name a thing." if is_task else "Not equal" if "#First" in prompt else "A thing"

    counts = json.loads(command(Same())[".json"])["counts"]
    kept = sum(number for reason, number in counts.items() if reason.startswith("kept: "))
    assert (kept, counts[ELSEWHERE], counts[f"eliminated: {SAME_WORDS}"]) == (12, 11, 24)


def test_killed_anywhere_and_given_again_it_ends_the_same_and_asks_nothing_twice(command):
    whole = Fickle()
    expected = command(whole)
    assert len(set(whole.asked)) == len(whole.asked) > 60
    for number, most in enumerate(random.Random(0).sample(range(len(whole.asked)), 20)):
        first, rest, name = Fickle(most), Fickle(), f"killed-{number}"
        with pytest.raises(SystemExit, match="stopped"):
            command(first, name)
        assert not command.files(name)
        found = command(rest, name)
        assert first.asked + rest.asked == whole.asked
        for file in (".jsonl", ".eliminated.jsonl", ".trees.txt"):
            assert found[file] == expected[file]


def test_a_torn_last_line_costs_one_answer_and_a_second_run_costs_none(command):
    whole = Fickle()
    expected = command(whole)
    with pytest.raises(SystemExit, match="stopped"):
        command(Fickle(30), "torn")
    answers = command.folder / "torn.answers" / "answers.jsonl"
    answers.write_bytes(answers.read_bytes()[:-9])
    rest, again = Fickle(), Fickle()
    assert command(rest, "torn")[".jsonl"] == expected[".jsonl"]
    assert rest.asked == whole.asked[29:]
    assert command(again, "torn")[".jsonl"] == expected[".jsonl"] and not again.asked


# With a model, and the figure


@pytest.fixture
def saved(tmp_path):
    """Path of a model with random weights and a context of 64 tokens of one byte."""
    torch.manual_seed(0)
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    save_model(tmp_path / "model.pt", GPT(GPTConfig(tokenizer.vocab_size, 64, 1, 2, 16)), tokenizer)
    return str(tmp_path / "model.pt")


def test_a_model_whose_context_is_too_short_ends_the_run_with_the_given_rows(
        saved, tmp_path, capsys):
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps(ROWS[0]), encoding="utf-8")
    build.main(["evol-instruct", str(source), "--teacher", saved, "--out", str(out)])
    assert len(lines_of(out.read_bytes())) == 1
    gone = lines_of((tmp_path / "out.eliminated.jsonl").read_bytes())
    assert [row["reason"] for row in gone] == [NO_ROOM] * 4
    assert gone[0]["teacher"].startswith(f"{saved} (weights ")
    assert (tmp_path / "out.trees.png").read_bytes().startswith(b"\x89PNG")
    assert f"4  eliminated: {NO_ROOM}" in capsys.readouterr().out


def test_the_command_asks_in_the_short_form_if_it_is_told_to(command):
    def teacher(prompt):
        assert "#" not in prompt  # as in the paper's form
        return "12" if not prompt.startswith("Rewrite this task (") else f"{len(prompt)} + 1?"

    teacher.name = "short"
    rows = lines_of(command(teacher, "out", "--prompts", "short")[".jsonl"])
    assert {row["operation"] for row in rows} > {None}


def test_the_figure_is_drawn_of_the_first_families(tmp_path):
    roots = [root(number, f"What costs $ {number}?") for number in range(1, DRAWN + 2)]
    steps = list(evolve(roots, Fickle(), random.Random(0), 2))
    assert evol_instruct.figure(roots, steps).startswith(b"\x89PNG")


@pytest.mark.parametrize("flags, found", [
    ({}, "neither is given"), ({"teacher": "a", "teacher_url": "b"}, "both are given"),
    ({"teacher": "a", "rounds": 0}, "--rounds must be at least 1, got 0"),
    ({"teacher": "a", "budget_tokens": 9}, "--budget-tokens is for a server"),
    ({"teacher": "a", "teacher_model": "m"}, "--teacher-model is for a server"),
    ({"teacher_url": "b", "budget_requests": 0}, "--budget-requests must be at least 1, got 0"),
    ({"teacher": "a", "files": ()}, "name at least one file"),
])
def test_wrong_flags_say_what_to_do(flags, found):
    with pytest.raises(ValueError, match=found):
        EvolConfig(**{"files": ("rows.jsonl",)} | flags)
