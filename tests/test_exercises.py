"""Exercises: stubs come from the reference, right ways pass, each known mistake is told by name."""

import ast
import json
import random
import sys
import threading
import time
import types

import pytest
import torch

import lessons.check as check
from lessons.checking import diagnose as diagnosing
from lessons.checking.diagnose import AnswerKey, diagnose, packed_cases
from lessons.checking.exercise import (
    ORDER,
    STUBS,
    Mistake,
    exercise,
    installed,
    load,
    steady,
    use_mine,
)
from lessons.checking.trial import difference, outcomes, pack, unpack
from lessons.checking.worker import Job, run_apart
from minisft.model import GPT, GPTConfig
from minisft.shipped import ROOT
from tests.exercises_gate import examine

EXERCISES = [exercise(name) for name in ORDER]


def verdict_on(name, text, seed=0):
    """What is said of some code, run in this process."""
    chosen = exercise(name)
    cases = packed_cases(chosen, random.Random(seed))
    return diagnose(AnswerKey(chosen, cases), list(outcomes(chosen, text, "mine.py", cases)))


def apart(name, *texts, seconds=60):
    """The verdicts on these codes, run by one worker after the other where they need it."""
    chosen = exercise(name)
    cases = packed_cases(chosen, random.Random(0))
    jobs = [Job(name, text, "mine.py", cases) for text in texts]
    run_apart(jobs, seconds)
    key = AnswerKey(chosen, cases)
    return [diagnose(key, job.outcomes) for job in jobs], jobs


# The exercises themselves


@pytest.mark.parametrize("chosen", EXERCISES, ids=ORDER)
def test_the_stub_is_cut_out_of_the_reference_byte_for_byte(chosen):
    assert (STUBS / chosen.file).read_bytes() == chosen.stub.encode(), (
        "the reference has changed: python -m tests.exercises_gate --stubs")


def test_there_is_no_stub_without_an_exercise():
    assert sorted(path.name for path in STUBS.glob("[0-9]*")) == [each.file for each in EXERCISES]


def test_there_are_seventeen_exercises_with_ninety_mistakes_and_three_other_ways_each():
    assert len(EXERCISES) >= 17
    assert sum(len(each.mistakes) for each in EXERCISES) >= 90
    for each in EXERCISES:
        names = [mistake.name for mistake in each.mistakes]
        assert len(each.variants) >= 3 and len(names) == len(set(names)), each.name
        assert set(each.after) <= set(ORDER[:each.number - 1]), each.name


@pytest.mark.parametrize("chosen", EXERCISES, ids=ORDER)
def test_a_stub_holds_nothing_of_the_bodies_that_are_to_be_written(chosen):
    def bodies(text):
        """{path: the statements of a target without its docstring}"""
        found = {}
        for target in chosen.targets:
            path = target.split(":")[1].split(".")
            node = ast.parse(text)
            for name in path:
                node = next(each for each in node.body if getattr(each, "name", None) == name)
            start = int(ast.get_docstring(node) is not None)
            found[target] = [ast.unparse(each) for each in node.body[start:]]
        return found

    assert set(map(tuple, bodies(chosen.stub).values())) == {("raise NotImplementedError",)}
    assert all(body != ["raise NotImplementedError"] for body in bodies(chosen.solution).values())


@pytest.mark.parametrize("chosen", EXERCISES, ids=ORDER)
def test_the_solution_is_the_reference(chosen):
    for target in chosen.targets:
        module, name = target.split(":")
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        node = next(each for each in ast.parse(source).body
                    if getattr(each, "name", None) == name.split(".")[0])
        assert ast.get_source_segment(source, node) in chosen.solution


def test_every_mistake_has_its_hint_every_right_way_passes_and_ignorant_answers_fail():
    complaints, kills = examine(ORDER, seed=0)
    assert not complaints, "\n".join(complaints)
    assert len(kills) == sum(len(each.mistakes) for each in EXERCISES)


# What is told


