"""A class's exercises are graded: every submission gets its result, whatever others do.

The bad submissions run as they would in a class, in processes of the worker's.
"""

import ast
import csv
import json
import os
import zipfile
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from lessons import grade
from lessons.checking.exercise import ORDER, ROOT, exercise, written
from lessons.checking.guard import watch
from lessons.checking.trial import outcomes
from lessons.checking.worker import Job
from lessons.grading import page, similarity
from lessons.grading.results import Result, cell, read_results
from lessons.grading.submissions import Submission, read_submissions, student_of

NAMES = ("clip", "adamw", "schedule", "still", "rouge")
CLIP, ADAMW, SCHEDULE, STILL, ROUGE = map(exercise, NAMES)
TEXTS = ("a<script>alert('x')</script>", "=1+2", "\x1b[2J", "Ünï", "two\nlines")


def read_csv(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def hand_in(folder, files):
    """Write {name of an exercise: text} as one student's folder."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / exercise(name).file).write_text(text, encoding="utf-8")


class Page(HTMLParser):
    """The tags and texts of a page; all that opens is closed in its order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A small class with all that may go wrong, graded once: (folder of results, {...: row})."""
    root = tmp_path_factory.mktemp("class")
    mistake = CLIP.mistakes[0]
    hand_in(root / "in" / "good", {
        "clip": CLIP.solution + "\nimport math\nmath.sqrt = torch.zeros_like = None\n",
        "adamw": ADAMW.solution, "schedule": SCHEDULE.solution, "still": STILL.solution,
        "rouge": ROUGE.variant(ROUGE.variants[0].name)})
    hand_in(root / "in" / "learning", {
        "clip": CLIP.mistaken(mistake), "adamw": ADAMW.stub, "schedule": "def broken(:\n",
        "still": STILL.solution.replace("return ", "return None and ")})
    hand_in(root / "in" / "refused", {
        "clip": CLIP.solution + "\nimport subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', ''])\n",
        "adamw": ADAMW.solution + "\nimport pathlib, shutil\n"
        "shutil.rmtree(pathlib.Path(__file__).parent)\n",
        "schedule": SCHEDULE.solution + "\nimport minisft.optim.schedule as reference\n"
        "open(reference.__file__, 'a').write('x')\n",
        "still": STILL.solution + "\nimport sys\nsys.exit()\n",
        "rouge": ROUGE.solution + "\nimport minisft.instruct.rouge as reference\n"
        "reference.words = None\n"})
    hand_in(root / "in" / "stopped", {
        "clip": CLIP.solution + "\nwhile True:\n    pass\n",
        "adamw": ADAMW.solution + "\nimport os\nos._exit(0)\n",
        "schedule": SCHEDULE.solution + "\nwhile True:\n    print('x' * 10_000)\n",
        "still": STILL.solution + "\nimport os\nos.abort()\n",
        "rouge": ROUGE.solution})

    before = {path: path.read_bytes() for path in (root / "in").rglob("*.py")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "ORDER", NAMES)
        patch.setattr(grade, "SECONDS", 5)
        grade.main([str(root / "in"), "--out", str(root / "out"), "--jobs", "2"])
    assert before == {path: path.read_bytes() for path in (root / "in").rglob("*.py")}
    rows = {(row["student"], row["exercise"]): row for row in read_csv(root / "out" / "long.csv")}
    return root / "out", rows


# One bad submission does not stop the batch, and is named


def test_every_student_has_a_result_for_every_exercise(graded):
    _, rows = graded
    assert set(rows) == {(student, name) for name in NAMES
                         for student in ("good", "learning", "refused", "stopped")}


def test_right_code_passes_and_has_its_point_its_time_and_its_memory(graded):
    _, rows = graded
    for name in NAMES:
        row = rows["good", name]
        assert (row["points"], row["status"], row["hint"], row["note"]) == ("1", "passed", "", "")
        assert 0 < float(row["seconds"]) < 5
        assert row["peak_mb"] == "" or float(row["peak_mb"]) > 20


def test_wrong_code_gets_the_hint_of_its_mistake(graded):
    _, rows = graded
    row = rows["learning", "clip"]
    assert (row["points"], row["status"]) == ("0", "failed")
    assert (row["hint"], row["cause"]) == (CLIP.mistakes[0].name, CLIP.mistakes[0].hint)


def test_a_stub_is_to_do_what_is_not_there_is_missing_and_a_typing_mistake_is_an_exception(graded):
    _, rows = graded
    assert rows["learning", "adamw"]["status"] == "to do"
    assert rows["learning", "rouge"]["status"] == "missing"
    assert rows["learning", "schedule"]["hint"] == "exception"
    assert "SyntaxError" in rows["learning", "schedule"]["cause"]


@pytest.mark.parametrize("name, hint, word", [
    ("clip", "forbidden", "processes"), ("adamw", "forbidden", "shutil.rmtree"),
    ("schedule", "forbidden", "schedule.py"), ("still", "exception", "SystemExit")])
def test_starting_processes_deleting_files_and_changing_the_reference_is_refused_and_named(
        graded, name, hint, word):
    _, rows = graded
    assert rows["refused", name]["hint"] == hint
    assert word in rows["refused", name]["cause"]


def test_what_is_replaced_in_memory_is_named(graded):
    _, rows = graded
    assert "replaced minisft.instruct.rouge.words" in rows["refused", "rouge"]["note"]


@pytest.mark.parametrize("name, hint", [
    ("clip", "too slow"), ("adamw", "died"), ("schedule", "prints"), ("still", "died")])
def test_what_hangs_ends_its_process_or_prints_without_end_is_stopped_and_named(
        graded, name, hint):
    _, rows = graded
    assert (rows["stopped", name]["points"], rows["stopped", name]["hint"]) == ("0", hint)


def test_what_comes_after_code_that_was_stopped_is_graded_as_if_alone(graded):
    _, rows = graded
    assert rows["stopped", "rouge"]["status"] == "passed"


def test_what_the_code_of_one_exercise_spoils_that_of_the_next_does_not_see(graded):
    _, rows = graded
    assert "math.sqrt" in ADAMW.solution and "torch.zeros_like" in ADAMW.solution
    assert rows["good", "adamw"]["status"] == "passed"


def test_the_reference_is_as_it_was(graded):
    assert not (ROOT / "minisft/optim/schedule.py").read_text(encoding="utf-8").endswith("x")


# What is written


def test_the_wide_table_has_a_line_for_each_student_and_sums_the_points(graded):
    folder, rows = graded
    wide = {row["student"]: row for row in read_csv(folder / "wide.csv")}
    assert wide["good"]["points"] == "5"
    for student, row in wide.items():
        assert [row[name] for name in NAMES] == [rows[student, name]["points"] for name in NAMES]
        assert int(row["points"]) == sum(int(row[name]) for name in NAMES)


def test_gradescope_finds_what_it_reads(graded):
    folder, rows = graded
    for student in ("good", "learning", "refused", "stopped"):
        path = folder / "gradescope" / student / "results.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        assert {"score", "output", "tests", "visibility"} <= found.keys()
        assert found["score"] == sum(test["score"] for test in found["tests"])
        assert len(found["tests"]) == len(NAMES)
        for name, test in zip(NAMES, found["tests"]):
            row = rows[student, name]
            assert name in test["name"] and test["max_score"] == 1
            assert test["status"] == ("passed" if row["points"] == "1" else "failed")
            assert test["visibility"] == "visible"
            assert test["output"]
    learning = json.loads((folder / "gradescope/learning/results.json").read_text("utf-8"))
    assert " ".join(CLIP.mistakes[0].hint.split()) in " ".join(
        learning["tests"][0]["output"].split())
    assert "expected" in learning["tests"][0]["output"]


def test_the_page_shows_every_exercise_and_names_what_was_stopped(graded):
    folder, _ = graded
    found = Page((folder / "class.html").read_text(encoding="utf-8"))
    assert not found.open
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert not [value for name, value in found.attributes if name in ("src", "href")]
    told = "".join(found.texts)
    assert "accidents, not attackers" in told and CLIP.mistakes[0].hint in told
    assert all(word in told for word in ("too slow", "forbidden", "prints", "died"))
    assert [kind for _, kind in found.attributes].count("stopped") == 7 + 1  # and in the legend


def test_text_of_students_cannot_mark_up_the_page():
    exercises = [CLIP, ADAMW]
    submissions = [Submission(name, notes=[name]) for name in TEXTS]
    table = {(name, each.name): Result(name, each.name, 0, "failed", "forbidden", name, note=name)
             for name in TEXTS for each in exercises}
    pairs = [similarity.Pair("clip", TEXTS[:2], 1.0, (0.1, 0.1), 1.0, 99)]
    found = Page(page.page(table, submissions, exercises, pairs))
    assert not found.open and "script" not in found.tags
    assert any("<script>" in text for text in found.texts)
    assert not any("\x1b" in text for text in found.texts)


def test_names_are_hidden_until_their_box_is_ticked(graded):
    folder, _ = graded
    html = (folder / "class.html").read_text(encoding="utf-8")
    for name in ("good", "learning", "refused", "stopped"):
        assert html.count(f"<span class='name'> {name}</span>") >= 1
    assert "#names:not(:checked) ~ * .name { display: none; }" in html
    assert html.index('id="names"') < html.index("<table")  # the rule is for what follows the box


def test_a_spreadsheet_computes_nothing_that_a_student_has_written():
    assert [cell(text) for text in ("=1+2", "+1", "-1", "@x", "a=b")] == [
        "'=1+2", "'+1", "'-1", "'@x", "a=b"]
    assert (cell(-1), cell(None), cell(0.12345)) == (-1, None, "0.123")


# Again, after a stop


@pytest.fixture
def counted(monkeypatch):
    """Code runs in this process, and each run is counted: a list of exercises' names."""
    ran = []

    def run(texts, keys):
        ran.extend(texts)
        return [Job(name, text, f"{name}.py", keys[name].cases, list(outcomes(
            keys[name].exercise, text, f"{name}.py", keys[name].cases)), 0.1, 50.0)
            for name, text in texts.items()]

    monkeypatch.setattr(grade, "run", run)
    monkeypatch.setattr(grade, "ORDER", ("clip", "still"))
    return ran


def test_what_has_not_changed_is_not_run_again_and_what_has_is(tmp_path, counted, capsys):
    hand_in(tmp_path / "in" / "a", {"clip": CLIP.solution, "still": STILL.stub})
    hand_in(tmp_path / "in" / "b", {"clip": CLIP.stub})
    command = [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    grade.main(command)
    assert sorted(counted) == ["clip", "clip", "still"]
    first = (tmp_path / "out" / "long.csv").read_bytes()

    counted.clear()
    grade.main(command)
    assert counted == [] and (tmp_path / "out" / "long.csv").read_bytes() == first

    (tmp_path / "in" / "a" / STILL.file).write_text(STILL.solution, encoding="utf-8")
    grade.main(command)
    assert counted == ["still"]
    rows = {(row["student"], row["exercise"]): row for row in read_csv(tmp_path / "out/long.csv")}
    assert rows["a", "still"]["status"] == "passed" and rows["b", "clip"]["status"] == "to do"


def test_code_that_only_imports_ours_is_named_with_its_result(tmp_path, counted):
    hand_in(tmp_path / "in" / "a", {"clip": "from minisft.optim import clip_grad_norm\n"})
    grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert "takes clip_grad_norm from the project" in read_csv(tmp_path / "out/long.csv")[0]["note"]


def test_results_are_computed_again_when_the_exercises_have_changed(tmp_path, counted,
                                                                    monkeypatch):
    hand_in(tmp_path / "in" / "a", {"clip": CLIP.solution})
    command = [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    grade.main(command)
    monkeypatch.setattr(grade, "rules", lambda: "others")
    grade.main(command)
    assert counted == ["clip", "clip"]


def test_a_run_that_was_stopped_keeps_its_results_even_if_a_line_was_cut_off(
        tmp_path, counted, monkeypatch):
    for name in ("a", "b"):
        hand_in(tmp_path / "in" / name, {"clip": CLIP.solution})
    command = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    with monkeypatch.context() as patch:
        results, right = tmp_path / "out" / "results.jsonl", grade.diagnose

        def diagnose(key, found):
            if read_results(results):
                raise KeyboardInterrupt
            return right(key, found)

        patch.setattr(grade, "diagnose", diagnose)
        with pytest.raises(SystemExit, match="the same command continues"):
            grade.main(command)
    done, = read_results(results)
    with open(results, "a", encoding="utf-8") as file:
        file.write('{"student": "b", "exerc')

    counted.clear()
    grade.main(command)
    assert counted == ["clip"]
    assert read_results(results).keys() == {("a", "clip"), ("b", "clip")} >= {done}


def test_where_the_grader_itself_fails_the_others_are_graded_and_it_tries_again(
        tmp_path, counted, monkeypatch):
    hand_in(tmp_path / "in" / "a", {"clip": CLIP.solution})
    hand_in(tmp_path / "in" / "b", {"clip": CLIP.solution + "\n# odd\n"})
    right = grade.diagnose
    odd = []

    def diagnose(key, found):
        odd.append(found)
        if len(odd) == 1:
            raise IndexError("strange")
        return right(key, found)

    monkeypatch.setattr(grade, "diagnose", diagnose)
    command = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    grade.main(command)
    rows = read_csv(tmp_path / "out" / "long.csv")
    assert sorted(row["status"] for row in rows if row["exercise"] == "clip") == [
        "not graded", "passed"]
    grade.main(command)
    rows = read_csv(tmp_path / "out" / "long.csv")
    assert {row["status"] for row in rows if row["exercise"] == "clip"} == {"passed"}


def test_results_that_lie_among_the_submissions_are_refused(tmp_path, counted, capsys):
    hand_in(tmp_path / "in" / "a", {"clip": CLIP.solution})
    with pytest.raises(SystemExit):
        grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "in" / "grades")])
    assert "name a folder beside them" in capsys.readouterr().err


