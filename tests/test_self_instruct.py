"""Self-Instruct with scripted teachers: each filter at its boundary, kills, parents, the seeds."""

import json
import random
import re
from collections import Counter
from contextlib import contextmanager
from itertools import combinations

import pytest

from minisft import build
from minisft.generate import NoRoom
from minisft.instruct import prompts, self_instruct
from minisft.instruct.filters import INSTANCES, INSTRUCTION, Candidate, Known, candidates, filters
from minisft.instruct.prompts import Instance, Prompts, Task, parse, parse_instances
from minisft.instruct.rouge import rouge_l, words_and_characters
from minisft.instruct.self_instruct import (
    DROPPED,
    GAVE_UP,
    KEPT,
    LEFT_OVER,
    LOOKED_AT,
    NO_INSTANCE,
    NO_TASK,
    OTHERWISE,
    PATIENCE,
    ROWS,
    SEED_TASKS,
    SHOWN_LEFT_OVER,
    SHOWN_NO_TASK,
    TEMPERATURE,
    TOP_P,
    UNCLEAR,
    SelfInstruct,
    SelfInstructConfig,
    draw,
    left_after,
    read_seeds,
)
from minisft.instruct.teacher import KeptTeacher
from minisft.records import read_records
from minisft.shipped import TEST_FILES
from minisft.world.oracle import is_right, judge

SEEDS = read_seeds(SEED_TASKS)
SHORT, LONG = "3 words or fewer", "more than 150 words"
IMAGES, PROGRAM, MARK = "about images, files or links", "asks for a program", "starts with a mark"
NON_ASCII, CUT = "starts with a letter that is not ASCII", "instruction cut off"
SIMILAR = "too similar (ROUGE-L above 0.7)"
NO_INPUT, SAME = "a label without an input", "output is the input"
EMPTY, COLON, OUTPUT_CUT = "output is empty", "output ends with a colon", "output cut off"
AGAIN, CONFLICT = "the same instance again", "different outputs for one input"


# Filters, by hand


def reason(text, before="", known=(), ascii_only=False):
    """Why the first filter that finds something drops an instruction, or None."""
    return found(text, before, known, ascii_only)[0]


def found(text, before="", known=(), ascii_only=False):
    for each in filters(Known(known), ascii_only):
        what = each.finds(Candidate(text, before)) if each.stage == INSTRUCTION else None
        if what is not None:
            return each.reason, what
    return None, None


def bad(*instances):
    """[reason or None for each instance (input, output)], each from the first filter that finds."""
    left = dict(enumerate(Instance(*each) for each in instances))
    reasons = [None] * len(left)
    for each in filters(Known()):
        places = list(left)
        for i in each.finds(list(left.values())) if each.stage == INSTANCES else ():
            reasons[places[i]] = each.reason
            del left[places[i]]
    return reasons


@pytest.mark.parametrize("text, expected", [
    ("Name a river", SHORT), ("Name a river.", SHORT), ("Name a long river.", None),
    ("Don't say well-known things.", None), ("写首诗。", SHORT), ("写一首诗", None),
    ("写 a b 。", SHORT), ("What is 2?", SHORT), ("", SHORT),
    ("word " * 150, None), ("word " * 151, LONG), ("字" * 150 + "。", None), ("字" * 151, LONG),
    ("Describe the image in detail.", IMAGES), ("Describe the imagery of a poem.", None),
    ("Open the FILES, then sort them.", IMAGES), ("Write a profile of a paragraph.", None),
    ("把图片里的东西说出来。", IMAGES), ("给这张map写一段说明。", IMAGES),
    ("我计划一次旅行，给我建议。", None),
    ("Write a program that adds numbers.", PROGRAM), ("write a program, please, now", PROGRAM),
    ("Write a programme for our party.", None), ("Explain how to write a program.", None),
    ("编写一个程序计算面积。", PROGRAM),
    ("\"Hello\" is what in French?", MARK), ("- Name a long river.", MARK),
    ("“你好”用英语怎么说？", MARK), ("3 plus 4 is what?", None), ("🙂 Cheer me up now.", MARK),
])
def test_each_filter_of_instructions_at_its_boundary(text, expected):
    assert reason(text.strip()) == expected