SYMPTOMS = [
    ("lora", "return h + self.scale * F.linear(Ax, self.B)",
     "return 3 * (h + self.scale * F.linear(Ax, self.B))", "factor"),
    ("lora", "return h + self.scale * F.linear(Ax, self.B)",
     "return -(h + self.scale * F.linear(Ax, self.B))", "sign"),
    ("lora", "return h + self.scale * F.linear(Ax, self.B)",
     "return (h + self.scale * F.linear(Ax, self.B)) * float('nan')", "nan"),
    ("lora", "return h + self.scale * F.linear(Ax, self.B)",
     "h = h + self.scale * F.linear(Ax, self.B)\n        return h.permute(*range(h.dim())[::-1])",
     "transposed shape"),
    ("lora", "return h + self.scale * F.linear(Ax, self.B)", "h.add_(1)", "exception"),
    ("attention", "return dropout(self.c_proj(y), self.dropout, self.training)", "return x",
     "copied input"),
    ("attention", "return dropout(self.c_proj(y), self.dropout, self.training)",
     "return 0 * self.c_proj(y)", "zero"),
    ("attention", "return dropout(self.c_proj(y), self.dropout, self.training)", "return None",
     "returns nothing"),
    ("attention", "B, T, C = x.shape", "B, T, C = x.shape\n        x += 0.5", "changes inputs"),
    ("schedule", "return peak\n", "return 'peak'\n", "exception"),
]


@pytest.mark.parametrize("name, old, new, symptom", SYMPTOMS)
def test_a_mistake_that_nobody_foresaw_is_told_by_its_symptom(name, old, new, symptom):
    text = exercise(name).solution
    assert text.count(old) == 1
    verdict = verdict_on(name, text.replace(old, new))
    assert verdict.status == "failed" and verdict.case is not None
    assert verdict.hint == symptom and verdict.cause


def test_two_mistakes_at_once_are_not_called_by_the_name_of_one():
    chosen = exercise("adamw")
    both = [next(each for each in chosen.mistakes if each.name == name)
            for name in ("no eps", "betas swapped")]
    text = chosen.solution
    for mistake in both:
        for old, new in mistake.patches:
            text = text.replace(old, new)
    verdict = verdict_on("adamw", text)
    assert verdict.status == "failed" and verdict.hint == "" and verdict.where


def test_the_counterexample_is_the_smallest_case_that_fails():
    chosen = exercise("adamw")
    text = chosen.solution.replace("if theta.grad is not None:", "if True:")
    verdict = verdict_on("adamw", text)
    cases = packed_cases(chosen, random.Random(0))
    with_gaps = [case for case in cases if "None" in str(case["grads"])]
    assert verdict.hint == "grad None" and verdict.case == with_gaps[0]


def test_an_error_of_one_part_in_ten_thousand_is_told_and_one_in_a_billion_is_not():
    a = {"tensor": "float64", "shape": [2], "numbers": [3.0, -1e-3]}
    for factor, told in ((1 + 1e-4, True), (1 + 1e-5, True), (1 + 1e-9, False)):
        b = a | {"numbers": [3.0, -1e-3 * factor]}
        assert (difference(a, b) is not None) == told
    assert difference(a, a | {"numbers": [0.0, 0.0]}) == ("[0]", 3.0, 0.0)
    assert difference(a, a | {"shape": [1, 2]}) == (" shape", (2,), (1, 2))
    assert difference([1, 2], [1.0, 2.5]) == ("[1]", 2, 2.5)
    assert difference(True, 1) == (" type", "bool", "a number")
    assert difference([0.0, None], [1e-12, None]) == ("[0]", 0.0, 1e-12)


def test_what_goes_through_json_comes_out_equal():
    value = {"a": [torch.tensor([[1.5, float("inf")]]), torch.zeros(0, 3), True, None],
             "b": {"c": torch.tensor(7), "d": "text", "e": torch.tensor([True, False])}}
    again = unpack(json.loads(json.dumps(pack(value))))
    assert torch.equal(again["a"][0], value["a"][0]) and again["a"][1].shape == (0, 3)
    assert again["a"][2:] == [True, None] and again["b"]["d"] == "text"
    assert again["b"]["c"].dtype == torch.int64 and again["b"]["e"].dtype == torch.bool
    assert pack(types) == {"other": "module"}
    with pytest.raises(ValueError, match="far larger"):
        pack(torch.zeros(1000, 1000))


# A process of its own