@pytest.mark.parametrize("copies, groups", [(True, [["clip", "still"]]),
                                            (False, [["clip"], ["still"]])])
def test_where_a_process_cannot_be_copied_each_exercise_has_a_fresh_one(copies, groups,
                                                                       monkeypatch):
    found = []
    monkeypatch.setattr(grade, "COPIES", copies)
    monkeypatch.setattr(grade, "run_apart", lambda jobs, seconds: found.append(
        [job.exercise for job in jobs]))
    grade.run({"clip": "", "still": ""}, {
        "clip": SimpleNamespace(exercise=CLIP, cases=[]),
        "still": SimpleNamespace(exercise=STILL, cases=[])})
    assert found == groups


# What is handed in


def test_folders_zips_and_files_are_read_alike(tmp_path):
    tmp_path = tmp_path / ".hidden" / "class"
    hand_in(tmp_path / "anna" / "deep" / "mine", {"clip": "a = 1\n"})
    with zipfile.ZipFile(tmp_path / "ben.zip", "w") as archive:
        archive.writestr("mine/" + CLIP.file, "a = 1\r\n")
        archive.writestr("__MACOSX/._" + CLIP.file, b"\xff")
    (tmp_path / f"carol_{CLIP.file}").write_bytes(b"\xef\xbb\xbfa = 1\n")
    (tmp_path / f"carol_{ADAMW.file}").write_text("b = 1\n")
    found = read_submissions(tmp_path, [CLIP, ADAMW])
    assert [(each.student, each.texts, each.notes) for each in found] == [
        ("anna", {"clip": "a = 1\n"}, []), ("ben", {"clip": "a = 1\n"}, []),
        ("carol", {"clip": "a = 1\n", "adamw": "b = 1\n"}, [])]


