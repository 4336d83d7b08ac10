"""The base models that ship: their cards tell the truth, and the command on a card still works."""

import json
import re
import shlex
from itertools import islice
from statistics import mean

import pytest
import torch

from minisft import pretrain
from minisft.checkpoint import load_model
from minisft.config import parse
from minisft.conversation import Rendered
from minisft.evaluate import answer_all, mean_loss, split_shares
from minisft.loop import StepRecord
from minisft.model import GPT, GPTConfig
from minisft.pretrain import PretrainConfig, prose_batches, read_texts
from minisft.records import read_records
from minisft.run import read_log
from minisft.shipped import BASE, ROOT, TEST_FILES, TEST_SPLITS, TOKENIZER
from minisft.tokenizer import END_OF_TURN, Tokenizer
from minisft.world.card import add_probe, read_probes
from minisft.world.probe import few_shot_probe, label_chance, recall_probe
from minisft.world.prose import SHOWN

BASES = ("base-small", "base", "base-large", "base-stable")


def read_card(name):
    return json.loads((ROOT / "checkpoints" / f"{name}.json").read_text(encoding="utf-8"))


CARD = read_card("base")


def load_base(name):
    return load_model(ROOT / "checkpoints" / f"{name}.pt")


@pytest.fixture(scope="module")
def base():
    return load_model(BASE)


def test_the_base_recalls_facts_as_well_as_its_card_says(base):
    model, tokenizer = base
    share = recall_probe(model, tokenizer)
    assert share == pytest.approx(CARD["recall_probe"], abs=0.01)
    assert share >= 0.97, "a guess among the eight values of the attribute is right once in eight"


def test_the_base_tells_two_residents_apart_as_its_card_says(base):
    model, tokenizer = base
    share = recall_probe(model, tokenizer, shapes=((2, 1), (2, 2)))
    assert share == pytest.approx(CARD["recall_probe_two_residents"], abs=0.01)
    assert share >= 0.8, "a guess between the two is right a little over half the time"


def test_the_base_learns_from_examples_as_well_as_its_card_says(base):
    model, tokenizer = base
    shares = few_shot_probe(model, tokenizer)
    for name, share in (CARD["few_shot_by_relation"] | CARD["few_shot_made_up"]).items():
        assert shares.pop(name) == pytest.approx(share, abs=0.03), name
    assert not shares, "every probe stands on the card"
    assert CARD["few_shot_known"] >= 0.8
    assert CARD["few_shot_chance"] == {name: label_chance(name) for name in ("mapping", "sorting")}


def test_the_base_follows_no_instruction(base):
    model, tokenizer = base
    shares = split_shares(answer_all(model, tokenizer, read_records(TEST_FILES)[0]))
    assert 0.4 < shares.pop("control") < 0.6, "one of two choices is right by chance"
    assert set(shares) == set(TEST_SPLITS) - {"control"}
    assert max(shares.values()) < 0.005, shares


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", BASES)
def test_every_base_that_ships_is_the_one_on_its_card(name):
    model, tokenizer = load_base(name)
    card = CARD if name == "base-stable" else read_card(name)
    assert count_parameters(model) == card["parameters"]
    assert tokenizer.to_dict() == Tokenizer.load(TOKENIZER).to_dict()

    texts = read_texts([ROOT / "data" / "prose_valid.jsonl"], tokenizer, model.config.block_size)
    loss, on_card = mean_loss(model, texts), card["held_out_loss"]
    if name == "base-stable":
        assert on_card < loss < on_card + 0.2, "it is the base before its learning rate fell"
    else:
        assert loss == pytest.approx(on_card, abs=0.001)
        assert abs(on_card - card["held_out_loss_before_halving"]) < 0.001, "halving costs nothing"


@pytest.mark.parametrize("name", BASES)
def test_a_frozen_head_can_tell_the_end_of_a_turn_from_all_other_tokens(name):
    model, tokenizer = load_base(name)
    rows, end = model.wte.weight.detach(), tokenizer.special(END_OF_TURN)
    distances = (rows - rows[end]).norm(dim=1).sort().values  # the first is to itself
    assert distances[1] > 0.2 * rows.std(0).norm()


