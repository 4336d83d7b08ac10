"""Tuning layers: equal to the library peft on copied weights, no change at the start, a base that stays what it is."""

import copy
import re

import peft
import pytest
import torch
from conftest import difference, random_examples, random_ids, snapshot, tiny_model, to_transformers
from torch import nn

from minisft.batching import pack, pad
from minisft.cache import KVCache
from minisft.generate import generate
from minisft.loop import train_steps
from minisft.loss import sft_loss
from minisft.optim import AdamW, parameter_groups
from minisft.peft import (
    AdapterConfig,
    LoRAConfig,
    PrefixConfig,
    PromptConfig,
    add_peft,
    delta,
    describe_parameters,
    export_state,
    merge,
    remove_peft,
    unmerge,
)
from minisft.peft.adapter import Adapted, TunedLayerNorm
from minisft.peft.lora import LoRALinear
from minisft.tokenizer import Tokenizer

ALL = {
    "lora": LoRAConfig(r=3, alpha=5.0), "lora sqrt": LoRAConfig(r=3, alpha=5.0, sqrt_r=True, targets=("mlp.c_proj",)),
    "adapter": AdapterConfig(4), "adapter and norms": AdapterConfig(4, layer_norms=True), "prefix": PrefixConfig(P=4),
    "prefix network": PrefixConfig(P=4, hidden=6), "prompt": PromptConfig(P=4),
}
methods = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())


def tuned(config, seed=0):
    """A tiny model with a method, all that it trains drawn anew, so that no part of it does nothing."""
    torch.manual_seed(seed)
    model = add_peft(tiny_model(), config)
    for parameter in delta(model).values():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


@pytest.mark.parametrize("config", [LoRAConfig(), LoRAConfig(r=2, dropout=0.5)])
def test_lora_at_the_start_equals_the_base_exactly(config):
    ids, base = random_ids(3, 9), tiny_model()
    expected = base(ids)
    assert torch.equal(add_peft(base, config).train()(ids), expected)


def test_adapters_at_the_start_change_almost_nothing_but_something():
    ids, base = random_ids(3, 9), tiny_model()
    expected = base(ids)
    assert 0 < (add_peft(base, AdapterConfig(8))(ids) - expected).abs().max() < 1e-3


@methods
def test_training_moves_what_was_added_and_not_a_bit_of_the_base(config):
    base = tiny_model()
    before = snapshot(base)
    model = add_peft(base, config)
    added = {name: tensor.clone() for name, tensor in delta(model).items()}
    groups = parameter_groups(model, 0.1)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    windows = iter([[pad(random_examples(4, seed, longest=11))] for seed in range(3)])
    for _ in train_steps(model, windows, AdamW(groups), lambda step: 0.01):
        pass
    assert all(not torch.equal(added[name], tensor) for name, tensor in delta(model).items())
    assert difference(before, snapshot(remove_peft(model))) == 0