def test_what_does_not_start_with_ascii_is_dropped_only_where_it_is_asked_for():
    for text in ("把这句话翻译成英文。", "Éclairs are made of what?"):
        assert reason(text) is None and reason(text, ascii_only=True) == NON_ASCII
    assert reason("Say 你好 in English.", ascii_only=True) is None


def test_only_the_last_instruction_can_be_cut_off_and_only_after_one_with_an_end_mark():
    def cut(*texts):
        return [reason(*candidate) for candidate in candidates(texts)]

    whole, open_end = "Name a long river.", "Explain to me why the"
    assert cut(whole, open_end) == [None, CUT]
    assert cut(open_end, whole) == cut(whole, whole) == cut(open_end, open_end) == [None, None]
    assert cut(open_end) == [None] and cut(whole, open_end, whole) == [None] * 3
    assert cut("写一首关于春天的诗。", "把这句话翻译成") == [None, CUT]


def test_an_instruction_with_rouge_l_of_exactly_seven_tenths_is_new_and_above_it_is_not():
    kept = "a b c d e f g h i j"
    assert rouge_l("a b c d e f g x y z", kept)[2] == 0.7
    assert reason("a b c d e f g x y z", known=["one two three four", kept]) is None
    assert found("a b c d e f g h y z", known=["one two three four", kept]) == (
        SIMILAR, {"rouge_l": 0.8, "instruction": kept})


def test_chinese_instructions_and_those_without_a_token_are_compared_too():
    kept = "请把这句话翻译成英文。"
    assert reason("请把这段话翻译成英文。", known=[kept]) == SIMILAR
    assert reason("请写一首关于月亮的诗。", known=[kept]) is None
    greek = "Πες μου μια ιστορία"
    assert reason(greek, known=[greek]) == SIMILAR
    assert reason(greek + " τώρα", known=[greek]) is None


def test_of_several_faults_the_first_in_the_table_is_named():
    assert reason("- Draw") == SHORT
    assert reason("- Draw a map of it") == IMAGES
    assert reason("- Say it in Chinese", known=["- Say it in Chinese"]) == MARK


SENTENCE = "This is one sentence of an answer that goes on for a while. "


@pytest.mark.parametrize("instances, expected", [
    ([("hot", "cold"), ("up", "down"), ("", "both")], [None] * 3),
    ([("hot", "hot"), ("up", " up "), ("Up", "up"), ("", "x")], [SAME, SAME, None, None]),
    ([("hot", ""), ("up", " \n"), ("", ""), ("a", "。")], [EMPTY, EMPTY, EMPTY, None]),
    ([("hot", "Here it is:"), ("up", "结果：\n"), ("a", "a: b"), ("b", ":)")],
     [COLON, COLON, None, None]),
    ([("hot", SENTENCE * 4 + "And then the"), ("up", "And then the"), ("a", "```\nx = 1")],
     [OUTPUT_CUT, None, OUTPUT_CUT]),
    ([(None, "Spam"), ("You won!", "Spam")], [NO_INPUT, None]),
    ([("hot", "cold"), ("up", "down"), ("hot", "cold")], [None, None, AGAIN]),
    ([("hot", "cold"), ("up", "down"), ("hot", "icy")], [CONFLICT] * 3),
    ([("", "a poem"), ("", "another poem")], [None, None]),
    ([("hot", "cold"), ("hot", "")], [None, EMPTY]),  # what has no output contradicts nothing
])
def test_each_filter_of_instances_at_its_boundary(instances, expected):
    assert bad(*instances) == expected


# Questions and how answers are read


def test_the_first_question_shows_every_example_and_asks_for_as_many_new_ones():
    question = prompts.new_instructions(SEEDS[:8])
    assert parse(question) == [task.instruction for task in SEEDS[:8]]
    assert "numbered 9 to 16" in question