BAD = {
    "never ends": ("while True:\n    pass\n", "too slow"),
    "exits": ("import sys\nsys.exit(3)\n", "exception"),
    "ends the process": ("import os\nos._exit(3)\n", "died"),
    "prints without end": ("while True:\n    print('a' * 1000)\n", "prints"),
    "does not compile": ("def clip_grad_norm(:\n", "exception"),
    "imports what is not there": ("import not_there\n", "exception"),
    "lacks the function": ("x = 1\n", "exception"),
    "takes all memory": ("a = bytearray(2 ** 50)\n", "memory"),
    "changes the reference": (
        "import minisft.optim.clip\n"
        "minisft.optim.clip.clip_grad_norm = clip_grad_norm = lambda p, c: 0.0\n", ""),
    "empties its folder": (
        "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\n"
        "clip_grad_norm = None\n", "exception"),
}


def test_code_that_hangs_dies_prints_or_spoils_is_named_and_what_follows_is_checked():
    solution = exercise("clip").solution
    texts = [each for text, _ in BAD.values() for each in (text, solution)]
    verdicts, jobs = apart("clip", *texts, seconds=5)
    for i, (what, (_, hint)) in enumerate(BAD.items()):
        assert verdicts[2 * i].status == "failed", what
        assert not hint or verdicts[2 * i].hint == hint, (what, verdicts[2 * i])
        assert verdicts[2 * i + 1].status == "passed", what
    assert len(jobs[6].printed) <= 2000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot copy a process")
def test_code_cannot_make_a_copy_of_its_process_which_would_answer_twice():
    text = "import os\nos.fork()\n" + exercise("clip").solution
    verdicts, jobs = apart("clip", text)
    assert verdicts[0].hint == "forbidden" and len(jobs[0].outcomes) == len(jobs[0].cases)


def test_a_traceback_names_the_line_of_the_learner_and_nothing_of_the_reference():
    text = exercise("lora").solution.replace("h = self.base(x)", "h = self.base(x) + [][0]")
    (verdict,), _ = apart("lora", text)
    line = next(i for i, each in enumerate(text.splitlines(), 1) if "[][0]" in each)
    assert (verdict.hint, verdict.line) == ("exception", line)
    assert verdict.got == "IndexError: list index out of range"


# In place of the reference


def tiny():
    return GPT(GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=1, n_embd=4))


def test_the_learners_code_stands_in_the_references_place_everywhere_and_only_meanwhile():
    import minisft.peft.inject
    import minisft.train
    from minisft.peft.lora import LoRALinear

    chosen = exercise("lora")
    code = load(chosen.solution, "mine.py")
    with installed(code, chosen):
        assert minisft.peft.lora.LoRALinear is minisft.peft.inject.LoRALinear is code.LoRALinear
        model = minisft.peft.add_peft(tiny(), minisft.peft.LoRAConfig())
        assert isinstance(model.h[0].mlp.c_fc, code.LoRALinear)
        assert isinstance(minisft.peft.remove_peft(model).h[0].mlp.c_fc, torch.nn.Linear)
    assert minisft.peft.lora.LoRALinear is minisft.peft.inject.LoRALinear is LoRALinear


def test_what_inherits_from_a_replaced_class_uses_the_new_one():
    from minisft.peft.prompt import Prompt
    from minisft.peft.virtual import Virtual

    chosen = exercise("prefix")
    code = load(chosen.solution.replace("return self.base.head(x)", "return x * 0"), "mine.py")
    prompt = Prompt(tiny(), torch.zeros(1, 4))
    with installed(code, chosen):
        assert isinstance(prompt, code.Virtual) and not prompt(torch.tensor([[1]])).any()
    assert isinstance(prompt, Virtual) and prompt(torch.tensor([[1]])).any()


def test_training_with_ones_own_code_gives_the_same_model_and_a_mistake_shows(tmp_path):
    from minisft.conversation import Rendered
    from minisft.train import tune

    def trained():
        torch.manual_seed(0)
        model = tiny()
        tune(model, [Rendered([1, 2, 3], [0, 1, 1]), Rendered([4, 5], [0, 1])], 3)
        return model.wte.weight.detach().clone()

    reference = trained()
    for name in ("adamw", "clip", "loss", "accumulate", "still"):
        (tmp_path / exercise(name).file).write_text(exercise(name).solution, encoding="utf-8")
    with use_mine("adamw,clip,loss,accumulate,still", tmp_path):
        assert torch.equal(trained(), reference)
    mistake = exercise("adamw").mistakes[1]
    (tmp_path / exercise("adamw").file).write_text(exercise("adamw").mistaken(mistake),
                                                   encoding="utf-8")
    with use_mine("adamw", tmp_path):
        assert not torch.equal(trained(), reference)
    assert torch.equal(trained(), reference)


