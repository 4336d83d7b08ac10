"""What makes a teacher of the town: tasks evolved with their answers known, and the rows drawn."""

import random

import pytest

from minisft.instruct.evol_instruct import BREADTH, OPERATIONS, ask_shortly
from minisft.instruct.prompts import LONGEST_SHOWN, SHORT_FORM, parse
from minisft.instruct.self_instruct import SEED_TASKS, TEMPERATURE, TOP_P, SelfInstruct, read_seeds
from minisft.instruct.teacher import of_model
from minisft.shipped import TEACHER
from minisft.world import __main__ as world_command
from minisft.world import teaching
from minisft.world.corpus import Asked, is_long, judge_row, read_rows, scope_of, worded
from minisft.world.evolving import CHANGES, TASKS, evolved, work
from minisft.world.facts import NEW_ATTRIBUTES
from minisft.world.oracle import SKILLS, is_right, judge
from minisft.world.steps import NEW_PAIRS, PHRASES

SCOPE = scope_of("train")
TEXTS = [name for name, skill in SKILLS.items() if not skill.asks_knowledge]
SEED_TEXTS = {task.instruction[:LONGEST_SHOWN] for task in read_seeds(SEED_TASKS)}


def said(row):
    return [message["content"] for message in row["messages"]]


@pytest.fixture(scope="module")
def rows():
    return few(Asked())


def few(asked, seed=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "LISTS", 40)
        patch.setattr(teaching, "FAMILIES", 40)
        return teaching.teaching(seed, asked)


# Evolving


@pytest.mark.parametrize("operation, task, name, expected", [
    ("add constraints", ("reverse", {"words": "red, owl, saw"}), "compose",
     {"leave out the first, then turn them around"}),
    ("more reasoning", ("reverse", {"words": "red, owl, saw"}), "compose",
     {"turn them around, then leave out the first", "turn them around, then leave out the last",
      "turn them around, then say the last", "turn them around, then count them"}),
])
def test_operations_on_a_list_of_words_worked_by_hand(operation, task, name, expected):
    found = [evolved(random.Random(i), operation, task, SCOPE) for i in range(100)]
    assert {each[1]["steps"] for each in found if each} == expected  # all but the NEW_PAIRS
    assert {each[0] for each in found if each} == {name}


def test_a_question_about_a_person_goes_through_one_more_person():
    told = "Mia has a dog as pet. The job of Mia is a nurse."
    task = "reading", {"passage": told, "question": "What is Mia's pet?"}
    name, slots = evolved(random.Random(1), "deepen", task, SCOPE)
    assert name == "two_hop" and slots["question"].startswith("What is the pet of the ")
    assert SKILLS[name].answer(slots).endswith("is Mia. The pet of Mia is a dog.")
    name, slots = evolved(random.Random(1), "deepen", (name, slots), SCOPE)
    assert slots["question"].count(" of the ") == 2
    assert SKILLS[name].answer(slots).endswith("is Mia. The pet of Mia is a dog.")


def test_the_first_change_of_a_running_sum_is_the_sum_it_comes_from():
    for sum, start in (({"a": "3", "b": "4"}, "3, then plus 4, "),
                       ({"total": "9", "b": "4"}, "9, then minus 4, ")):
        name, slots = evolved(random.Random(0), "more reasoning", ("arithmetic", sum), SCOPE)
        assert name == "running_sum"
        assert f"{slots['start']}, then {slots['changes']}".startswith(start)


def test_a_call_is_added_where_the_calls_end():
    task = "chain", {"calls": "Tom calls Leo. Mia calls Tom. Ben calls Eva.", "name": "Mia"}
    name, slots = evolved(random.Random(0), "more reasoning", task, SCOPE)
    answer = SKILLS[name].answer(slots)
    assert answer.startswith("Mia calls Tom. Tom calls Leo. Leo calls ")
    assert answer.count(" calls ") == 3