@pytest.mark.parametrize("answer, expected", [
    ("9. Name a river.\n10. Sort them.", ["Name a river.", "Sort them."]),
    ("Sure!\n 1) One\n 2) Two\n", ["One", "Two"]),
    ("1、写一首诗。\n2．唱一首歌。\n3.说话", ["写一首诗。", "唱一首歌。", "说话"]),
    ("1. Add\n   the numbers.\n\nI hope this helps.", ["Add the numbers."]),
    ("1.\n2. Two", ["Two"]), ("1. Say 3.5 as\n3.5 words", ["Say 3.5 as 3.5 words"]),
    ("I cannot do that.", []), ("", []),
])
def test_numbered_lists_are_read_in_the_forms_that_teachers_write(answer, expected):
    assert parse(answer) == expected


@pytest.mark.parametrize("answer, expected", [
    ("yes", True), (" Yes, it is.", True), ("**No**", False), ("no", False), ("是的。", True),
    ("不是", False), ("否", False), ("", None), ("nothing", None), ("yesterday", None),
    ("It is one.", None),
])
def test_yes_and_no_are_told_from_everything_else(answer, expected):
    assert prompts.parse_is_classification(answer) is expected


@pytest.mark.parametrize("answer, labels_first, expected", [
    ("hot\nOutput: cold", False, [("hot", "cold")]),
    ("Input: hot\nOutput: cold\n\nInput: up\nOutput: down", False,
     [("hot", "cold"), ("up", "down")]),
    ("Of course:\nInput: hot\nOutput: cold", False, [("hot", "cold")]),
    ("Input: none\nOutput: a\nb", False, [("", "a\nb")]),
    ("Input: hot\nInput: up\nOutput: down\nInput: in", False,
     [("hot", ""), ("up", "down"), ("in", "")]),
    ("Output: cold", False, [("", "cold")]),
    ("**Input:** hot\n**Output:** cold", False, [("hot", "cold")]),
    ("输入", False, [("输入", "")]), ("", False, []), (" \n", True, []),
    ("Spam\nInput: You won!\nLabel: Not spam\nInput: See you.", True,
     [("You won!", "Spam"), ("See you.", "Not spam")]),
    ("Output: Spam\nInput: None.", True, [("", "Spam")]),
    ("Label: Spam\nLabel: Not spam\nInput: x\nLabel: Maybe", True,
     [(None, "Spam"), ("x", "Not spam"), (None, "Maybe")]),
    ("Label: Spam\nInput: x\nInput: y", True, [("x", "Spam"), ("y", "")]),
])
def test_instances_are_read_with_what_is_missing(answer, labels_first, expected):
    assert parse_instances(answer, labels_first) == [Instance(*each) for each in expected]


@pytest.mark.parametrize("labels_first", [False, True])
def test_what_the_questions_show_is_read_as_it_was_meant(labels_first):
    for task in SEEDS:
        shown = prompts.written(task.instances[0], labels_first)
        assert parse_instances(shown, labels_first) == list(task.instances)
    question = prompts.instances("Name the kind: owl", labels_first, SEEDS)
    end = "Label:" if labels_first else "Input:"
    assert question.endswith(f"Task: Name the kind: owl\n{end}")
    shown = [task.instruction for task in SEEDS if f"Task: {task.instruction}\n" in question]
    kinds = {task.instruction: task.is_classification for task in SEEDS}
    assert len(shown) == prompts.SHOWN and {kinds[text] for text in shown} == {labels_first}


def test_the_second_question_shows_both_kinds_and_what_they_are():
    question = prompts.is_classification("Name the kind: owl", SEEDS)
    assert len(re.findall("Classification: yes", question)) == prompts.SHOWN // 2
    assert len(re.findall("Classification: no", question)) == prompts.SHOWN // 2


# The pipeline

WORDS = ("river stone bread music garden letter window winter market bridge story number friend "
         "summer doctor school ticket forest dinner planet mirror button castle farmer").split()