def test_tokens_that_no_text_has_held_are_recognised_by_their_rows():
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 8, 1, 1, 16))
    unread = [3, 200, 257, 258, 259, 260]
    with torch.no_grad():
        model.wte.weight.normal_(mean=0.5)
        model.wte.weight[unread] = torch.full((16,), -1.0) + torch.randn(6, 16) / 20
    text = Rendered([7, 200, 3], [0, 1, 1])
    assert pretrain.never_read(model, tokenizer, []) == unread
    assert pretrain.never_read(model, tokenizer, [text]) == [257, 258, 259, 260]
    with torch.no_grad():
        model.wte.weight[unread[:-1]] = torch.randn(5, 16)
    found = pretrain.never_read(model, tokenizer, [])
    assert found == unread[-1:], "before long training all rows differ"


def test_all_bases_together_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "checkpoints").glob("base*.pt")) < 25e6


def test_the_command_on_the_card_still_gives_the_first_losses_of_the_card(tmp_path, monkeypatch):
    words = shlex.split(CARD["command"])
    assert words[:3] == ["python", "-m", "minisft.pretrain"]
    flags = [*words[3:], "--out", str(tmp_path / "base"), "--device", "cpu"]
    losses = []

    def three_steps(folder, training, *rest):
        records = training.records()
        losses.extend(next(records).loss for _ in range(3))
        return False

    monkeypatch.setattr(pretrain, "train_in", three_steps)
    pretrain.pretrain(parse(PretrainConfig, flags, "pretrain", ""))
    assert losses == pytest.approx(CARD["first_losses"], abs=1e-4)


def test_a_step_of_prose_depends_on_the_seed_and_its_number_alone():
    tokenizer = Tokenizer.load(TOKENIZER)

    def ids(batches):
        return [batch.ids.tolist() for batch in batches]

    first_three = islice(prose_batches(tokenizer, 8, 128, seed=3), 3)
    third = ids(list(first_three)[2])
    assert ids(next(prose_batches(tokenizer, 8, 128, seed=3, start=2))) == third
    assert ids(next(prose_batches(tokenizer, 8, 128, seed=4, start=2)))[0] != third[0]


def test_your_own_text_makes_a_base_too(tmp_path, capsys):
    file, folder = tmp_path / "text.jsonl", tmp_path / "mine"
    texts = [f"The number after {n} is {n + 1}. " * 3 for n in range(40)]
    rows = [json.dumps({"text": text}) + "\n" for text in texts]
    file.write_text("".join(rows), encoding="utf-8")
    arguments = ["--data", str(file), "--steps", "3", "--batch-size", "4", "--n-layer", "1",
                 "--n-embd", "16", "--block-size", "32", "--weight-decay", "0",
                 "--out", str(folder), "--device", "cpu"]
    pretrain.main(arguments)
    model, _ = load_model(folder)
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert model.config.n_embd == 16 and figures["steps"] == 3 and figures["tokens"] > 0

    assert re.search(r"--n-layer 1\b", figures["command"])
    again = parse(PretrainConfig, shlex.split(figures["command"])[3:], "pretrain", "")
    assert (again.data, again.steps, again.n_embd, again.seed) == ((str(file),), 3, 16, 0)
    assert again.weight_decay == 0

    with pytest.raises(SystemExit, match="already holds a run"):
        pretrain.main(arguments)
    file.write_text(rows[0], encoding="utf-8")
    (folder / "figures.json").unlink()
    with pytest.raises(SystemExit, match="base, tokenizer or data differ from those"):
        pretrain.main(["--resume", "--out", str(folder), "--device", "cpu"])


def pretrain_small(folder, *flags):
    pretrain.main(["--size", "small", "--batch-size", "4", "--save-every", "4", "--device", "cpu",
                   "--out", str(folder), *flags])


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory):
    """Run folder of a small base after ten steps; its learning rate falls in the last three."""
    folder = tmp_path_factory.mktemp("pretrain") / "base"
    pretrain_small(folder, "--steps", "10")
    return folder