def test_an_operation_that_does_not_fit_gives_nothing():
    task = "opposite", {"word": "hot"}
    assert [name for name in OPERATIONS if evolved(random.Random(0), name, task, SCOPE)] == [
        BREADTH]


@pytest.mark.parametrize("operation, task, slot, mark, number", [
    ("complicate the input", ("reverse", {"words": "red, owl, saw"}), "words", ",", 6),
    ("complicate the input", ("ask", {"passage": "Mia's pet is a dog."}), "passage", ".", 5),
    ("more reasoning", ("running_sum", {"start": "3", "changes": "plus 4"}), "changes", ",", 4),
    ("more reasoning", ("chain", {"calls": "Mia calls Tom.", "name": "Mia"}), "calls", ".", 5)])
def test_a_task_grows_to_a_limit(operation, task, slot, mark, number):
    rng = random.Random(0)
    while new := evolved(rng, operation, task, SCOPE):
        task = new
    assert task[1][slot].count(mark) == number


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_evolved_can_be_read_answered_and_is_harder(operation):
    rng, number = random.Random(operation), 0
    for _ in range(150):
        name = rng.choice(TASKS)
        task = name, SKILLS[name].draw(rng, SCOPE)
        new = evolved(rng, operation, task, SCOPE)
        if not new:
            continue
        before, after = (judge([worded(rng, *each, "plain")]) for each in (task, new))
        assert after.skill == new[0] and after.answers[0] == SKILLS[new[0]].answer(new[1])
        assert after.meaning != before.meaning
        if operation == BREADTH:
            assert after.skill != before.skill
        elif operation == "concretise":
            assert work(after) == work(before)
        else:
            assert work(after) > work(before)
        number += 1
    assert number > 10


def test_work_counts_what_is_given_and_what_is_to_be_said():
    def of(text):
        return work(judge([text]))

    assert of("What is the opposite of hot?") == of("Say dog in Chinese.") == 1
    assert of("Hello, I am Mia.") == 2
    assert of("Give the first word: red, owl, saw") == 3 + 1
    assert of("Mia keeps a dog. Mia's job is a nurse.\nWhat does Mia keep at home?") == 2 + 1
    assert of("With these words, turn them around, then say the last: red, owl, saw") == 3 + 2
    assert of("Mia calls Tom. Tom calls Leo.\nFollow the calls from Mia.") == 2 + 3


# Rows


def test_lists_continue_with_easy_tasks_of_other_kinds_than_their_examples(rows):
    lists = [said(row) for row in rows if row["task"] == "new_tasks"]
    assert len(lists) > 30
    for question, answer in lists:
        shown, new = parse(question.rpartition("\n")[0]), parse(answer)
        assert len(shown) == 4 and answer.startswith("5. ") and "\n\n" not in answer
        kinds = [judge([text]).skill for text in new]
        assert len(new) == len(answer.splitlines()) <= 5
        assert len(set(kinds)) == len(kinds) == len(answer.splitlines())
        assert set(kinds) <= set(teaching.KINDS)
        drawn = [judge([text]) for text in shown
                 if text not in SEED_TEXTS and len(text) < LONGEST_SHOWN - 1]  # not cut
        assert not set(kinds) & {each.skill for each in drawn}
        assert all(len(text) <= teaching.LONGEST_ENTRY for text in new)


def test_the_teacher_writes_each_form_of_a_task_in_at_most_six_wordings_on_one_line():
    rng = random.Random(0)
    for name in TASKS:
        texts = teaching.wordings_to_write(name, frozenset(SKILLS[name].draw(rng, SCOPE)))
        assert 1 < len(texts) == len(set(texts)) <= 6
        assert not any("\n" in wording.text for wording in texts)


def test_half_of_the_examples_are_seed_tasks(rows):
    shown = [text for row in rows if row["task"] == "new_tasks"
             for text in parse(said(row)[0].rpartition("\n")[0])]
    assert 0.35 < sum(text in SEED_TEXTS for text in shown) / len(shown) < 0.65