def imaginative(question):
    """A teacher that answers in all good and bad ways; its answer depends on the question alone."""
    rng = random.Random(question)
    if question.startswith("Here is a list"):
        starts = ["Explain", "Compare", "Draw", "Write a program for", "- Name", "说说"]
        lines = [f"{i}. {rng.choices(starts, [6, 6, 1, 1, 1, 2])[0]} "
                 f"{' '.join(rng.sample(WORDS, rng.randint(1, 6)))}." for i in range(9, 14)]
        return rng.choice(["\n".join(lines)] * 9 + ["I cannot."])
    if question.startswith("In a classification"):
        return rng.choice(["yes", "no", "No.", "perhaps"])
    a, b = rng.sample(WORDS, 2)
    if question.endswith("Label:"):
        return rng.choice([f"good\nInput: {a}\nLabel: bad\nInput: {b}", f"good\nInput: {a}\nLabel: "
                           f"bad\nInput: {a}", f"good\nInput: {a}\nLabel: bad", "good"])
    return rng.choice([f"{a}\nOutput: {b}\nInput: {b}\nOutput: {a}", f"none\nOutput: {a}",
                       f"{a}\nOutput: {a}", f"{a}\nOutput:", f"{a}\nOutput: It is:", ""])


def made(teacher=imaginative, count=8, seeds=SEEDS, **more):
    found = SelfInstruct(teacher, seeds, **more)
    found.run(count)
    return found


def state(found):
    return found.rows, found.rejected, found.kept, found.tally.to_dict()


class Recorder:
    """A teacher that notes what it is asked, and is interrupted after so many answers."""

    name = "recorder"

    def __init__(self, answers=None):
        self.asked, self.left = [], answers

    def __call__(self, question):
        if self.left == 0:
            self.left = None
            raise KeyboardInterrupt
        if self.left is not None:
            self.left -= 1
        self.asked.append(question)
        return imaginative(question)


def test_the_same_seed_and_answers_give_the_same_and_another_seed_gives_others():
    assert state(made()) == state(made())
    assert [row["messages"] for row in made(seed=1).rows] != [
        row["messages"] for row in made().rows]


def test_stopped_at_20_random_points_it_asks_the_same_and_ends_with_the_same(tmp_path):
    whole = Recorder()
    expected = state(made(whole))
    assert len(whole.asked) == len(set(whole.asked)) > 20
    rng = random.Random(0)
    for n, point in enumerate(rng.sample(range(len(whole.asked)), 20)):
        teacher = Recorder(point)
        with KeptTeacher(teacher, tmp_path / str(n)) as kept, pytest.raises(KeyboardInterrupt):
            made(kept)
        assert len(teacher.asked) == point
        with KeptTeacher(teacher, tmp_path / str(n)) as kept:
            assert state(made(kept)) == expected
        assert teacher.asked == whole.asked


def test_a_torn_last_line_costs_one_question(tmp_path):
    whole = Recorder()
    expected = state(made(whole))
    teacher = Recorder(9)
    with KeptTeacher(teacher, tmp_path) as kept, pytest.raises(KeyboardInterrupt):
        made(kept)
    answers = tmp_path / "answers.jsonl"
    answers.write_bytes(answers.read_bytes()[:-10])
    with KeptTeacher(teacher, tmp_path) as kept:
        assert state(made(kept)) == expected
    assert teacher.asked == whole.asked[:9] + whole.asked[8:]


def test_two_examples_are_machine_made_and_seeds_fill_up():
    kept = [Task(f"row-{i}", f"Task {i}", (), False) for i in range(5)]
    for number, expected in ((0, 0), (1, 1), (2, 2), (5, 2)):
        examples = draw(random.Random(0), SEEDS, kept[:number])
        assert len(examples) == len({task.id for task in examples}) == 8
        assert sum(task.id.startswith("row-") for task in examples) == expected
    drawn = [draw(random.Random(i), SEEDS, kept) for i in range(20)]
    assert len({tuple(task in kept for task in examples) for examples in drawn}) > 5  # the order
    assert {task for examples in drawn for task in examples} >= set(kept)