def same_weights(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


def test_a_base_is_probed_while_it_trains(ten_steps):
    figures = json.loads((ten_steps / "figures.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in figures["probes"]] == [4, 8, 10]
    assert {"recall", "mapping", "sorting", "few_shot", "loss"} <= figures["probes"][0].keys()
    assert figures["probes"][1]["loss"] == read_log(ten_steps)[7]["loss"]

    assert 200_000 < figures["parameters"] < 300_000
    known = mean(figures["few_shot_by_relation"].values())
    assert figures["few_shot_known"] == pytest.approx(known, abs=1e-4)
    assert set(figures["as_prose"]) == set(SHOWN)
    assert set(figures["few_shot_made_up"]) == {"mapping", "sorting"}


def test_a_base_is_kept_as_it_was_before_its_learning_rate_fell(ten_steps, tmp_path):
    rates = [row["lr"] for row in read_log(ten_steps)]
    assert rates[6] == rates[7] == 4e-3 > rates[8] > rates[9] > 0
    stable, last = (load_model(ten_steps / f"{name}.pt")[0] for name in ("stable", "model"))
    assert not same_weights(stable, last)
    pretrain_small(tmp_path / "seven", "--steps", "7", "--decay", "0")
    assert same_weights(stable, load_model(tmp_path / "seven")[0])


def test_a_base_is_kept_in_half_precision_with_unread_rows_moved_apart(ten_steps):
    model, _ = load_model(ten_steps)
    trained = torch.load(ten_steps / "state.pt", weights_only=True)["weights"]
    moved = [name for name, weight in model.state_dict().items()
             if not torch.equal(weight, trained[name].half().float())]
    assert moved == ["wte.weight"], "rows are moved apart in what is kept, not in the training"

    content = torch.load(ten_steps / "model.pt", weights_only=True)
    assert {weight.dtype for weight in content["weights"].values()} == {torch.float16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_base_is_compared_with_the_one_that_ships(tmp_path, capsys):
    pretrain_small(tmp_path / "base", "--steps", "1")
    printed = capsys.readouterr().out
    assert re.search(r"^ +this run +shipped$", printed, re.MULTILINE)
    assert re.search(r"^recall_probe  .* 0\.\d+$", printed, re.MULTILINE)


@pytest.mark.parametrize("size, least, most", [
    ("small", 0.2e6, 0.35e6), ("middle", 0.8e6, 1.1e6), ("large", 3e6, 4.5e6)])
def test_each_size_has_the_parameters_that_it_states_and_a_flag_overrides_it(size, least, most):
    config = PretrainConfig(size=size)
    sizes = {name: config.of_size(name) for name in ("n_layer", "n_head", "n_embd")}
    model = GPT(GPTConfig(vocab_size=2560, block_size=256, **sizes))
    assert least < count_parameters(model) < most
    assert PretrainConfig(size=size, n_layer=7, lr=1.0).of_size("n_layer") == 7
    with pytest.raises(ValueError, match="--decay is a share of the steps"):
        PretrainConfig(decay=1.5)


def test_probes_of_steps_that_are_done_again_are_noted_once(tmp_path):
    torch.manual_seed(0)
    tokenizer = Tokenizer.load(TOKENIZER)
    model = GPT(GPTConfig(tokenizer.vocab_size, 256, 1, 1, 8))
    for step in (4, 8, 12, 8):
        record = StepRecord(
            step, loss=1.0, lr=0.1, grad_norm=1.0, targets=1, tokens=1, seconds=1.0, waited=0.0)
        add_probe(tmp_path, record, model, tokenizer)
    assert [row["step"] for row in read_probes(tmp_path)] == [4, 8]


def test_files_that_cannot_be_pretrained_with_are_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n{"prompt": "a?", "completion": "b"}\n', encoding="utf-8")
    usual = ["--out", str(tmp_path / "base"), "--steps", "1", "--device", "cpu"]
    message = r"rows\.jsonl:2: a conversation; expected rows of text"
    with pytest.raises(SystemExit, match=message):
        pretrain.main(["--data", str(file), *usual])
    with pytest.raises(SystemExit, match="missing.json"):
        pretrain.main(["--tokenizer", "missing.json", *usual])