@methods
def test_cached_generation_is_what_a_full_recompute_gives(config):
    model, prompts = tuned(config), [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        expected.append(ids[len(prompt):])
    assert generate(model, prompts, 6) == expected


@methods
def test_packed_examples_are_as_they_are_apart(config):
    model, examples = tuned(config), random_examples(5, longest=11)
    trainable = list(delta(model))

    def loss_and_gradients(batches):
        loss = sum(sft_loss(model, batch)[0] for batch in batches)
        found = torch.autograd.grad(loss, [dict(model.named_parameters())[name] for name in trainable])
        return loss, found

    packed, apart = loss_and_gradients([pack(examples, 12)]), loss_and_gradients([pad([e]) for e in examples])
    assert abs(packed[0] - apart[0]) < 1e-10
    assert all((a - b).abs().max() < 1e-10 < a.abs().max() for a, b in zip(packed[1], apart[1]))


@methods
def test_a_method_comes_off_and_another_goes_on(config):
    ids, base = random_ids(2, 8), tiny_model()
    expected = base(ids)
    model = add_peft(base, config)
    with pytest.raises(ValueError, match="has a tuning method already"):
        add_peft(model, LoRAConfig())
    for parameter in delta(model).values():
        parameter.add_(1.0)
    assert not torch.equal(model(ids), expected)
    assert torch.equal(remove_peft(model)(ids), expected)
    assert torch.equal(add_peft(base, LoRAConfig())(ids), expected)


def test_merging_is_what_the_change_was_and_unmerging_restores_the_bits():
    model, ids, base = tuned(ALL["lora"]), random_ids(3, 9), snapshot(tiny_model())
    before, expected = snapshot(model), model(ids)
    for _ in range(2):
        merge(model)
        assert (model(ids) - expected).abs().max() < 1e-12 and difference(base, snapshot(model)) > 0.01
        with pytest.raises(ValueError, match="merged already"):
            merge(model)
        unmerge(model)
        assert difference(before, snapshot(model)) == 0 and torch.equal(model(ids), expected)
    assert difference(base, snapshot(remove_peft(merge(model)))) == 0
    with pytest.raises(ValueError, match="not merged"):
        unmerge(model)
    with pytest.raises(ValueError, match="only LoRA"):
        merge(tuned(ALL["adapter"]))


def with_peft(config):
    theirs = to_transformers(tiny_model(), "eager")
    return peft.get_peft_model(copy.deepcopy(theirs), config).double().eval()


@pytest.mark.parametrize("sqrt_r", [False, True])
def test_lora_equals_the_library_in_logits_and_gradients(sqrt_r):
    targets = ("attn.c_attn", "mlp.c_proj")
    model, ids = tuned(LoRAConfig(targets, r=3, alpha=5.0, sqrt_r=sqrt_r)), random_ids(3, 9)
    theirs = with_peft(peft.LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=5.0, use_rslora=sqrt_r,
                                       fan_in_fan_out=True, target_modules=list(targets)))
    library = dict(theirs.named_parameters())
    pairs = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer, letter = name.rsplit(".", 1)
            other = library[f"base_model.model.transformer.{layer}.lora_{letter}.default.weight"]
            other.data.copy_(parameter.data)
            pairs.append((parameter, other))
    assert len(pairs) == 8
    logits, expected = model(ids), theirs(ids).logits
    assert (logits - expected).abs().max() < 1e-10
    ours = torch.autograd.grad(logits.square().sum(), [a for a, _ in pairs])
    assert all((a - b).abs().max() < 1e-8 * a.abs().max() for a, b in zip(
        ours, torch.autograd.grad(expected.square().sum(), [b for _, b in pairs])))