def test_evolved_tasks_follow_from_their_question_and_are_answered(rows):
    questions = [said(row) for row in rows if row["task"] == "evolve"]
    answered = dict(said(row) for row in rows if row["task"] == "evolved")
    repeated = 0
    for question, answer in questions:
        operation = next(name for name in OPERATIONS if f"({name}): " in question)
        before = question.removeprefix(ask_shortly(operation, ""))
        if answer == before:
            repeated += 1
        else:
            assert answered[answer] and judge([answer]).meaning != judge([before]).meaning
    assert 0.1 < repeated / len(questions) < 0.6
    assert all(is_right([text], answer) for text, answer in answered.items())


def test_nothing_that_a_test_asks_is_taught(rows):
    texts = " ".join(" ".join(said(row)) for row in rows)
    assert not any(f" {noun} of" in texts or f"'s {noun}" in texts for noun in NEW_ATTRIBUTES)
    pairs = [f"{PHRASES[a]}, then {PHRASES[b]}" for a, b in NEW_PAIRS]
    assert not any(pair in texts for pair in pairs)
    assert not any(is_long(row) for row in rows)

    asked = [row for row in rows if row["task"] == "evolved"][:20]
    again = few(Asked.by(asked))
    forbidden = {said(row)[0] for row in asked}
    assert forbidden <= set(texts_in(rows)) and not forbidden & set(texts_in(again))
    meanings = Asked.by([row for row in asked if judge_row(row).skill in TEXTS]).meanings
    again = few(Asked(meanings=meanings))  # in other words, too
    assert meanings and not meanings & {judge_row(row).meaning for row in again
                                        if row["task"] == "evolved"}


def test_only_knowledge_may_be_taught_in_other_words_than_a_test_asks():
    for task, is_free in ((("opposite", {"word": "hot"}), True),
                          (("reverse", {"words": "red, owl, saw"}), False)):
        plain, other = (worded(random.Random(0), *task, style) for style in ("plain", "tuned"))
        asked = Asked.by([{"messages": [{"role": "user", "content": plain}]}])
        assert plain != other and not teaching.is_free(task, plain, asked)
        assert teaching.is_free(task, other, asked) == is_free
        assert teaching.is_free(task, plain, Asked())


def texts_in(rows):
    for row in rows:
        yield from said(row)
        yield from parse(said(row)[1])


def test_the_same_seed_gives_the_same_rows_and_another_one_others(rows):
    assert few(Asked()) == rows != few(Asked(), seed=1)


def test_the_command_writes_the_rows_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(teaching, "LISTS", 2)
    monkeypatch.setattr(teaching, "FAMILIES", 2)
    monkeypatch.setattr(world_command, "TEST_FILES", ())
    path = tmp_path / "teacher.jsonl"
    world_command.main(["--teacher", str(path)])
    assert list(tmp_path.iterdir()) == [path] and read_rows(path)
    assert f"{len(read_rows(path)):,} rows are in {path}" in capsys.readouterr().out
    for flags, message in ((["--size", "small"], "leave the other flags out"),
                           (["--out", "x"], "leave the other flags out"),
                           (["--vocab-size", "500"], "leave the other flags out"),
                           ([], "is there already; name another file")):
        with pytest.raises(SystemExit):
            world_command.main(["--teacher", str(path), *flags])
        assert message in capsys.readouterr().err


def test_every_change_is_of_a_task_that_can_be_drawn():
    assert set(CHANGES) == set(OPERATIONS) - {BREADTH}
    assert {name for changes in CHANGES.values() for name in changes} <= set(TASKS)


def test_most_tasks_that_the_shipped_teacher_writes_are_valid():
    teacher = of_model(TEACHER, TEMPERATURE, top_p=TOP_P)
    found = SelfInstruct(teacher, read_seeds(SEED_TASKS), prompts=SHORT_FORM)
    found.run(60)
    valid = [is_right([question], answer) for question, answer in map(said, found.rows)]
    assert sum(valid) >= 42  # some points below the 80% of a thousand
