"""Lessons run as scripts and notebooks, have their form, and tell what their results hold."""

import json
import random
import re
import runpy
import subprocess
import sys

import pytest

from lessons import trials
from minisft import lesson as harness
from minisft.instruct import tasks
from minisft.shipped import ROOT
from minisft.world import corpus, oracle

LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
WITH_CLAIMS = [path for path in LESSONS if not path.stem.startswith("00")]
RESULTS = ROOT / "lessons" / "results"


def name_of(path):
    return path.stem


def published(path):
    return json.loads((RESULTS / f"{path.stem}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_a_lesson_runs_in_fast_mode_from_any_folder_and_judges_nothing(lesson, tmp_path):
    done = subprocess.run(
        [sys.executable, str(lesson), "--fast"], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, env={"TMPDIR": str(tmp_path), "PATH": "", "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    made = {path.name for path in tmp_path.glob("minisft-fast-*/*")}
    assert f"{lesson.stem}.png" in made
    assert not re.search("HOLDS|FAILS|UNDECIDED", done.stdout)
    if lesson in WITH_CLAIMS:
        assert f"{lesson.stem}.json" in made and "not judged" in done.stdout


@pytest.mark.parametrize("lesson", WITH_CLAIMS, ids=name_of)
def test_a_lesson_has_its_form(lesson):
    text = lesson.read_text(encoding="utf-8")
    parts = ["**Question.**", "**What the notes say**", "**What others found", "## The code",
             "## The experiment", "lesson.run(experiment)", "## Figure", "## Verdict", "CLAIMS = [",
             "PREDICTIONS = [", "lesson.conclude(", "**What came out.**", "**Read with care.**",
             "**What would change our mind.**", "**Exercise**", "**Solution.**"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith("# %% [markdown]\n# # ")


SOLUTIONS = {  # the number that the text of a lesson's solution has
    "01": 1, "02": 0, "03": 0.95, "04": 0.52, "05": 0.33, "06": 0.87, "07": 0.08, "24": 1,
    "25": 0.59, "26": 0.14, "27": 0.43, "28": 0.58, "29": 0.297}


@pytest.mark.parametrize("lesson", WITH_CLAIMS, ids=name_of)
def test_a_lesson_agrees_with_its_own_solution_and_not_with_another_number(
        lesson, monkeypatch, capsys):
    number = SOLUTIONS[lesson.stem[:2]]
    for given, said in ((number, "agrees with ours"), (number + 0.4, "does not agree"),
                        (number - 0.4, "does not agree")):
        monkeypatch.setattr(sys, "argv", [str(lesson), "--answer", str(given)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(lesson), run_name="__main__")
        assert not end.value.code
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("lesson", WITH_CLAIMS, ids=name_of)
def test_published_numbers_are_those_of_a_full_experiment(lesson):
    numbers = published(lesson)["numbers"]
    assert (RESULTS / f"{lesson.stem}.png").stat().st_size > 5000
    items, seeds = (list(value.values()) if isinstance(value, dict) else [value]
                    for value in (numbers["items"], numbers.get("seeds", 5)))
    assert min(items) >= 200 and min(items) * min(seeds) >= 1000
    assert min(seeds) >= 5


@pytest.mark.parametrize("lesson", WITH_CLAIMS, ids=name_of)
def test_what_came_out_is_what_was_judged(lesson):
    text = lesson.read_text(encoding="utf-8")
    told = re.findall(r"^# - \*\*(Holds|Fails|Undecided)\*\*", text, re.M)
    judged = [claim["outcome"] for claim in published(lesson)["claims"]]
    assert [word.lower() for word in told] == judged


@pytest.mark.parametrize("lesson", WITH_CLAIMS, ids=name_of)
def test_the_published_numbers_give_the_published_verdicts_and_figures(
        lesson, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "MINE", tmp_path)
    monkeypatch.setattr(sys, "argv", [str(lesson), "--redraw"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(lesson), run_name="__main__")
    assert json.loads((tmp_path / f"{lesson.stem}.json").read_text("utf-8")) == published(lesson)
    figures = {path.name for path in RESULTS.glob(f"{lesson.stem[:2]}_*.png")}
    assert {path.name for path in tmp_path.glob("*.png")} == figures


@pytest.mark.parametrize("stem, folder", [("02_conversation_and_mask", "lessons"),
                                          ("24_lora", "tests")])
def test_a_lesson_is_a_notebook_too(stem, folder, monkeypatch):
    import jupytext
    from nbconvert.preprocessors import ExecutePreprocessor

    monkeypatch.setenv("MINISFT_FAST", "1")
    notebook = jupytext.read(ROOT / "lessons" / f"{stem}.py")
    ExecutePreprocessor(timeout=300).preprocess(
        notebook, {"metadata": {"path": str(ROOT / folder)}})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert figures and not any(output["output_type"] == "error" for output in outputs)
    assert "not judged" in "".join(output.get("text", "") for output in outputs)


def names_of(stem):
    """What a lesson defines before its experiment runs."""
    path = ROOT / "lessons" / f"{stem}.py"
    defined = {"__file__": str(path), "__name__": stem}
    source, _, _ = path.read_text(encoding="utf-8").partition("\nnumbers = lesson.run(")
    exec(compile(source, path, "exec"), defined)
    return defined


def test_the_pairs_and_descriptions_of_lesson_04_are_those_that_the_oracle_reads():
    lesson = names_of("04_nlp_tasks")
    for task in lesson["OUTPUTS"]:
        nouns = lesson["TOWN"][False]
        own, = lesson["template_of"](task, nouns).tasks
        pairs = lesson["pairs_of"](task, nouns, 20)
        assert len({own.asked(pair) for pair in pairs}) == 20
        for row, pair in zip(tasks.instructions(pairs, own, "description", random.Random(0)),
                             pairs):
            question, answer = (turn["content"] for turn in row["messages"])
            whole = pair.fields["answer"]
            if task in lesson["SPACES"]:
                assert whole.endswith(f" {answer}.") and answer in own.output_space
            else:
                assert answer == whole
            if task != "reading":  # its descriptions are the lesson's own
                assert oracle.is_right([question], whole), question


def test_lesson_04_asks_for_the_same_pairs_in_all_formats():
    lesson = names_of("04_nlp_tasks")
    asked = {}
    for record in lesson["make_trials"]()["none"].test:
        if record.split != "control":
            asked.setdefault(record.split, {}).setdefault(record.source, []).append(
                (record.task, record.item.messages[-1].content))
    assert set(asked) == set(lesson["GROUPS"]) - {"control"}
    for formats in asked.values():
        assert set(formats) == set(lesson["FORMATS"])
        assert all(each == formats["none"] for each in formats.values())


def test_no_test_question_of_lesson_05_is_in_its_training_rows():
    lesson = names_of("05_conversations")
    tests = {name: rows[:10] for name, rows in lesson["make_tests"]().items()}
    every = [row for rows in tests.values() for row in rows]
    asked = corpus.Asked.by(every)
    for arm in lesson["ARMS"]:
        rows = lesson["make_rows"](arm, dict.fromkeys(lesson["ROWS"], 4), asked)
        assert not corpus.find_leaks(rows, every)
        changed = [row for row in rows if any(
            corpus.without_courtesies(turn) != turn for turn in corpus.user_turns(row))]
        assert bool(changed) == (arm == lesson["TYPED"])
        alone = [oracle.judge([turn]) for row in rows for turn in corpus.user_turns(row)]
        skills = {judged.skill for judged in alone if judged} & set(oracle.SKILLS)
        assert skills - set(lesson["TASKS"]) <= {"outside"}  # a later question about a text


def turns_of(question, answer):
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": answer}]}


def test_what_the_filters_of_lesson_06_drop_is_counted_by_hand(monkeypatch):
    monkeypatch.setenv("MINISFT_FAST", "1")
    lesson = names_of("06_self_instruct")
    first, second, *_ = lesson["REASONS"]
    question, right = "What is the opposite of hot?", "The opposite of hot is cold."
    steps, left = lesson["funnel"]([(question, right, None), (question, right, first),
                                    (question, "Wet.", first), (question, "Wet.", None)])
    assert steps[0] == {"reason": first, "reached": {"valid": 2, "invalid": 2},
                        "dropped": {"valid": 1, "invalid": 1}}
    assert left == {"valid": 1, "invalid": 1}
    found = lesson["summed"]([(steps, left), (steps, left)])  # of two seeds
    assert found[0] == {"reason": first, "reached": 8, "dropped": 4, "invalid_dropped": 2,
                        "valid_after": 0.5, "precision": 0.5, "recall": 0.5}
    assert found[1] == {"reason": second, "reached": 4, "dropped": 0, "invalid_dropped": 0,
                        "valid_after": 0.5, "precision": None, "recall": 0}


def test_a_machine_made_row_that_does_not_fit_is_left_out_and_named(monkeypatch, capsys):
    monkeypatch.setenv("MINISFT_FAST", "1")
    lesson = names_of("07_evol_instruct")
    row = lesson["true_rows"](0)[0]
    long = {"messages": [row["messages"][0], {"role": "assistant", "content": "word " * 300}]}
    trial = lesson["trial_of"]([long, row])
    assert len(trial.examples) == 1
    assert "1 conversations are left out" in capsys.readouterr().out


def test_no_arm_of_lessons_06_and_07_asks_what_their_tests_ask(monkeypatch):
    monkeypatch.setenv("MINISFT_FAST", "1")
    lesson = names_of("06_self_instruct")
    secret = [*lesson["TEST"], *lesson["HELD_OUT"]]
    free = lesson["fresh_rows"](7, 12, lesson["ASKED"])
    made = [(*lesson["said"](row), None) for row in (*secret, *free)]
    arms = lesson["data_of"](0, made)
    assert not any(corpus.find_leaks(rows, secret) for rows in arms.values())
    assert len(arms["machine-made"]) == lesson["SEED_TASKS"] + 12
    assert len({len(arms[name]) for name in lesson["ARMS"][1:]}) == 1

    lesson = names_of("07_evol_instruct")
    secret = [*lesson["EASY_TEST"], *lesson["HARD_TEST"], *lesson["HELD_OUT"]]
    free = lesson["fresh_rows"](7, 12, lesson["ASKED"])
    arms = lesson["data_of"](0, [*secret, *free])
    assert not any(corpus.find_leaks(rows, secret) for rows in arms.values())
    assert {len(rows) for rows in arms.values()} == {lesson["ROOTS"] + 12}


def test_a_row_that_asks_in_other_words_is_asked_but_for_knowledge():
    asked = corpus.Asked.by([turns_of("Give the opposite of hot.", ""),
                             turns_of("Say it backwards: red, owl, saw", "")])
    for question, expected in (("give the opposite of hot", True),
                               ("What is the opposite of hot?", False),
                               ("Please reverse the words: red, owl, saw", True),
                               ("Please reverse the words: owl, red, saw", False),
                               ("Who are you?", False)):
        assert trials.is_asked(turns_of(question, ""), asked) == expected, question


def test_rounds_of_lesson_07_are_followed_by_hand(monkeypatch):
    monkeypatch.setenv("MINISFT_FAST", "1")
    lesson = names_of("07_evol_instruct")

    def row(id, parent, number, question, answer):
        return {"id": id, "parent": parent, "operation": "deepen", "round": number,
                "source": f"seed-{id[0]}", **turns_of(question, answer)}

    easy, hot = "What is 3 plus 4?", "What is the opposite of hot?"
    roots = [row("1", None, 0, easy, oracle.answer([easy])),
             row("2", None, 0, hot, oracle.answer([hot]))]
    long = "3, then plus 4, minus 2: how much is it?"
    gone = row("1.2", "1.1", 2, "", "") | {"instruction": "Why?", "reason": "a rule"}
    del gone["messages"]
    steps = [row("1.1", "1", 1, long, oracle.answer([long])),
             row("2.1", "2", 1, "Say dog in Chinese.", "Wet."), gone]
    rounds, fates = lesson["followed"](roots, steps)
    assert rounds == [{"work": 1, "harder": 0, "valid": 1},
                      {"work": 3, "harder": 0.5, "valid": 0.5},  # (5 + 1) / 2
                      {"work": 3, "harder": 0.5, "valid": 0.5}]
    assert [(each["reason"], each["good"], each["harder"]) for each in fates] == [
        (None, True, True), (None, False, False), ("a rule", False, None)]
    assert lesson["good_of_kept"](fates) == 0.5


def run_py(*arguments):
    return subprocess.run([sys.executable, str(ROOT / "lessons" / "run.py"), *arguments],
                          capture_output=True, text=True, timeout=300)


def test_the_course_page_is_what_the_results_say():
    page = ROOT / "lessons" / "README.md"
    before = page.read_bytes()
    assert runpy.run_path(str(ROOT / "lessons" / "run.py"))["page"]().encode() == before
    done = run_py("00", "--fast")
    assert done.returncode == 0 and "== 00_one_conversation: done" in done.stdout
    assert page.read_bytes() == before
    text = before.decode()
    for lesson in WITH_CLAIMS:
        for claim in published(lesson)["claims"]:
            assert f"| {claim['text']} ({claim['source']}) | **{claim['outcome']}** |" in text
        assert f"]({lesson.name})" in text and f"(results/{lesson.stem}.png)" in text


def test_a_lesson_that_does_not_exist_is_named():
    done = run_py("24", "77")
    assert done.returncode == 1 and "there is no lesson 77; there are 00, 01, 02" in done.stderr