def test_each_row_names_the_tasks_that_its_question_showed():
    teacher = Recorder()
    found = made(teacher, count=12, seed=3, teacher_name="t")
    texts = {task.id: task.instruction for task in [*SEEDS, *found.kept]}
    questions = [parse(each) for each in teacher.asked if each.startswith("Here is a list")]
    for i, row in enumerate(found.rows):
        assert [texts[parent] for parent in row["parents"]] == questions[row["round"] - 1]
        assert (row["source"], row["teacher"], row["seed"]) == ("self-instruct", "t", 3)
        rows = [int(parent[4:]) for parent in row["parents"] if parent.startswith("row-")]
        assert all(number <= i for number in rows)
    for task in found.kept:  # its id is the line of its first row
        first = found.rows[int(task.id[4:]) - 1]["messages"][0]["content"]
        assert first.splitlines()[0] == task.instruction
    assert any(parent.startswith("row-") for row in found.rows for parent in row["parents"])


def test_everything_is_counted_and_all_that_is_dropped_is_kept_with_its_reason():
    found = made(count=30)
    counts, reasons = found.tally.counts, Counter(row["reason"] for row in found.rejected)
    dropped = {key.removeprefix(DROPPED): number for key, number in counts.items()
               if key.startswith(DROPPED)}
    assert counts[KEPT] == len(found.kept) == 30 and counts[ROWS] == len(found.rows)
    assert counts[LOOKED_AT] == counts[KEPT] + sum(dropped.values())
    assert list(left_after(counts).values())[-1] == 30
    stages = {each.reason: each.stage for each in filters(Known(), ascii_only=True)}
    for name, number in reasons.items():
        key = {NO_TASK: SHOWN_NO_TASK, LEFT_OVER: SHOWN_LEFT_OVER}.get(name, DROPPED + name)
        key = f"instances {key}" if stages.get(name) == INSTANCES else key
        assert counts[key] == number
    assert {SHORT, IMAGES, PROGRAM, MARK, SIMILAR, SAME, EMPTY, COLON, CONFLICT, NO_INPUT,
            NO_INSTANCE, NO_TASK, LEFT_OVER} <= set(reasons)
    similar = next(row for row in found.rejected if row["reason"] == SIMILAR)
    f = rouge_l(similar["instruction"], similar["found"]["instruction"], words_and_characters)[2]
    assert similar["found"]["rouge_l"] == f > 0.7
    assert counts[UNCLEAR] > 0 == counts[GAVE_UP]


def test_what_is_kept_passes_all_filters_and_is_unlike_all_else():
    found = made(count=20)
    for a, b in combinations([*SEEDS[:40], *found.kept], 2):
        assert rouge_l(a.instruction, b.instruction, words_and_characters)[2] <= 0.7
    for task in found.kept:
        assert reason(task.instruction) is None
        assert bad(*((each.input, each.output) for each in task.instances)) == (
            [None] * len(task.instances))


def test_an_instruction_whose_instances_are_dropped_is_not_tried_again():
    def teacher(question):
        if question.startswith("Here is"):
            return "9. Name one long river."
        return "no" if question.startswith("In a") else "a\nOutput: a"

    found = made(teacher)
    assert [row["reason"] for row in found.rejected] == [SAME] + [SIMILAR] * (PATIENCE - 1)
    assert found.tally.counts[GAVE_UP] == 1 and found.tally.counts[DROPPED + SAME] == 1


def test_labels_are_asked_for_first_only_in_classification_tasks():
    def teacher(question):
        if question.startswith("Here is"):
            return "9. Is this river long or short?\n10. Tell me about two rivers."
        if question.startswith("In a"):
            return "yes" if "long or short?\nClassification:" in question[-40:] else "no"
        if question.endswith("Is this river long or short?\nLabel:"):
            return "long\nInput: Nile\nLabel: short\nInput: Tees"
        assert question.endswith("Tell me about two rivers.\nInput:")
        return "none\nOutput: They are wet."

    assert [[turn["content"] for turn in row["messages"]] for row in made(teacher, 2).rows] == [
        ["Is this river long or short?\nNile", "long"],
        ["Is this river long or short?\nTees", "short"],
        ["Tell me about two rivers.", "They are wet."]]