@pytest.mark.parametrize("name, student", [
    ("carol_05_clip.py", "carol"), ("carol_clip.py", "carol"), ("12345_05_clip.py", "12345"),
    ("De Vries-5_clip (2).py", "De Vries"), ("dora.py", "dora"), ("05_clip.py", "class"),
    ("clip.py", "class")])
def test_a_files_name_says_whose_it_is(tmp_path, name, student):
    (tmp_path / "class").mkdir()
    assert student_of(tmp_path / "class" / name, [CLIP, ADAMW]) == student


def test_a_file_with_another_name_counts_by_what_it_defines(tmp_path):
    hand_in(tmp_path / "anna", {})
    (tmp_path / "anna" / "homework.py").write_text(CLIP.solution)
    (tmp_path / "anna" / "helper.py").write_text("def help():\n    pass\n")
    (tmp_path / "anna" / "7_clip_old.py").write_text(ADAMW.stub)
    anna, = read_submissions(tmp_path, [CLIP, ADAMW])
    assert anna.texts == {"clip": CLIP.solution, "adamw": ADAMW.stub}
    assert anna.notes == ["helper.py: it belongs to no exercise"]


def test_what_cannot_be_read_is_noted_with_its_reason(tmp_path):
    hand_in(tmp_path / "anna", {})
    (tmp_path / "anna" / CLIP.file).write_bytes("a = 'ü'".encode("utf-16"))
    (tmp_path / "anna" / "large.py").write_bytes(b"#" * 2_000_000)
    (tmp_path / "anna" / "06_adamw.py.txt").write_text("a = 1\n")
    (tmp_path / "ben.zip").write_bytes(b"PK no archive")
    (tmp_path / "carol.pdf").write_bytes(b"")
    notes = {each.student: each.notes for each in read_submissions(tmp_path, [CLIP])}
    assert "not in UTF-8" in notes["anna"][0] and "larger than" in notes["anna"][2]
    assert notes["anna"][1] == "06_adamw.py.txt: it is no .py file or .zip"
    assert "ben.zip: it cannot be read" in notes["ben"][0]
    assert "carol.pdf: it is no folder" in notes["carol.pdf"][0]