@pytest.mark.parametrize("place", range(3))
def test_other_right_ways_all_together_train_and_answer_as_the_reference(place, tmp_path):
    from minisft import generate, train
    from minisft.conversation import Rendered
    from minisft.peft import PrefixConfig, add_peft

    def answers():
        torch.manual_seed(0)
        model = add_peft(GPT(GPTConfig(vocab_size=7, block_size=12, n_layer=2, n_head=2,
                                       n_embd=8)).double(), PrefixConfig(P=3))
        records = train.tune(model, [Rendered([1, 2, 3], [0, 1, 1]), Rendered([4, 5], [0, 1])], 4,
                             method="prefix", pack=True)
        return [record.loss for record in records], generate.generate(
            model, [[1], [2, 3, 4]], 4, stop=(6,))

    expected = answers()
    for each in EXERCISES:
        (tmp_path / each.file).write_text(each.variant(each.variants[place].name), encoding="utf-8")
    with use_mine(",".join(ORDER), tmp_path):
        losses, generated = answers()
    assert losses == pytest.approx(expected[0], rel=1e-6) and generated == expected[1]


def test_an_exercise_that_is_not_there_or_not_started_is_named(tmp_path):
    with pytest.raises(ValueError, match="no exercise 'mine'; there are 1 borders"):
        with use_mine("mine", tmp_path):
            pass
    with pytest.raises(ValueError, match="13_lora.py is not there; start it with"):
        with use_mine("lora", tmp_path):
            pass


# The command


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "MINE", tmp_path / "mine")
    monkeypatch.setattr(check, "PROGRESS", tmp_path / "mine" / "progress.json")
    return tmp_path / "mine"


def test_a_learner_starts_fails_is_told_why_and_passes(mine, capsys):
    chosen = exercise("clip")
    check.main(["clip"])
    assert (mine / chosen.file).read_text(encoding="utf-8") == chosen.stub
    check.main(["clip"])
    assert "A body is still to be written." in capsys.readouterr().out

    (mine / chosen.file).write_text(chosen.mistaken(chosen.mistakes[0]), encoding="utf-8")
    with pytest.raises(SystemExit):
        check.main([str(chosen.number)])
    said = capsys.readouterr().out
    for part in ("not yet", "Each gradient is clipped by its own norm", "call", "max_norm = ",
                 "expected", "got", "read", "--hint"):
        assert part in said
    check.main([])
    assert "not yet" in capsys.readouterr().out

    (mine / chosen.file).write_text(chosen.solution, encoding="utf-8")
    check.main([])
    assert "changed since its check" in capsys.readouterr().out
    check.main(["all"])
    assert "A model of 150 tensors makes 300 calls" in capsys.readouterr().out
    check.main([])
    said = capsys.readouterr().out
    assert "1 of 17 exercises are done" in said and "--use-mine clip" in said


def test_hints_come_one_by_one_and_reset_keeps_the_old_file(mine, capsys):
    chosen = exercise("clip")
    check.main(["clip"])
    path = mine / chosen.file
    path.write_text(path.read_text(encoding="utf-8") + "\n# my own words\n", encoding="utf-8")
    capsys.readouterr()
    expected = [chosen.question, "root of the sum of the squares", "-# my own words",
                chosen.solution, chosen.solution]
    for part in expected:
        check.main(["clip", "--hint"])
        assert part in capsys.readouterr().out
    check.main(["clip", "--reset"])
    assert path.read_text(encoding="utf-8") == chosen.stub
    assert "# my own words" in path.with_suffix(".1.old").read_text(encoding="utf-8")
    check.main(["clip", "--hint"])
    assert chosen.question in capsys.readouterr().out


def test_watching_checks_once_for_each_time_that_the_file_is_saved(mine, monkeypatch):
    chosen, checked = exercise("clip"), []
    check.main(["clip"])
    saves = iter([None, "one", None, "two", None])

    def sleep(seconds):
        text = next(saves, KeyboardInterrupt)
        if text is KeyboardInterrupt:
            raise KeyboardInterrupt
        if text:
            (mine / chosen.file).write_text(chosen.stub + f"# {text}\n", encoding="utf-8")

    monkeypatch.setattr(check.time, "sleep", sleep)
    monkeypatch.setattr(check, "check", lambda exercises: checked.append(
        (mine / chosen.file).read_text(encoding="utf-8").count("# ")))
    with pytest.raises(SystemExit):
        check.main(["clip", "--watch"])
    assert len(checked) == 3


