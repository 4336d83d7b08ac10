"""The base model that ships: what its card says is so, and the command on the card still makes it."""

import json
import re
import shlex
from statistics import mean

import pytest
import torch

from minisft import pretrain
from minisft.checkpoint import load_model
from minisft.config import parse
from minisft.conversation import Rendered
from minisft.evaluate import TEST_FILES, answer_all, mean_loss, split_shares
from minisft.loop import StepRecord
from minisft.model import GPT, GPTConfig
from minisft.pretrain import PretrainConfig, prose_batches, read_texts
from minisft.records import read_records
from minisft.run import read_log
from minisft.shipped import ROOT
from minisft.tokenizer import END_OF_TURN, Tokenizer
from minisft.world.card import add_probe, read_probes
from minisft.world.corpus import TEST_SPLITS
from minisft.world.probe import few_shot_probe, label_chance, recall_probe
from minisft.world.prose import SHOWN

CARD = json.loads((ROOT / "checkpoints" / "base.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def base():
    return load_model(ROOT / "checkpoints" / "base.pt")


def test_the_base_looks_back_as_far_as_its_card_says(base):
    model, tokenizer = base
    share = recall_probe(model, tokenizer)
    assert share == pytest.approx(CARD["recall_probe"], abs=0.01)
    assert share >= 0.97, "guessing among the eight values of the attribute gives one in eight"


def test_the_base_tells_two_residents_apart_as_its_card_says(base):
    model, tokenizer = base
    share = recall_probe(model, tokenizer, shapes=((2, 1), (2, 2)))
    assert share == pytest.approx(CARD["recall_probe_two_residents"], abs=0.01)
    assert share >= 0.8, "picking one of the two is right a little over half the time"


def test_the_base_goes_on_with_lists_of_examples_as_its_card_says(base):
    model, tokenizer = base
    shares = few_shot_probe(model, tokenizer)
    for name, share in (CARD["few_shot_by_relation"] | CARD["few_shot_made_up"]).items():
        assert shares.pop(name) == pytest.approx(share, abs=0.03), name
    assert not shares and CARD["few_shot_known"] >= 0.8
    assert CARD["few_shot_chance"] == {"mapping": label_chance("mapping"), "sorting": label_chance("sorting")}


def test_the_base_follows_no_instruction(base):
    model, tokenizer = base
    shares = split_shares(answer_all(model, tokenizer, read_records(TEST_FILES)[0]))
    assert 0.4 < shares.pop("control") < 0.6, "of two choices one in two is right by chance"
    assert set(shares) == set(TEST_SPLITS) - {"control"} and max(shares.values()) < 0.005, shares


@pytest.mark.parametrize("name, card", [
    ("base-small", "base-small"), ("base", "base"), ("base-large", "base-large"), ("base-stable", "base")])
def test_every_base_that_ships_is_the_one_on_its_card(name, card):
    model, tokenizer = load_model(ROOT / "checkpoints" / f"{name}.pt")
    card = json.loads((ROOT / "checkpoints" / f"{card}.json").read_text(encoding="utf-8"))
    assert sum(parameter.numel() for parameter in model.parameters()) == card["parameters"]
    assert tokenizer.to_dict() == Tokenizer.load(ROOT / "data" / "tokenizer.json").to_dict()
    loss = mean_loss(model, read_texts([ROOT / "data" / "prose_valid.jsonl"], tokenizer, model.config.block_size))
    if name == "base-stable":
        assert card["held_out_loss"] < loss < card["held_out_loss"] + 0.2, "the rate has yet to fall"
    else:
        assert loss == pytest.approx(card["held_out_loss"], abs=0.001)
        assert abs(card["held_out_loss"] - card["held_out_loss_before_halving"]) < 0.001, "halving costs nothing"


@pytest.mark.parametrize("name", ["base-small", "base", "base-large", "base-stable"])
def test_a_head_that_stays_frozen_can_tell_the_end_of_a_turn_from_all_other_tokens(name):
    model, tokenizer = load_model(ROOT / "checkpoints" / f"{name}.pt")
    rows, end = model.wte.weight.detach(), tokenizer.special(END_OF_TURN)
    assert (rows - rows[end]).norm(dim=1).topk(2, largest=False).values[1] > 0.2 * rows.std(0).norm()


def test_tokens_without_text_are_told_by_their_rows():
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 8, 1, 1, 16))
    unread = [3, 200, 257, 258, 259, 260]
    with torch.no_grad():
        model.wte.weight.normal_(mean=0.5)
        model.wte.weight[unread] = torch.full((16,), -1.0) + torch.randn(6, 16) / 20
    assert pretrain.never_read(model, tokenizer, []) == unread
    assert pretrain.never_read(model, tokenizer, [Rendered([7, 200, 3], [0, 1, 1])]) == [257, 258, 259, 260]
    with torch.no_grad():
        model.wte.weight[unread[:-1]] = torch.randn(5, 16)
    assert pretrain.never_read(model, tokenizer, []) == unread[-1:], "before long training all rows differ"


def test_all_bases_together_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "checkpoints").glob("base*.pt")) < 25e6