def test_of_a_whole_project_only_the_students_own_files_count(tmp_path):
    project = tmp_path / "in" / "anna" / "minisft-main"
    hand_in(project / "lessons" / "mine", {"clip": "mine = 1\n"})
    hand_in(project / "lessons" / "exercises", {"clip": CLIP.stub, "adamw": ADAMW.stub})
    (project / "lessons" / "mine" / "progress.json").write_text("{}")
    (project / "lessons" / "check.py").write_text("")
    hand_in(project / "minisft" / "optim", {})
    (project / "minisft" / "optim" / "adamw.py").write_text(ADAMW.solution)
    with zipfile.ZipFile(tmp_path / "in" / "ben.zip", "w") as archive:
        for path in project.rglob("*.*"):
            archive.write(path, path.relative_to(project))
    for each in read_submissions(tmp_path / "in", [CLIP, ADAMW]):
        assert (each.texts, each.notes) == ({"clip": "mine = 1\n"}, []), each.student

    (project / "lessons" / "mine" / CLIP.file).unlink()
    anna, _ = read_submissions(tmp_path / "in", [CLIP, ADAMW])
    assert anna.notes == ["anna: it holds no exercise; they lie in lessons/mine"]


def test_of_two_files_for_one_exercise_the_one_with_its_proper_name_counts(tmp_path):
    hand_in(tmp_path / "anna", {"clip": CLIP.stub})
    (tmp_path / "anna" / "05_clip (1).py").write_text("first = 1\n")
    (tmp_path / "anna" / "clip.py").write_text("second = 2\n")
    anna, = read_submissions(tmp_path, [CLIP])
    assert anna.texts == {"clip": CLIP.stub} and len(anna.notes) == 2


