"""`python -m minisft.train`: its details on a small model, and what the shipped base learns."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minisft import evaluate, train
from minisft.batching import prepare
from minisft.checkpoint import load_model, save_model
from minisft.conversation import Conversation, render
from minisft.evaluate import answer_all, split_shares
from minisft.model import GPT, GPTConfig
from minisft.records import parse_row, read_records
from minisft.run import read_log
from minisft.shipped import CONVERSATIONS, ROOT, TEST_FILES, TEST_SPLITS, TRAIN_FILES
from minisft.tokenizer import Tokenizer
from minisft.train import tune

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
USER, ASSISTANT = {"role": "user", "content": "c?"}, {"role": "assistant", "content": "c"}
HUMAN, BOT = {"from": "human", "value": "b?"}, {"from": "gpt", "value": "b"}
ROWS = {
    "alpaca.json": json.dumps([{"instruction": "Say a", "input": "", "output": "a"}] * 3),
    "sharegpt.jsonl": json.dumps({"conversations": [HUMAN, BOT]}),
    "messages.jsonl": json.dumps({"messages": [USER, ASSISTANT]}),
    "pairs.jsonl": json.dumps({"prompt": "d?", "completion": "d"}),
    "text.jsonl": json.dumps({"text": "e is a letter. " * 20}),
}


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "base.pt", GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16)), TOKENIZER)
    return str(tmp_path / "base.pt")


def write(folder, rows):
    """Write {name: content} into a folder; returns the paths."""
    for name, content in rows.items():
        (folder / name).write_text(content + "\n", encoding="utf-8")
    return [str(folder / name) for name in rows]


def numbered_rows(n):
    """n rows of prompt and completion: "7?" is answered with "7"."""
    return "\n".join(json.dumps({"prompt": f"{i}?", "completion": f"{i}"}) for i in range(n))


def run(base, folder, files, *flags):
    """Train three steps; returns the run folder."""
    train.main(["--base", base, "--out", str(folder / "run"), "--device", "cpu", "--steps", "3",
                *flags, "--data", *files])
    return folder / "run"


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_every_format_trains_in_one_run(base, tmp_path, capsys):
    files = write(tmp_path, ROWS)
    folder = run(base, tmp_path, files, "--eval", files[2])
    shown = capsys.readouterr().out
    assert "exact match" in shown and "before" in shown and "after" in shown
    assert {path.name for path in folder.iterdir()} == {
        "model.pt", "state.pt", "log.jsonl", "training.png", "report.md", "results.json"}
    log = read_log(folder)
    assert [row["step"] for row in log] == [1, 2, 3] and all(row["targets"] > 0 for row in log)
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "training.png" in report and "c?" in report


def test_a_learners_own_code_trains_where_use_mine_names_it(base, tmp_path, monkeypatch, capsys):
    from lessons.checking import exercise as exercises

    clip = exercises.exercise("clip")
    monkeypatch.setattr(exercises, "MINE", tmp_path)
    (tmp_path / clip.file).write_text(
        clip.solution.replace("    return norm\n", "    print('mine')\n    return norm\n"), "utf-8")
    files = write(tmp_path, ROWS)
    plain, _ = load_model(run(base, tmp_path / "a", files))
    assert "mine" not in capsys.readouterr().out
    own, _ = load_model(run(base, tmp_path / "b", files, "--use-mine", "clip"))
    assert capsys.readouterr().out.count("mine\n") == 3
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), own.parameters()))
    with pytest.raises(SystemExit, match="is not there; start it with"):
        run(base, tmp_path / "c", files, "--use-mine", "clip,lora")


def test_the_base_file_stays_the_same_and_the_model_is_changed(base, tmp_path):
    original, before = Path(base).read_bytes(), load_model(base)[0]
    folder = run(base, tmp_path, write(tmp_path, ROWS))
    assert Path(base).read_bytes() == original
    after, tokenizer = load_model(folder)
    assert tokenizer.to_dict() == TOKENIZER.to_dict()
    assert any(not torch.equal(p, q) for p, q in zip(before.parameters(), after.parameters()))


def test_some_of_your_own_rows_are_held_out_to_evaluate_on(base, tmp_path, capsys):
    folder = run(base, tmp_path, write(tmp_path, {"own.jsonl": numbered_rows(100)}))
    shown = capsys.readouterr().out
    assert "held 5 of 100 rows out" in shown and "95 examples" in shown
    assert "held_out" in shown
    split, _, _, n = results_of(folder)["after"]["counts"][0]
    assert (split, n) == ("held_out", 5)


@pytest.mark.parametrize("flags", [
    ["--pack"], ["--accumulate", "4"], ["--pack", "--accumulate", "3"]])
def test_packing_and_accumulating_change_nothing_but_rounding(base, tmp_path, flags):
    files = write(tmp_path, ROWS)
    plain, _ = load_model(run(base, tmp_path / "a", files))
    other, _ = load_model(run(base, tmp_path / "b", files, *flags))
    for p, q in zip(plain.parameters(), other.parameters()):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=0)


def test_bfloat16_trains_on_a_cpu(base, tmp_path):
    folder = run(base, tmp_path, write(tmp_path, ROWS), "--dtype", "bfloat16")
    assert load_model(folder)[0].wte.weight.dtype == torch.float32


@pytest.mark.parametrize("flags, message", [
    (["--base", "nowhere.pt"], "nowhere.pt does not exist"),
    (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    (["--device", "cuda:99"], "try --device cpu"),
])
def test_a_missing_file_folder_or_device_is_named(base, tmp_path, flags, message):
    files = write(tmp_path, ROWS)
    usual = ["--base", base, "--out", str(tmp_path / "run"), "--steps", "1", "--data", *files]
    with pytest.raises(SystemExit, match=re.escape(message)):
        train.main([*usual, *flags])


def test_a_bad_row_stops_before_training_or_is_skipped_and_counted(base, tmp_path, capsys):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": "a?", "completion": "a"}\n{"prompt": "b?"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"bad\.jsonl:2: "):
        run(base, tmp_path, [str(file)])
    assert not (tmp_path / "run").exists()
    run(base, tmp_path, [str(file)], "--skip-bad")
    assert "1 bad rows skipped" in capsys.readouterr().out


def conversation_row(*texts):
    """A row of messages, in turn by the user and by the assistant."""
    roles = itertools.cycle(("user", "assistant"))
    return json.dumps({"messages": [
        {"role": role, "content": text} for role, text in zip(roles, texts)]})


def test_conversations_that_do_not_fit_the_context_are_counted(base, tmp_path, capsys):
    first_turn_fits = conversation_row("u" * 20, "a" * 10, "u" * 20, "a" * 30)
    nothing_fits = conversation_row("u" * 80, "a")
    rows = "\n".join([first_turn_fits, nothing_fits, conversation_row("u", "a")])
    run(base, tmp_path, write(tmp_path, {"long.jsonl": rows}))
    shown = capsys.readouterr().out
    assert "1 conversations are longer than the context" in shown and "long.jsonl:1" in shown
    assert "1 conversations are left out" in shown and "long.jsonl:2" in shown
    with pytest.raises(SystemExit, match="nothing is left to train on"):
        run(base, tmp_path / "again", write(tmp_path, {"long.jsonl": nothing_fits}))


def test_a_part_of_the_shipped_data_is_evaluated_on_the_shipped_tests():
    trained, evaluated = train.load_data(train.TrainConfig(data=(CONVERSATIONS,)))
    assert len(trained) > 10_000, "none is held out"
    assert {record.split for record in evaluated} == set(TEST_SPLITS)


def test_steps_and_epochs_together_are_refused(capsys):
    with pytest.raises(SystemExit):
        train.main(["--steps", "3", "--epochs", "1"])
    assert "give one of them" in capsys.readouterr().err


@pytest.mark.parametrize("rows, epochs, steps", [(10, 3, 3), (33, 3, 6), (64, 2, 4), (64, 0.5, 1)])
def test_an_epoch_is_a_whole_pass_over_the_rows(base, tmp_path, capsys, rows, epochs, steps):
    file, = write(tmp_path, {"own.jsonl": numbered_rows(rows)})
    train.main(["--base", base, "--out", str(tmp_path / "run"), "--epochs", str(epochs),
                "--data", file, "--eval", file, "--device", "cpu"])
    log = read_log(tmp_path / "run")
    assert len(log) == steps
    assert f"{rows} examples, {steps} steps" in capsys.readouterr().out
    if epochs >= 1:
        targets_of_an_epoch = sum(len(f"{n}") + 1 for n in range(rows))
        assert sum(row["targets"] for row in log) == epochs * targets_of_an_epoch


def test_the_report_holds_answers_of_several_lines(base, tmp_path):
    asked = {"prompt": "a|b\nc", "completion": "first\nsecond | third"}
    file, = write(tmp_path, {"eval.jsonl": json.dumps(asked)})
    folder = run(base, tmp_path, [file], "--eval", file)
    report = (folder / "report.md").read_text(encoding="utf-8")
    row, = [line for line in report.splitlines() if "first" in line]
    assert row.startswith("| a\\|b / c | first / second \\| third | ")
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


def test_texts_are_evaluated_by_their_loss_alone(base, tmp_path, capsys):
    file, = write(tmp_path, {"text.jsonl": ROWS["text.jsonl"]})
    folder = run(base, tmp_path, [file], "--eval", file)
    shown, after = capsys.readouterr().out, results_of(folder)["after"]
    assert "exact match" not in shown
    assert re.search(r"^all +\d+\.\d{3} -> \d+\.\d{3}$", shown, re.MULTILINE)
    assert after["counts"] == [] and after["loss"]["all"] > 1


def test_bad_rows_to_evaluate_on_are_counted(base, tmp_path, capsys):
    row = ROWS["pairs.jsonl"]
    good, bad = write(tmp_path, {"good.jsonl": row, "bad.jsonl": row + '\n{"x": 1}'})
    run(base, tmp_path, [good], "--eval", bad, "--skip-bad")
    assert "1 bad rows skipped" in capsys.readouterr().out


@pytest.mark.parametrize("changed", [
    ROWS["sharegpt.jsonl"], ROWS["messages.jsonl"][:-1] + ', "task": "new"}',
    ROWS["messages.jsonl"][:-1] + ', "split": "new"}',
    ROWS["messages.jsonl"][:-1] + ', "also": ["new"]}',
    ROWS["messages.jsonl"][:-1] + ', "choices": ["c", "new"]}',
    ROWS["messages.jsonl"][:-1] + ', "every_turn": true}'])
def test_a_run_whose_evaluation_rows_have_changed_is_not_resumed(base, tmp_path, changed):
    data, asked = write(
        tmp_path, {"data.jsonl": ROWS["pairs.jsonl"], "asked.jsonl": ROWS["messages.jsonl"]})
    folder = run(base, tmp_path, [data], "--eval", asked)
    (folder / "model.pt").unlink()
    write(tmp_path, {"asked.jsonl": changed})
    message = "base, tokenizer or data differ from those that the run in"
    with pytest.raises(SystemExit, match=message):
        train.main(["--resume", "--out", str(folder), "--device", "cpu"])


def test_a_file_is_refused_as_a_run_folder(base, tmp_path):
    data, = write(tmp_path, {"data.jsonl": ROWS["pairs.jsonl"]})
    with pytest.raises(SystemExit, match="is a file; name a folder"):
        train.main(["--base", base, "--out", data, "--data", data, "--device", "cpu"])


def test_runs_without_a_given_folder_are_numbered(base, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "RUNS", tmp_path / "checkpoints")
    files = write(tmp_path, ROWS)
    for number in (1, 2):
        train.main(["--base", base, "--steps", "1", "--data", *files, "--device", "cpu"])
        assert (tmp_path / "checkpoints" / f"run-{number}" / "model.pt").exists()


def test_tuning_is_the_same_every_time_and_follows_the_seed(base):
    conversations = [
        Conversation.from_messages([USER, {"role": "assistant", "content": "y" * n}])
        for n in range(1, 40)]
    examples = [render(conversation, TOKENIZER) for conversation in conversations]

    def losses(seed):
        model, _ = load_model(base)
        return [record.loss for record in tune(model, examples, 4, batch_size=4, seed=seed)]

    assert losses(0) == losses(0) != losses(1)


def test_each_setting_reaches_what_it_is_for(base):
    model, _ = load_model(base)
    examples = [render(Conversation.from_messages([USER, ASSISTANT]), TOKENIZER)] * 12
    config = train.TrainConfig(steps=40, batch_size=6, accumulate=3, lr=0.25, weight_decay=0.5,
                               pack=True, dtype="bfloat16")
    training = train.training_of(model, examples, 40, config)
    assert [training.lr_at(step) for step in (0, 1, 2)] == [0.125, 0.25, 0.25]
    assert [group["weight_decay"] for group in training.optimizer.groups] == [0.5, 0.0]
    step = next(iter(training.batches_from(0)))
    assert [batch.tokens for batch in step] == [2 * len(examples[0].ids)] * 3
    assert all(batch.mask is not None for batch in step)
    loss = next(training.records()).loss
    assert [record.step for record in training.records(done=38)] == [39, 40]
    again = replace(training, model=load_model(base)[0])
    assert next(again.records()).loss == loss
    assert next(replace(again, model=load_model(base)[0], dtype="float32").records()).loss != loss


def test_documents_of_plain_text_are_cut_and_never_lost():
    record = parse_row({"text": "abcdefgh" * 40})
    examples, notes = prepare([record], TOKENIZER, 64)
    assert not notes
    assert sum(sum(example.loss_mask) for example in examples) == 8 * 40 + 1


def test_the_default_run_teaches_the_base_to_follow_instructions(tmp_path):
    train.main(["--out", str(tmp_path / "run"), "--device", "cpu"])
    results = results_of(tmp_path / "run")

    def share(when, split):
        counts = {(row[0], row[1]): row[2:] for row in results[when]["counts"]}
        right, n = counts[split, "all"]
        assert n >= 200
        return right / n

    for split in ("new_passage", "new_wording", "new_attribute"):
        assert share("before", split) < 0.05
    least = {"new_passage": 0.85, "new_item": 0.85, "new_wording": 0.5, "user_wording": 0.55,
             "new_attribute": 0.8, "new_composition": 0.6, "new_skill": 0.2, "conversation": 0.3,
             "unanswerable": 0.75}  # some points below what five seeds give
    for split, lowest in least.items():
        assert share("after", split) >= lowest, split
    model, tokenizer = load_model(tmp_path / "run")
    asked = train.bounded(read_records(TEST_FILES)[0], read_records(TRAIN_FILES)[0],
                          train.TrainConfig())
    answers = answer_all(model, tokenizer, [row for row in asked if row.split == "new_passage"])
    assert split_shares(answers)["new_passage"] == share("after", "new_passage")


def test_evaluation_takes_an_eighth_as_many_rows_as_training_sees_unless_all_are_wanted(
        base, tmp_path, capsys):
    files = write(tmp_path, {"data.jsonl": numbered_rows(40), "asked.jsonl": numbered_rows(100)})
    flags = ["--eval", files[1], "--batch-size", "40", "--steps", "6"]
    folder = run(base, tmp_path, files[:1], *flags)
    counts, = [row for row in results_of(folder)["after"]["counts"] if row[1] == "all"]
    assert counts[3] == 30
    assert "evaluating on 30 of 100 rows; --eval-all takes all" in capsys.readouterr().out
    (tmp_path / "all").mkdir()
    folder = run(base, tmp_path / "all", files[:1], *flags, "--eval-all")
    counts, = [row for row in results_of(folder)["after"]["counts"] if row[1] == "all"]
    assert counts[3] == 100


def test_the_rows_of_a_bounded_evaluation_are_spread_evenly():
    config = train.TrainConfig(steps=2, batch_size=80)
    assert train.bounded(list(range(100)), [None] * 10, config) == list(range(0, 100, 5))
    assert train.bounded(list(range(20)), [None] * 10, config) == list(range(20))


def test_evaluation_shows_a_progress_bar_before_and_after(base, tmp_path, capsys):
    files = write(tmp_path, {"pairs.jsonl": numbered_rows(4)})
    run(base, tmp_path, files, "--eval", files[0])
    shown = capsys.readouterr().err
    assert re.search(r"before: 100%", shown) and re.search(r"after: 100%", shown)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_no_console_ends_a_command_with_what_it_cannot_show(base, tmp_path, encoding):
    rows = [{"instruction": f"{i} 用中文怎么说？", "input": "", "output": "好的🎉"}
            for i in range(25)]
    file, = write(tmp_path, {"rows.jsonl": "\n".join(json.dumps(row) for row in rows)})
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    out = str(tmp_path / "run")
    for command in (
            ["train", "--base", base, "--data", file, "--steps", "1", "--out", out],
            ["evaluate", "--model", out, "--data", file, "--show", "1"],
            ["show", file], ["chat", "--model", out, "--prompt", "你好", "--max-new-tokens", "3"]):
        done = subprocess.run([sys.executable, "-m", f"minisft.{command[0]}", *command[1:]],
                              cwd=ROOT, env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0, (command, done.stderr)
    assert "用中文怎么说" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


def test_what_rows_and_models_say_is_shown_and_not_obeyed(base, tmp_path, capsys):
    bad = "\x1b[2J<script>|`x`\r"
    row = {"prompt": f"{bad}?", "completion": f"{bad}!", "task": "a_$b", "split": "$^$"}
    file, = write(tmp_path, {"rows.jsonl": json.dumps(row)})
    folder = run(base, tmp_path, [file], "--eval", file)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\r" not in shown and "<U+001B>[2J<script>" in shown
    page = (folder / "report.md").read_text(encoding="utf-8")
    quoted = page[page.index("## Answers"):page.index("## Settings")]
    assert "<script>" not in quoted and r"&lt;script&gt;\|\`x\`" in quoted and "\x1b" not in page
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5
               for line in quoted.splitlines() if line.startswith("|"))
    evaluate.main(["--model", str(folder), "--data", file, "--show", "1"])
    assert "\x1b" not in capsys.readouterr().out