def test_a_file_in_another_encoding_is_named_and_a_mark_in_front_does_no_harm(mine, capsys):
    chosen = exercise("clip")
    text = chosen.solution + "# \N{CJK UNIFIED IDEOGRAPH-6211}\r\n"
    mine.mkdir()
    (mine / chosen.file).write_bytes(text.encode("gbk"))
    line = text.count("\n")
    with pytest.raises(SystemExit, match=f"05_clip.py, line {line}: this is not UTF-8"):
        check.main(["clip"])
    check.main([])
    assert "not in UTF-8" in capsys.readouterr().out

    (mine / chosen.file).write_bytes(b"\xef\xbb\xbf" + text.encode())
    check.main(["clip"])
    check.main([])
    assert "1 of 17 exercises are done" in capsys.readouterr().out
    with use_mine("clip", mine):
        pass


def test_code_that_cannot_be_loaded_does_not_train_and_is_named(tmp_path):
    (tmp_path / exercise("clip").file).write_text("def f(:\n", encoding="utf-8")
    with pytest.raises(ValueError, match="05_clip.py cannot be loaded .SyntaxError"):
        with use_mine("clip", tmp_path):
            pass


def test_of_several_exercises_the_new_ones_begin_and_the_others_are_checked(mine, capsys):
    check.main(["all"])
    assert "No exercise has been started" in capsys.readouterr().out
    check.main(["clip"])
    check.main(["mask", "clip"])
    said = capsys.readouterr().out
    assert "Exercise 2, The loss mask" in said and "== 5 clip: to do" in said


@pytest.mark.parametrize("chosen", EXERCISES, ids=ORDER)
def test_what_gives_the_answer_away_is_named_last(chosen):
    before, after = chosen.where_to_read.split("; afterwards: ")
    for target in chosen.targets:
        path = target.split(":")[0].replace(".", "/") + ".py"
        assert path not in before and path in after and (ROOT / path).is_file()


def test_flags_that_do_not_go_together_are_refused(mine, capsys):
    for wrong in (["--hint"], ["all", "--hint"], ["clip", "--hint", "--reset"],
                  ["clip", "lora", "--watch"]):
        with pytest.raises(SystemExit):
            check.main(wrong)
        assert "--watch, --hint and --reset" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no exercise '99'"):
        check.main(["99"])


def test_a_patch_that_does_not_fit_the_reference_any_more_is_an_error():
    with pytest.raises(ValueError, match="stands 0 times"):
        exercise("clip").mistaken(Mistake("old", "", ("not there", "")))


def test_symptoms_of_arrangement():
    def numbers(*values, shape):
        return {"tensor": "float64", "shape": list(shape), "numbers": list(values)}

    def symptom(a, b):
        return diagnosing.value_symptom({}, a, b, "y")[0]

    a = numbers(1.0, 2.0, 3.5, 4.0, 5.0, 7.0, 8.0, 9.0, 11.0, shape=(3, 3))
    assert symptom(a, numbers(1.0, 4.0, 8.0, 2.0, 5.0, 9.0, 3.5, 7.0, 11.0, shape=(3, 3))
                   ) == "transposed"
    line = numbers(1.0, 2.0, 3.5, 4.0, shape=(4,))
    assert symptom(line, numbers(0.0, 1.0, 2.0, 3.5, shape=(4,))) == "shifted"
    assert symptom(line, numbers(2.0, 3.5, 4.0, 0.0, shape=(4,))) == "shifted"
    assert symptom(line, numbers(1.0, 2.0, 3.5, 5.0, shape=(4,))) == ""


def test_two_threads_that_check_code_leave_torchs_dtype_as_it_was():
    inside, over = threading.Event(), threading.Event()

    def first():
        with steady():
            inside.set()
            time.sleep(0.1)
        over.set()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with steady():
        over.wait(10)
        assert torch.get_default_dtype() == torch.float64
    thread.join()
    assert torch.get_default_dtype() == torch.float32