def test_a_folder_with_nothing_in_it_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match="a .zip or a .py file for each student"):
        read_submissions(tmp_path, [CLIP])
    with pytest.raises(ValueError, match="is not a folder"):
        read_submissions(tmp_path / "nowhere", [CLIP])


# Similarity

WRITTEN = """
    zeros = torch.zeros_like(parameter)
    state = self.state.setdefault(index, {"t": 0, "m": zeros, "v": zeros})
    first, second = self.betas
    steps = state["t"] = state["t"] + 1
    for key, power, rate in (("m", 1, first), ("v", 2, second)):
        state[key] = rate * state[key] + (1 - rate) * parameter.grad.pow(power)
    ups = state["m"].div(1 - first ** steps)
    downs = state["v"].div(1 - second ** steps).sqrt() + self.eps
    parameter -= self.lr * (ups / downs + weight_decay * parameter)
"""


def with_update(body):
    """ADAMW's solution with another body of _update."""
    return written(ADAMW, {ADAMW.targets[1]: body})


def renamed(text):
    """The same code with other names, layout, comments and annotations."""
    class Rename(ast.NodeTransformer):
        names = {"zeros": "nothing", "state": "memory", "first": "b1", "second": "b2",
                 "steps": "n", "key": "which", "power": "p", "rate": "r", "ups": "x", "downs": "y"}

        def visit_Name(self, node):
            return ast.Name(self.names.get(node.id, node.id), node.ctx)

    text = ast.unparse(Rename().visit(ast.parse(text)))
    return text.replace("        x = ", "        # my own\n        x: object = \\\n            ")


def pair_of(texts):
    pair, = similarity.compare(ADAMW, texts)
    return pair


def test_other_names_comments_and_layout_do_not_hide_a_copy():
    pair = pair_of({"a": with_update(WRITTEN), "b": renamed(with_update(WRITTEN))})
    assert pair.similarity == pair.rest == 1.0
    assert pair.is_worth_a_look and pair.runs > similarity.LEAST