def test_a_small_teacher_is_asked_in_a_form_of_its_own():
    asked = []

    def teacher(question):
        asked.append(question)
        return f"Add {len(asked)} and {len(asked) * 7}." if question == "ask" else "13"

    own = Prompts(new_instructions=lambda examples: "ask", parse=lambda answer: [answer],
                  is_classification=None, instances=lambda instruction, *_: instruction,
                  parse_instances=lambda answer, _: [Instance("", answer)])
    found = made(teacher, 2, prompts=own)
    assert asked == ["ask", "Add 1 and 7.", "ask", "Add 3 and 21."]
    assert found.rows[0]["messages"] == [{"role": "user", "content": "Add 1 and 7."},
                                         {"role": "assistant", "content": "13"}]


def test_the_short_form_shows_four_tasks_and_asks_each_new_one_as_it_is():
    asked = []

    def teacher(question):
        asked.append(question)
        number = len(asked)
        return f"5. Add {number} and {7 * number}." if question.endswith("tasks.") else " 13 "

    found = made(teacher, 3, prompts=prompts.SHORT_FORM)
    texts = {task.id: task.instruction for task in [*SEEDS, *found.kept]}
    for row, question, instruction in zip(found.rows, asked[::2], asked[1::2], strict=True):
        *shown, order = question.split("\n")
        assert order == "Write new tasks." and len(shown) == 4
        assert shown == [f"{i}. {prompts.one_line(texts[parent])[:100]}"
                         for i, parent in enumerate(row["parents"], 1)]
        assert [turn["content"] for turn in row["messages"]] == [instruction, "13"]
    assert sum(parent.startswith("row-") for parent in found.rows[2]["parents"]) == 1


def test_a_long_example_of_the_short_form_is_cut_so_that_room_is_left_for_an_answer():
    question = prompts.list_to_continue([Task("", "a\nb " * 100, (), False)] * 4)
    assert [len(line) for line in question.splitlines()] == [103] * 4 + [16]


def test_asked_again_only_what_is_always_answered_in_the_same_way_is_kept():
    asked = []

    def teacher(question, again=0):
        if question.endswith("tasks."):
            return f"5. Add {len(asked)} and {7 * len(asked)}."
        asked.append((question, again))
        return "14" if again == 2 and question == "Add 0 and 0." else f"{again * ' '}13"

    found = made(teacher, 1, prompts=prompts.SHORT_FORM, ask_again=3)
    first, second = "Add 0 and 0.", "Add 3 and 21."
    assert asked == [(first, 0), (first, 1), (first, 2),
                     (second, 0), (second, 1), (second, 2), (second, 3)]
    assert [[turn["content"] for turn in row["messages"]] for row in found.rows] == [
        [second, "13"]]
    assert [(row["instruction"], row["reason"], row["found"], row["output"])
            for row in found.rejected] == [(first, OTHERWISE, {"answer": "14"}, "13")]
    assert found.tally.counts[DROPPED + OTHERWISE] == 1


def test_an_answer_to_an_input_is_asked_for_again_with_its_input():
    def teacher(question, again=0):
        if question.startswith("Here is a list"):
            return "9. Tell me about this long river."
        if question.startswith("In a classification"):
            return "no"
        if again:
            return {"Nile": "wet", "Tees": "dry"}[question.rpartition("\n")[2]]
        return "Nile\nOutput: wet\nInput: Tees\nOutput: wet"

    found = made(teacher, 1, ask_again=1)
    assert [row["messages"][1]["content"] for row in found.rows] == ["wet"]
    assert [(row["input"], row["found"]) for row in found.rejected] == [("Tees", {"answer": "dry"})]


def test_too_few_seeds_are_refused():
    with pytest.raises(ValueError, match="there are 7 seed tasks; expected at least 8"):
        SelfInstruct(imaginative, SEEDS[:7])


# The command

