"""The base model that ships: what its card says is so, and the command on the card still makes it."""

import json
import re
import shlex

import pytest
import torch

from minisft import pretrain
from minisft.batching import fit
from minisft.checkpoint import load_model
from minisft.config import ROOT, parse
from minisft.evaluate import TEST_FILES, answer_all, mean_loss, split_shares
from minisft.pretrain import PretrainConfig, prose_windows
from minisft.records import read_records, render_record
from minisft.tokenizer import Tokenizer
from minisft.world.probe import recall_probe

CARD = json.loads((ROOT / "checkpoints" / "base.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def base():
    return load_model(ROOT / "checkpoints" / "base.pt")


def test_the_base_looks_back_as_far_as_its_card_says(base):
    model, tokenizer = base
    share = recall_probe(model, tokenizer)
    assert share == pytest.approx(CARD["recall_probe"], abs=0.01)
    assert share >= 0.95, "guessing among the eight values of the attribute gives one in eight"


def test_the_base_tells_two_residents_apart_as_its_card_says(base):
    model, tokenizer = base
    share = recall_probe(model, tokenizer, shapes=((2, 1), (2, 2)))
    assert share == pytest.approx(CARD["recall_probe_two_residents"], abs=0.01)
    assert share >= 0.9, "picking one of the two is right a little over half the time"


def test_the_base_follows_no_instruction(base):
    model, tokenizer = base
    shares = split_shares(answer_all(model, tokenizer, read_records(TEST_FILES)[0]))
    assert len(shares) == 4 and max(shares.values()) < 0.05


def test_the_base_predicts_held_out_prose_as_its_card_says(base):
    model, tokenizer = base
    valid, _ = read_records([ROOT / "data" / "prose_valid.jsonl"])
    loss = mean_loss(model, [fit(render_record(record, tokenizer), model.config.block_size) for record in valid])
    assert loss == pytest.approx(CARD["held_out_loss"], abs=0.001)


def test_the_base_carries_the_tokenizer_of_the_data(base):
    assert base[1].to_dict() == Tokenizer.load(ROOT / "data" / "tokenizer.json").to_dict()
    assert (ROOT / "checkpoints" / "base.pt").stat().st_size < 6e6


def test_the_command_on_the_card_begins_as_it_began(tmp_path, monkeypatch):
    words = shlex.split(CARD["command"])
    assert words[:3] == ["python", "-m", "minisft.pretrain"]
    config = parse(PretrainConfig, words[3:] + ["--out", str(tmp_path / "base"), "--device", "cpu"], "pretrain", "")
    begun = []

    def three_steps(folder, model, optimizer, windows_from, lr_at, steps, *rest, **named):
        records = pretrain_loop(model, windows_from(0), optimizer, lr_at)
        begun.extend(next(records).loss for _ in range(3))
        return False

    from minisft.loop import train_steps as pretrain_loop
    monkeypatch.setattr(pretrain, "train_in", three_steps)
    pretrain.pretrain(config)
    assert begun == pytest.approx(CARD["first_losses"], abs=1e-4)


def test_a_step_of_prose_depends_on_the_seed_and_its_number_alone():
    tokenizer = Tokenizer.load(ROOT / "data" / "tokenizer.json")
    stream = prose_windows(tokenizer, 8, 128, seed=3)
    third = [next(stream) for _ in range(3)][2]
    again = next(prose_windows(tokenizer, 8, 128, seed=3, start=2))
    other = next(prose_windows(tokenizer, 8, 128, seed=4, start=2))
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(third, again))
    assert third[0].ids.shape != other[0].ids.shape or not torch.equal(third[0].ids, other[0].ids)


def test_your_own_text_makes_a_base_too(tmp_path, capsys):
    file = tmp_path / "text.jsonl"
    rows = [json.dumps({"text": f"The number after {n} is {n + 1}. " * 3}) + "\n" for n in range(40)]
    file.write_text("".join(rows), encoding="utf-8")
    arguments = ["--data", str(file), "--steps", "3", "--batch-size", "4", "--n-layer", "1", "--n-embd", "16",
                 "--block-size", "32", "--weight-decay", "0", "--out", str(tmp_path / "mine"), "--device", "cpu"]
    pretrain.main(arguments)
    model, _ = load_model(tmp_path / "mine")
    figures = json.loads((tmp_path / "mine" / "figures.json").read_text(encoding="utf-8"))
    assert model.config.n_embd == 16 and figures["steps"] == 3 and figures["tokens"] > 0
    assert re.search(r"--n-layer 1\b", figures["command"])
    words = shlex.split(figures["command"])
    again = parse(PretrainConfig, words[3:], "pretrain", "")
    assert (again.data, again.steps, again.n_embd, again.seed) == ((str(file),), 3, 16, 0)
    assert again.weight_decay == 0
    with pytest.raises(SystemExit, match="already holds a run"):
        pretrain.main(arguments)
    file.write_text(rows[0], encoding="utf-8")
    with pytest.raises(SystemExit, match="data or tokenizer are not those"):
        pretrain.main(["--resume", "--out", str(tmp_path / "mine"), "--device", "cpu"])


def test_conversations_are_no_text_to_pretrain_on(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n{"prompt": "a?", "completion": "b"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"rows\.jsonl:2: a conversation; expected rows of text"):
        pretrain.main(["--data", str(file), "--out", str(tmp_path / "base"), "--steps", "1", "--device", "cpu"])
    with pytest.raises(SystemExit, match="missing.json"):
        pretrain.main(["--tokenizer", "missing.json", "--out", str(tmp_path / "base"), "--device", "cpu"])