def test_two_who_write_what_we_write_have_no_rest_that_says_anything():
    pair = pair_of({"a": ADAMW.solution, "b": ADAMW.mistaken(ADAMW.mistakes[8])})
    assert pair.similarity > 0.8 and pair.to_ours[0] == 1.0
    assert pair.rest is None and not pair.is_worth_a_look


def test_different_ways_to_write_it_are_not_alike():
    names = [variant.name for variant in ADAMW.variants]
    texts = {name: ADAMW.variant(name) for name in names} | {"own": with_update(WRITTEN)}
    assert max(pair.similarity for pair in similarity.compare(ADAMW, texts)) < 0.6


def test_the_stubs_own_text_does_not_count():
    tokens = similarity.own_tokens(ADAMW.solution, ADAMW.stub)
    assert "load_state_dict" not in tokens and "lerp_" in tokens
    assert similarity.own_tokens(ADAMW.stub, ADAMW.stub) == []


def test_what_more_than_half_of_the_class_has_written_says_nothing():
    copies = {str(i): with_update(WRITTEN) for i in range(4)}
    others = {variant.name: ADAMW.variant(variant.name) for variant in ADAMW.variants}
    pairs = similarity.compare(ADAMW, copies | others)
    assert {pair.rest for pair in pairs if set(pair.students) <= copies.keys()} == {None}
    pairs = similarity.compare(ADAMW, dict(list(copies.items())[:2]) | others)
    assert [pair.rest for pair in pairs if set(pair.students) <= copies.keys()] == [1.0]


def test_similarity_is_dices_coefficient_of_counted_runs():
    a, b = similarity.Counter("aaab"), similarity.Counter("aabcc")
    assert similarity.dice(a, b) == 2 * 3 / 9
    assert similarity.dice(similarity.Counter(), similarity.Counter()) == 0


@pytest.mark.parametrize("text, names", [
    ("from minisft.optim.clip import clip_grad_norm as mine", ["clip_grad_norm"]),
    ("from minisft.optim import clip_grad_norm", ["clip_grad_norm"]),
    ("def f():\n    import minisft.optim.clip as c", ["minisft.optim.clip"]),
    ("from minisft.optim import clip", ["minisft.optim.clip"]),
    ("from minisft.optim.adamw import pieces\nimport torch\nfrom . import clip_grad_norm", []),
    ("def f(:", [])])
def test_who_imports_what_was_to_be_written_is_named(text, names):
    assert similarity.borrowed(CLIP, text) == names


@pytest.mark.parametrize("name", ORDER)
def test_our_own_texts_import_nothing_that_was_to_be_written(name):
    chosen = exercise(name)
    for text in (chosen.solution, chosen.stub, *(chosen.variant(each.name)
                                                 for each in chosen.variants)):
        assert similarity.borrowed(chosen, text) == []


def test_a_text_that_python_cannot_read_is_not_compared():
    assert similarity.compare(CLIP, {"a": "def f(:\n", "b": CLIP.solution}) == []


# What code that is tried may not do


@pytest.mark.parametrize("event, arguments", [
    ("os.fork", ()), ("subprocess.Popen", ("ls", ["ls"], None, None)), ("os.kill", (1, 9)),
    ("os.remove", ("/elsewhere/x", -1)), ("os.rename", ("inside/../../x", "y", -1, -1)),
    ("os.rename", ("x", "/elsewhere/y", -1, -1)), ("os.mkdir", ("/elsewhere/x", 511, -1)),
    ("open", ("/elsewhere/x", "w", 1)), ("open", (b"/elsewhere/x", "a", 1024 | 1))])
def test_processes_and_files_outside_of_the_folder_are_refused(event, arguments, tmp_path,
                                                              monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PermissionError):
        watch(event, arguments, str(tmp_path.resolve()))


@pytest.mark.parametrize("event, arguments", [
    ("open", ("/elsewhere/x", "r", 0)), ("open", ("notes.txt", "w", 1)), ("open", (1, "w", 1)),
    ("open", (os.devnull, "w", 1)),
    ("os.remove", ("notes.txt", -1)), ("os.rename", ("a", "b", -1, -1)),
    ("import", ("x", None, None, None, None))])
def test_reading_and_files_in_the_folder_are_allowed(event, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch(event, arguments, str(tmp_path.resolve()))