OF_MODEL = "minisft.instruct.teacher.of_model"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command line, and the Recorder that it opens; its name is what it is opened with."""
    teacher = Recorder()

    def of_model(path, temperature, seed, top_p):
        teacher.name = f"{path} {temperature} {seed} {top_p}"
        return teacher

    monkeypatch.setattr(OF_MODEL, of_model)
    return ["self-instruct", "--teacher", "town", "--count", "5",
            "--out", str(tmp_path / "out.jsonl")], teacher


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_writes_rows_that_training_reads(tmp_path, command, capsys):
    argv, teacher = command
    build.main(argv)
    assert set(files_of(tmp_path)) == {"out.jsonl", "out.json", "out.rejected.jsonl",
                                       "out.funnel.png", "answers.jsonl"}
    expected = made(count=5, teacher_name=f"town {TEMPERATURE} 0 {TOP_P}")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert rows == expected.rows
    records, damaged = read_records([tmp_path / "out.jsonl"])
    assert len(records) == len(rows) and not damaged
    assert [record.item.to_messages() for record in records] == [row["messages"] for row in rows]
    rejected = (tmp_path / "out.rejected.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in rejected] == expected.rejected
    assert f"{5:>12,}  {KEPT}" in capsys.readouterr().out
    assert (tmp_path / "out.funnel.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_stopped_and_given_again_asks_nothing_twice(tmp_path, command):
    argv, teacher = command
    build.main(argv)
    once, asked = files_of(tmp_path), list(teacher.asked)
    build.main(argv)
    assert files_of(tmp_path) == once and teacher.asked == asked

    again = argv[:-1] + [str(tmp_path / "new" / "out.jsonl")]
    teacher.left = 7
    with pytest.raises(SystemExit, match="stopped, and no rows are written"):
        build.main(again)
    assert set(files_of(tmp_path / "new")) == {"answers.jsonl"}
    build.main(again)
    assert teacher.asked == asked * 2
    assert {name: content for name, content in files_of(tmp_path / "new").items()
            if name != "out.json"} == {name: content for name, content in once.items()
                                       if name != "out.json"}


def test_no_file_of_somebody_else_is_overwritten(tmp_path, command):
    argv, teacher = command
    (tmp_path / "out.funnel.png").write_bytes(b"mine")
    with pytest.raises(SystemExit, match="out.funnel.png already exists"):
        build.main(argv)
    assert not teacher.asked and set(files_of(tmp_path)) == {"out.funnel.png"}


def test_the_teacher_is_opened_with_all_flags_and_its_answers_are_kept_beside_the_output(
        tmp_path, monkeypatch):
    opened = []

    @contextmanager
    def chosen(*flags):
        opened.append(flags)
        yield Recorder()

    monkeypatch.setattr(self_instruct, "chosen", chosen)
    build.main(["self-instruct", "--teacher-url", "http://x/v1", "--teacher-model", "m",
                "--budget-requests", "8", "--budget-tokens", "9", "--seed", "3", "--count", "2",
                "--out", str(tmp_path / "out.jsonl")])
    assert opened == [("", "http://x/v1", "m", 8, 9, tmp_path / "out.answers", TEMPERATURE, 3,
                       TOP_P)]


def test_where_a_teacher_gives_nothing_what_it_said_is_written_and_rows_that_are_there_stay(
        tmp_path, command, monkeypatch):
    argv, _ = command
    monkeypatch.setattr(Recorder, "__call__", lambda self, question: "I cannot.")
    for _ in range(2):
        with pytest.raises(SystemExit, match=f"not written:(.|\n)* {PATIENCE}  {SHOWN_NO_TASK}"):
            build.main(argv)
        assert set(files_of(tmp_path)) == {"out.json", "out.rejected.jsonl", "out.funnel.png",
                                           "answers.jsonl"}
    rejected = (tmp_path / "out.rejected.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["found"] for line in rejected] == [{"answer": "I cannot."}] * PATIENCE

    (tmp_path / "out.jsonl").write_bytes(b"rows of an earlier run")
    (tmp_path / "out.rejected.jsonl").write_bytes(b"and what it rejected")
    before = files_of(tmp_path)
    with pytest.raises(SystemExit, match="out.jsonl stays as it is:(.|\n)*wrote nothing"):
        build.main(argv)
    assert files_of(tmp_path) == before


def test_the_command_asks_in_the_short_form_if_it_is_told_to(command):
    argv, teacher = command
    teacher.asked.clear()
    with pytest.raises(SystemExit, match="no row was kept"):  # it knows the paper's form only
        build.main([*argv, "--prompts", "short"])
    assert all(question.endswith("Write new tasks.") for question in teacher.asked)


def test_the_command_asks_again_if_it_is_told_to(tmp_path, command, monkeypatch):
    argv, _ = command
    monkeypatch.setattr(Recorder, "__call__", lambda self, question, again=0: (
        "Otherwise." if again else imaginative(question)))
    with pytest.raises(SystemExit, match="no row was kept"):
        build.main([*argv, "--ask-again", "1"])
    rejected = (tmp_path / "out.rejected.jsonl").read_text("utf-8").splitlines()
    assert OTHERWISE in {json.loads(line)["reason"] for line in rejected}


def test_a_question_too_long_for_a_model_says_what_to_do(tmp_path, command, monkeypatch):
    def short_of_context(self, question):
        raise NoRoom("one of 272")

    argv, _ = command
    monkeypatch.setattr(Recorder, "__call__", short_of_context)
    with pytest.raises(SystemExit, match="one of 272; .* take a model with a longer context"):
        build.main(argv)


@pytest.mark.parametrize("settings, found", [
    ({}, "neither is given"), ({"teacher": "x", "count": 0}, "--count must be at least 1"),
])
def test_wrong_settings_are_refused(settings, found):
    with pytest.raises(ValueError, match=found):
        SelfInstructConfig(**settings)


# The seeds


def asked_and_answered(task):
    """The two turns of a seed as text."""
    turns = self_instruct.messages_of(task.instruction, task.instances[0])
    return tuple(turn["content"] for turn in turns)


def test_there_are_175_seeds_in_two_languages_with_classification_among_them():
    chinese = [task for task in SEEDS if re.search("[\u4e00-\u9fff]", task.instruction
               + task.instances[0].input + task.instances[0].output)]
    labels = [task for task in SEEDS if task.is_classification]
    assert (len(SEEDS), len(chinese), len(labels)) == (175, 46, 28)
    for task in labels:
        assert task.instances[0].output.lower() in task.instruction.lower()


def test_no_two_seeds_are_alike_and_all_pass_the_filters():
    for a, b in combinations(SEEDS, 2):
        assert rouge_l(a.instruction, b.instruction, words_and_characters)[2] < 0.7, (a, b)
    for task in SEEDS:
        instance = task.instances[0]
        assert reason(task.instruction) is None, task
        assert bad((instance.input, instance.output)) == [None]
        assert instance.output == instance.output.strip()


def test_the_oracle_can_read_40_seeds_and_finds_their_answers_right():
    town = {question: answer for question, answer in map(asked_and_answered, SEEDS)
            if judge([question])}
    assert len(town) >= 40
    assert [text for text, answer in town.items() if not is_right([text], answer)] == []


def test_no_seed_is_a_test_question():
    records, _ = read_records(TEST_FILES)
    tested = {message.content for record in records for message in record.item.messages}
    assert not tested & {question for question, _ in map(asked_and_answered, SEEDS)}


@pytest.mark.parametrize("row, found", [
    ("[1]", "the row has a list"), ('{"instruction": "a", "input": "", "output": "b"}',
                                    "the row has instruction, input, output; expected"),
    ('{"instruction": "a", "input": "", "output": "b", "is_classification": 1}', "true or false"),
    ('{"instruction": ', "not JSON"),
])
def test_a_bad_seed_is_named_by_file_and_line(tmp_path, row, found):
    good = '{"instruction": "a", "input": "", "output": "b", "is_classification": false}\n'
    (tmp_path / "seeds.jsonl").write_text(good + row + "\n" + good, encoding="utf-8")
    with pytest.raises(ValueError, match=f"seeds.jsonl:2: .*{found}"):
        read_seeds(tmp_path / "seeds.jsonl")
