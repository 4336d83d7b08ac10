"""Rows of the embedding whose tokens the data never hold: they keep still, and all else trains."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from conftest import difference, random_examples, snapshot, tiny_model

from minisft import pretrain, train
from minisft.batching import pad
from minisft.checkpoint import load_model, save_model
from minisft.loss import sft_loss
from minisft.model import GPT, GPTConfig
from minisft.peft import METHODS, add_peft
from minisft.tokenizer import Tokenizer
from minisft.train import TrainConfig, training_of, tune

EXAMPLES = random_examples(24, vocab_size=12)  # of a vocabulary of 19
SEEN = sorted({token for example in EXAMPLES for token in example.ids})
STILL = [token for token in range(19) if token not in SEEN]
SETTINGS = {"batch_size": 6, "lr": 0.05, "weight_decay": 0.1}


def moved(model, before):
    """For each row of the embedding, whether any of its bits has changed."""
    return (model.wte.weight != before["wte.weight"]).any(dim=1)


@pytest.mark.parametrize("settings", [
    {}, {"accumulate": 3}, {"pack": True}, {"pack": True, "accumulate": 2},
    {"dtype": "bfloat16"}], ids=str)
def test_rows_of_tokens_that_no_example_holds_keep_their_bits_and_all_others_move(settings):
    model = tiny_model(dtype=torch.float32)
    before = snapshot(model)
    records = tune(model, EXAMPLES, 8, **SETTINGS, **settings)
    assert any(record.grad_norm > 1 for record in records), "some gradients are clipped"
    assert len(STILL) >= 7 and not moved(model, before)[STILL].any()
    assert moved(model, before)[SEEN].all()
    after = snapshot(model)
    assert all(not torch.equal(after[name], before[name]) for name in before)


def test_with_train_unseen_they_move_as_far_as_the_rate_allows():
    model = tiny_model()
    before = snapshot(model)["wte.weight"]
    tune(model, EXAMPLES, 1, lr=0.05, weight_decay=0.0, train_unseen=True)
    steps = (model.wte.weight - before)[STILL].abs()
    torch.testing.assert_close(steps, torch.full_like(steps, 0.05), rtol=1e-3, atol=0)


def test_they_do_not_count_in_the_norm_that_clips():
    model = tiny_model()
    first, = training_of(model, EXAMPLES, 1, TrainConfig(lr=0.0)).batches_from(0).__next__()
    loss, targets = sft_loss(model, first)
    (loss / targets).backward()
    every = sum(parameter.grad.square().sum() for parameter in model.parameters()).sqrt().item()
    model.wte.weight.grad[STILL] = 0
    seen = sum(parameter.grad.square().sum() for parameter in model.parameters()).sqrt().item()
    model.zero_grad()
    record, = tune(model, EXAMPLES, 1, lr=0.0)
    assert record.grad_norm == pytest.approx(seen, rel=1e-9) and seen < every * (1 - 1e-6)


@pytest.mark.parametrize("settings", [{"accumulate": 4}, {"pack": True}], ids=str)
def test_micro_batches_and_packing_give_the_same_model(settings):
    plain, other = tiny_model(), tiny_model()
    tune(plain, EXAMPLES, 8, **SETTINGS)
    tune(other, EXAMPLES, 8, **SETTINGS, **settings)
    assert difference(snapshot(plain), snapshot(other)) < 1e-6


@pytest.mark.parametrize("by_column", [False, True])
def test_the_50257_rows_of_a_gpt2_are_no_other_case(by_column):
    torch.manual_seed(0)
    model = GPT(GPTConfig(50257, 16, n_layer=1, n_head=2, n_embd=4))
    if by_column:
        model.wte.weight.data = model.wte.weight.data.T.contiguous().T
    before = snapshot(model)
    examples = random_examples(8, vocab_size=50257)
    tune(model, examples, 3, **SETTINGS)
    held = {token for example in examples for token in example.ids}
    changed = moved(model, before).nonzero().flatten().tolist()
    assert changed == sorted(held) and 40 < len(held) < 200


def test_a_second_training_on_other_data_has_its_own_rows_that_keep_still():
    model = tiny_model()
    tune(model, EXAMPLES, 2, **SETTINGS)
    stopped = training_of(model, EXAMPLES, 9, TrainConfig(**SETTINGS)).records()
    next(stopped)
    stopped.close()
    before = snapshot(model)
    others = [replace(example, ids=[18 - token for token in example.ids]) for example in EXAMPLES]
    tune(model, others, 2, **SETTINGS)
    held = sorted(18 - token for token in SEEN)
    assert moved(model, before).nonzero().flatten().tolist() == held and set(STILL) < set(held)


def test_a_copy_of_a_model_in_training_has_gradients_in_all_rows():
    model = tiny_model()
    records = training_of(model, EXAMPLES, 9, TrainConfig(**SETTINGS)).records()
    next(records)
    copied = copy.deepcopy(model)
    sft_loss(copied, pad(EXAMPLES))[0].backward()
    assert copied.wte.weight.grad.abs().sum(dim=1).gt(0).all()
    next(records)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_leaves_the_embedding_alone_and_has_no_such_rows(method):
    start = {"start": "random"} if method == "prompt" else {}
    model = add_peft(tiny_model(block_size=64), METHODS[method](**start))
    training = training_of(model, EXAMPLES, 2, TrainConfig(method=method))
    assert training.still == () and len(list(training.records())) == 2
    with pytest.raises(ValueError, match=f"--method {method} never changes the embedding"):
        TrainConfig(method=method, train_unseen=True)


def test_an_embedding_that_is_frozen_by_hand_needs_no_such_rows():
    model = tiny_model()
    model.wte.requires_grad_(False)
    assert training_of(model, EXAMPLES, 1, TrainConfig()).still == ()
    assert len(tune(model, EXAMPLES, 2)) == 2


def test_the_embedding_decays_where_no_row_keeps_still_and_in_pre_training():
    def decayed(training):
        return any(each is training.model.wte.weight
                   for each in training.optimizer.groups[0]["params"])

    model = tiny_model()
    every = random_examples(99, vocab_size=19)
    assert not decayed(training_of(model, EXAMPLES, 1, TrainConfig()))
    assert decayed(training_of(model, EXAMPLES, 1, TrainConfig(train_unseen=True)))
    assert decayed(training_of(model, every, 1, TrainConfig()))
    config = pretrain.PretrainConfig(steps=2)
    training = pretrain.training_of(model, None, config, EXAMPLES)
    assert decayed(training) and training.still == ()


def test_the_command_says_how_many_rows_keep_still_and_so_does_the_report(tmp_path, capsys):
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    torch.manual_seed(0)
    save_model(tmp_path / "base.pt", GPT(GPTConfig(tokenizer.vocab_size, 64, 1, 2, 16)), tokenizer)
    row = {"prompt": "a", "completion": "b"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    said = "255 of 261 rows of the embedding keep still: the data hold none of their tokens"

    def run(name, *flags):
        folder = tmp_path / name
        train.main(["--base", str(tmp_path / "base.pt"), "--data", str(tmp_path / "rows.jsonl"),
                    "--out", str(folder), "--steps", "2", "--device", "cpu", *flags])
        report = (folder / "report.md").read_text(encoding="utf-8")
        rows = load_model(folder)[0].wte.weight != load_model(tmp_path / "base.pt")[0].wte.weight
        return said in capsys.readouterr().out, said in report, rows.any(dim=1).sum().item()

    assert run("default") == (True, True, 6)  # a, b, and four special tokens
    assert run("unseen", "--train-unseen") == (False, False, 261)