def test_a_prefix_equals_the_librarys_in_logits_and_gradients():
    model, ids = tuned(PrefixConfig(P=4)), random_ids(3, 9)
    theirs = with_peft(peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    other = theirs.prompt_encoder["default"].embedding.weight
    other.data.copy_(model.keys_values.data)
    logits, expected = model(ids), theirs(ids).logits
    assert (logits - expected).abs().max() < 1e-10
    (a,), (b,) = (torch.autograd.grad(z.square().sum(), [p]) for z, p in (
        (logits, model.keys_values), (expected, other)))
    assert (a - b).abs().max() < 1e-8 * a.abs().max()


def test_a_prompt_equals_the_librarys_in_logits_and_gradients():
    model, ids = tuned(PromptConfig(P=4)), random_ids(3, 9)
    theirs = with_peft(peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    other = theirs.prompt_encoder["default"].embedding.weight
    other.data.copy_(model.rows.data)
    logits, expected = model(ids), theirs(ids).logits[:, 4:]
    assert (logits - expected).abs().max() < 1e-10
    (a,), (b,) = (torch.autograd.grad(z.square().sum(), [p]) for z, p in ((logits, model.rows), (expected, other)))
    assert (a - b).abs().max() < 1e-8 * a.abs().max()


def test_a_prefix_without_its_network_is_the_same():
    model, ids = tuned(ALL["prefix network"]), random_ids(3, 9)
    config, weights = export_state(model)
    plain = add_peft(tiny_model(), config)
    assert config == PrefixConfig(P=4) and weights.keys() == delta(plain).keys() == {"keys_values"}
    plain.keys_values.data.copy_(weights["keys_values"])
    assert torch.equal(plain(ids), model(ids)) and model.network is not None, "the model itself can train on"


def test_virtual_tokens_shorten_the_context():
    for config in (PrefixConfig(P=4), PromptConfig(P=4)):
        model = add_peft(tiny_model(), config)
        assert model.config.block_size == 12 and model(random_ids(1, 12)).shape == (1, 12, 19)
        with pytest.raises(ValueError, match="1 to 11 tokens"):
            generate(model, [[1] * 12], 3)
        with pytest.raises(ValueError, match="leave no room"):
            add_peft(tiny_model(), type(config)(P=16))


@pytest.mark.parametrize("make, message", [
    (lambda: LoRAConfig(r=0), "r must be at least 1"), (lambda: LoRAConfig(targets=("c_proj",)), "targets must be"),
    (lambda: LoRAConfig(targets=()), "got none"), (lambda: LoRAConfig(alpha=0), "alpha must be above 0"),
    (lambda: LoRAConfig(dropout=1.0), "below 1"), (lambda: AdapterConfig(0), "at least 1 wide"),
    (lambda: PrefixConfig(P=0), "P must be"), (lambda: PrefixConfig(hidden=4, text="a"), "leave out one"),
    (lambda: PromptConfig(start="text"), "a text goes with"),
    (lambda: add_peft(tiny_model(vocab_size=5), PromptConfig(P=6)), "5 rows to start from, fewer than P=6"),
    (lambda: LoRAConfig(targets=("h.0.ln_1",)), "targets must be"),
    (lambda: add_peft(tiny_model(), LoRAConfig(targets=("h.2.mlp.c_fc",))), "no layer h.2.mlp.c_fc; it has 2 blocks"),
    (lambda: PromptConfig(start="zeros"), "random, vocabulary"),
    (lambda: add_peft(tiny_model(), PrefixConfig(text="dog")), "a tokenizer is needed")])
def test_a_wrong_config_says_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@methods
def test_a_context_read_in_pieces_is_the_same_as_read_at_once(config):
    model, ids = tuned(config), random_ids(2, 9)
    cache = KVCache(model.config, 2, 9, dtype=torch.float64)
    pieces = [model(ids[:, :4], cache=cache), model(ids[:, 4:5], cache=cache), model(ids[:, 5:], cache=cache)]
    assert (torch.cat(pieces, dim=1) - model(ids)).abs().max() < 1e-12


@methods
def test_the_mode_of_a_model_is_kept(config):
    for training in (True, False):
        model = add_peft(tiny_model().train(training), config)
        assert all(module.training is training for module in model.modules())


def test_an_adapter_by_hand():
    linear = nn.Linear(3, 2).double()
    adapter = Adapted(linear, 4)
    for parameter in (adapter.W_d, adapter.b_d, adapter.W_u, adapter.b_u):
        parameter.data = torch.randn_like(parameter)
    x = torch.randn(3, dtype=torch.float64)
    z = linear.weight @ x + linear.bias
    inner = adapter.W_d @ z + adapter.b_d
    inner = inner * 0.5 * (1 + torch.erf(inner / 2 ** 0.5))
    assert torch.allclose(adapter(x), z + adapter.W_u @ inner + adapter.b_u, atol=1e-12)


def test_adapters_stand_after_both_sublayers_and_start_near_nothing():
    model = add_peft(tiny_model(), AdapterConfig(64, layer_norms=True))
    named = {name for name, module in model.named_modules() if isinstance(module, Adapted)}
    assert named == {f"h.{i}.{end}" for i in range(2) for end in ("attn.c_proj", "mlp.c_proj")}
    norms = {name for name, module in model.named_modules() if isinstance(module, TunedLayerNorm)}
    assert norms == {"ln_f", *(f"h.{i}.ln_{k}" for i in range(2) for k in (1, 2))}
    drawn = torch.cat([module.W_d.flatten() for module in model.modules() if isinstance(module, Adapted)])
    assert 0.8e-3 < drawn.std() < 1.2e-3


def test_lora_starts_uniform_in_one_over_the_root_of_the_inputs():
    layer = LoRALinear(nn.Linear(100, 7), LoRAConfig(r=50))
    assert 0.095 < layer.A.abs().max() <= 0.1 and abs(layer.A.std() - 0.1 / 3 ** 0.5) < 0.003 and not layer.B.any()


def test_lora_drops_the_input_of_a_and_nothing_else():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 3).double(), LoRAConfig(r=2, dropout=0.5)).train()
    layer.B.data.normal_()
    x = torch.ones(400, dtype=torch.float64)
    change = [layer(x) - layer.base(x) for _ in range(400)]
    layer.eval()
    mean, whole = torch.stack(change).mean(0), layer(x) - layer.base(x)
    assert (mean - whole).abs().max() < 0.3 * torch.stack(change).std(0).max() and change[0].ne(change[1]).all()
    layer.train().B.data.zero_()
    assert torch.equal(layer(x), layer.base(x))