def test_the_command_on_the_card_begins_as_it_began(tmp_path, monkeypatch):
    words = shlex.split(CARD["command"])
    assert words[:3] == ["python", "-m", "minisft.pretrain"]
    config = parse(PretrainConfig, words[3:] + ["--out", str(tmp_path / "base"), "--device", "cpu"], "pretrain", "")
    begun = []

    def three_steps(folder, training, *rest):
        records = training.records()
        begun.extend(next(records).loss for _ in range(3))
        return False

    monkeypatch.setattr(pretrain, "train_in", three_steps)
    pretrain.pretrain(config)
    assert begun == pytest.approx(CARD["first_losses"], abs=1e-4)


def test_a_step_of_prose_depends_on_the_seed_and_its_number_alone():
    tokenizer = Tokenizer.load(ROOT / "data" / "tokenizer.json")
    stream = prose_batches(tokenizer, 8, 128, seed=3)
    third = [next(stream) for _ in range(3)][2]
    again = next(prose_batches(tokenizer, 8, 128, seed=3, start=2))
    other = next(prose_batches(tokenizer, 8, 128, seed=4, start=2))
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
    with pytest.raises(SystemExit, match="base, tokenizer or data differ from those"):
        pretrain.main(["--resume", "--out", str(tmp_path / "mine"), "--device", "cpu"])


def test_a_base_is_probed_as_it_trains_and_kept_before_the_rate_falls(tmp_path, capsys):
    arguments = ["--size", "small", "--steps", "10", "--batch-size", "4", "--save-every", "4", "--device", "cpu",
                 "--out", str(tmp_path / "base")]
    pretrain.main(arguments)
    figures = json.loads((tmp_path / "base" / "figures.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in figures["probes"]] == [4, 8, 10]
    assert {"recall", "mapping", "sorting", "few_shot", "loss"} <= figures["probes"][0].keys()
    assert figures["probes"][1]["loss"] == read_log(tmp_path / "base")[7]["loss"]
    assert 200_000 < figures["parameters"] < 300_000
    assert figures["few_shot_known"] == pytest.approx(mean(figures["few_shot_by_relation"].values()), abs=1e-4)
    assert set(figures["as_prose"]) == set(SHOWN) and set(figures["few_shot_made_up"]) == {"mapping", "sorting"}
    rates = [row["lr"] for row in read_log(tmp_path / "base")]
    assert rates[6] == rates[7] == 4e-3 > rates[8] > rates[9] > 0  # down to 0 in three steps, from the eighth on
    stable, last = (load_model(tmp_path / "base" / f"{name}.pt")[0] for name in ("stable", "model"))
    trained = torch.load(tmp_path / "base" / "state.pt", weights_only=True)["weights"]
    moved = [name for name, w in last.state_dict().items() if not torch.equal(w, trained[name].half().float())]
    assert moved == ["wte.weight"], "rows that no text holds are moved apart in what is kept, and not in the training"
    assert any(not torch.equal(a, b) for a, b in zip(stable.parameters(), last.parameters()))
    pretrain.main([*arguments[:2], "--steps", "7", "--decay", "0", *arguments[4:-1], str(tmp_path / "seven")])
    seven = load_model(tmp_path / "seven")[0]
    assert all(torch.equal(a, b) for a, b in zip(stable.parameters(), seven.parameters())), "before the rate falls"
    content = torch.load(tmp_path / "base" / "model.pt", weights_only=True)
    assert {weight.dtype for weight in content["weights"].values()} == {torch.float16}
    assert {weight.dtype for weight in last.parameters()} == {torch.float32}
    printed = capsys.readouterr().out
    assert re.search(r"^ +this run +shipped$", printed, re.MULTILINE)
    assert re.search(r"^recall_probe  .* 0\.\d+$", printed, re.MULTILINE)


@pytest.mark.parametrize("size, least, most", [
    ("small", 0.2e6, 0.3e6), ("middle", 0.8e6, 1.1e6), ("large", 3e6, 4.5e6)])
def test_sizes_are_what_they_say_and_a_flag_goes_before(size, least, most):
    config = PretrainConfig(size=size)
    model = GPT(GPTConfig(2048, 256, *map(config.of_size, ("n_layer", "n_head", "n_embd"))))
    assert least < sum(p.numel() for p in model.parameters()) < most
    assert PretrainConfig(size=size, n_layer=7, lr=1.0).of_size("n_layer") == 7
    with pytest.raises(ValueError, match="--decay is a share of the steps"):
        PretrainConfig(decay=1.5)


def test_probes_of_steps_that_are_done_again_are_noted_once(tmp_path):
    torch.manual_seed(0)
    tokenizer = Tokenizer.load(ROOT / "data" / "tokenizer.json")
    model = GPT(GPTConfig(tokenizer.vocab_size, 256, 1, 1, 8))
    for step in (4, 8, 12, 8):
        add_probe(tmp_path, StepRecord(step, 1.0, 0.1, 1.0, 1, 1, 1.0, 0.0), model, tokenizer)
    assert [row["step"] for row in read_probes(tmp_path)] == [4, 8]


def test_conversations_are_no_text_to_pretrain_on(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n{"prompt": "a?", "completion": "b"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"rows\.jsonl:2: a conversation; expected rows of text"):
        pretrain.main(["--data", str(file), "--out", str(tmp_path / "base"), "--steps", "1", "--device", "cpu"])
    with pytest.raises(SystemExit, match="missing.json"):
        pretrain.main(["--tokenizer", "missing.json", "--out", str(tmp_path / "base"), "--device", "cpu"])