def test_a_merge_is_summed_in_float32():
    layer = LoRALinear(nn.Linear(64, 64).bfloat16(), LoRAConfig(r=8))
    layer.B.data.normal_(std=0.01)
    W, A, B = (part.double() for part in (layer.base.weight, layer.A, layer.B))
    assert torch.equal(layer.merged_weight(), (W + layer.scale * B @ A).float().bfloat16())


def test_a_merged_model_may_move_and_is_unmerged_where_it_is():
    model, ids = merge(tuned(ALL["lora"]).float()).double(), random_ids(3, 9)
    assert (unmerge(model)(ids) - tuned(ALL["lora"])(ids)).abs().max() < 1e-4


BYTES = Tokenizer([bytes([byte]) for byte in range(256)])


def test_a_prompt_starts_from_what_its_config_says():
    base = tiny_model(vocab_size=BYTES.vocab_size)
    text = add_peft(base, PromptConfig(5, "text", "ab"), BYTES).rows
    assert torch.equal(text, base.wte.weight[[97, 98, 97, 98, 97]])
    rows = add_peft(remove_peft(base), PromptConfig(5)).rows
    found = [(base.wte.weight == row).all(1).nonzero().flatten().tolist() for row in rows]
    assert all(len(each) == 1 for each in found) and len({each[0] for each in found}) == 5
    drawn = add_peft(remove_peft(base), PromptConfig(400 // 40, "random")).rows
    assert 0.7 < drawn.std() / base.wte.weight.std() < 1.3


def test_a_prefix_of_real_words_is_what_the_model_keeps_of_them():
    base = tiny_model(vocab_size=BYTES.vocab_size)
    ids = torch.tensor([[97, 98, 97]])
    cache = KVCache(base.config, 1, 3, dtype=torch.float64)
    base(ids, cache=cache)
    model = add_peft(base, PrefixConfig(3, text="ab"), BYTES)
    for (k, v), (expected_k, expected_v) in zip(model.entries(), cache.entries()):
        assert torch.equal(k, expected_k) and torch.equal(v, expected_v)
    ids = random_ids(1, 6)
    after = tiny_model(vocab_size=BYTES.vocab_size)(torch.cat([torch.tensor([[97, 98, 97]]), ids], dim=1))[:, 3:]
    assert (model(ids) - after).abs().max() < 1e-12, "it is as if the words had been said"


def test_the_table_counts():
    table = describe_parameters(add_peft(tiny_model(), LoRAConfig(("mlp.c_fc",), r=2)))
    trained, everything = 2 * 2 * (8 + 32), sum(p.numel() for p in tiny_model().parameters())
    numbers = [float(re.search(r"[\d,.]+(?=%?$)", line).group().replace(",", "")) for line in table.splitlines()]
    assert numbers == [trained, trained + everything, pytest.approx(100 * trained / (trained + everything), abs=1e-3),
                       2 * 8 * trained]
