"""Tuning methods equal those of the library peft, and the base under them never changes."""

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

BYTES = Tokenizer([bytes([byte]) for byte in range(256)])
ALL = {
    "lora": LoRAConfig(r=3, alpha=5.0),
    "lora sqrt": LoRAConfig(r=3, alpha=5.0, sqrt_r=True, targets=("mlp.c_proj",)),
    "adapter": AdapterConfig(4),
    "adapter and norms": AdapterConfig(4, layer_norms=True),
    "prefix": PrefixConfig(P=4),
    "prefix network": PrefixConfig(P=4, hidden=6),
    "prompt": PromptConfig(P=4),
}
methods = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())


def tuned(config, seed=0):
    """A tiny model with a method. What it trains is random, so that every part has an effect."""
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


def test_adapters_at_the_start_change_the_model_only_a_little():
    ids, base = random_ids(3, 9), tiny_model()
    expected = base(ids)
    assert 0 < (add_peft(base, AdapterConfig(8))(ids) - expected).abs().max() < 1e-3


@methods
def test_training_changes_what_was_added_and_not_a_bit_of_the_base(config):
    base = tiny_model()
    before = snapshot(base)
    model = add_peft(base, config)
    added = {name: tensor.clone() for name, tensor in delta(model).items()}
    groups = parameter_groups(model, 0.1)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    batches = [[pad(random_examples(4, seed, longest=11))] for seed in range(3)]
    list(train_steps(model, batches, AdamW(groups), lambda step: 0.01))
    assert all(not torch.equal(added[name], tensor) for name, tensor in delta(model).items())
    assert difference(before, snapshot(remove_peft(model))) == 0


@methods
def test_generation_with_a_cache_equals_generation_without(config):
    model, prompts = tuned(config), [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        expected.append(ids[len(prompt):])
    assert generate(model, prompts, 6) == expected


@methods
def test_packed_examples_give_the_loss_and_gradients_that_they_have_apart(config):
    model, examples = tuned(config), random_examples(5, longest=11)
    trainable = [dict(model.named_parameters())[name] for name in delta(model)]

    def loss_and_gradients(batches):
        loss = sum(sft_loss(model, batch)[0] for batch in batches)
        return loss, torch.autograd.grad(loss, trainable)

    packed_loss, packed = loss_and_gradients([pack(examples, 12)])
    loss, apart = loss_and_gradients([pad([example]) for example in examples])
    assert abs(packed_loss - loss) < 1e-10
    assert all((a - b).abs().max() < 1e-10 < a.abs().max() for a, b in zip(packed, apart))


@methods
def test_a_method_can_be_removed_and_another_added(config):
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


def test_a_merged_model_gives_the_same_logits_and_unmerging_restores_the_bits():
    model, ids, base = tuned(ALL["lora"]), random_ids(3, 9), snapshot(tiny_model())
    before, expected = snapshot(model), model(ids)
    for _ in range(2):
        merge(model)
        assert (model(ids) - expected).abs().max() < 1e-12
        assert difference(base, snapshot(model)) > 0.01
        with pytest.raises(ValueError, match="merged already"):
            merge(model)
        unmerge(model)
        assert difference(before, snapshot(model)) == 0
        assert torch.equal(model(ids), expected)
    assert difference(base, snapshot(remove_peft(merge(model)))) == 0


def test_only_lora_can_be_merged_and_only_a_merged_model_unmerged():
    with pytest.raises(ValueError, match="only LoRA"):
        merge(tuned(ALL["adapter"]))
    for model in (tuned(ALL["lora"]), remove_peft(merge(tuned(ALL["lora"])))):
        with pytest.raises(ValueError, match="not merged"):
            unmerge(model)


def with_library(config):
    """transformers' GPT-2 with the weights of a tiny model and a method of the library peft."""
    theirs = to_transformers(tiny_model(), "eager")
    return peft.get_peft_model(copy.deepcopy(theirs), config).double().eval()


def check_equal(logits, expected, ours, theirs):
    """Logits and their gradients must be equal. ours, theirs: the same parameters on both sides."""
    assert (logits - expected).abs().max() < 1e-10
    found = torch.autograd.grad(logits.square().sum(), ours)
    wanted = torch.autograd.grad(expected.square().sum(), theirs)
    assert all((a - b).abs().max() < 1e-8 * a.abs().max() for a, b in zip(found, wanted))


@pytest.mark.parametrize("sqrt_r", [False, True])
def test_lora_equals_the_librarys_in_logits_and_gradients(sqrt_r):
    targets = ("attn.c_attn", "mlp.c_proj")
    model, ids = tuned(LoRAConfig(targets, r=3, alpha=5.0, sqrt_r=sqrt_r)), random_ids(3, 9)
    theirs = with_library(peft.LoraConfig(
        task_type="CAUSAL_LM", r=3, lora_alpha=5.0, use_rslora=sqrt_r, fan_in_fan_out=True,
        target_modules=list(targets)))
    their_parameters = dict(theirs.named_parameters())
    ours, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer, letter = name.rsplit(".", 1)
            path = f"base_model.model.transformer.{layer}.lora_{letter}.default.weight"
            their_parameters[path].data.copy_(parameter.data)
            ours.append(parameter)
            others.append(their_parameters[path])
    assert len(ours) == 8
    check_equal(model(ids), theirs(ids).logits, ours, others)


def test_a_prefix_equals_the_librarys_in_logits_and_gradients():
    model, ids = tuned(PrefixConfig(P=4)), random_ids(3, 9)
    theirs = with_library(peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    other = theirs.prompt_encoder["default"].embedding.weight
    other.data.copy_(model.keys_values.data)
    check_equal(model(ids), theirs(ids).logits, [model.keys_values], [other])


def test_a_prompt_equals_the_librarys_in_logits_and_gradients():
    model, ids = tuned(PromptConfig(P=4)), random_ids(3, 9)
    theirs = with_library(peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    other = theirs.prompt_encoder["default"].embedding.weight
    other.data.copy_(model.rows.data)
    check_equal(model(ids), theirs(ids).logits[:, 4:], [model.rows], [other])


def test_an_exported_prefix_is_the_same_without_its_network():
    model, ids = tuned(ALL["prefix network"]), random_ids(3, 9)
    config, weights = export_state(model)
    plain = add_peft(tiny_model(), config)
    assert config == PrefixConfig(P=4)
    assert weights.keys() == delta(plain).keys() == {"keys_values"}
    plain.keys_values.data.copy_(weights["keys_values"])
    assert torch.equal(plain(ids), model(ids))
    assert model.network is not None, "the model itself keeps it and can be trained further"


def test_virtual_tokens_shorten_the_context():
    for config in (PrefixConfig(P=4), PromptConfig(P=4)):
        model = add_peft(tiny_model(), config)
        assert model.config.block_size == 12 and model(random_ids(1, 12)).shape == (1, 12, 19)
        with pytest.raises(ValueError, match="1 to 11 tokens"):
            generate(model, [[1] * 12], 3)
        with pytest.raises(ValueError, match="leave no room"):
            add_peft(tiny_model(), type(config)(P=16))


@pytest.mark.parametrize("make, message", [
    (lambda: LoRAConfig(r=0), "r must be at least 1"),
    (lambda: LoRAConfig(r=2.5), "r must be a whole number, got 2.5"),
    (lambda: LoRAConfig(r=True), "r must be a whole number, got True"),
    (lambda: LoRAConfig(targets=["mlp.c_fc"]), "targets must be a tuple of texts, got"),
    (lambda: LoRAConfig(targets=(3,)), "targets must be a tuple of texts"),
    (lambda: LoRAConfig(alpha=float("nan")), "alpha must be a finite number, got nan"),
    (lambda: AdapterConfig("wide"), "bottleneck must be a whole number, got 'wide'"),
    (lambda: AdapterConfig(layer_norms="yes"), "layer_norms must be True or False, got 'yes'"),
    (lambda: PrefixConfig(P=None), "P must be a whole number, got None"),
    (lambda: PromptConfig(text=3), "text must be a text, got 3"),
    (lambda: LoRAConfig(targets=("c_proj",)), "targets must be"),
    (lambda: LoRAConfig(targets=("h.0.ln_1",)), "targets must be"),
    (lambda: LoRAConfig(targets=()), "got none"),
    (lambda: LoRAConfig(alpha=0), "alpha must be above 0"),
    (lambda: LoRAConfig(dropout=1.0), "below 1"),
    (lambda: AdapterConfig(0), "at least 1 wide"),
    (lambda: PrefixConfig(P=0), "P must be"),
    (lambda: PrefixConfig(hidden=4, text="a"), "leave out one"),
    (lambda: PromptConfig(start="text"), "a text goes with"),
    (lambda: PromptConfig(start="zeros"), "random, vocabulary"),
])
def test_a_wrong_config_says_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("config, message", [
    (PromptConfig(P=6), "5 rows to start from, fewer than P=6"),
    (LoRAConfig(targets=("h.2.mlp.c_fc",)), "no layer h.2.mlp.c_fc; it has 2 blocks"),
    (PrefixConfig(text="dog"), "a tokenizer is needed"),
])
def test_a_config_that_does_not_fit_the_model_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        add_peft(tiny_model(vocab_size=5), config)


@methods
def test_a_text_read_in_pieces_gives_the_logits_of_the_text_read_at_once(config):
    model, ids = tuned(config), random_ids(2, 9)
    cache = KVCache(model.config, 2, 9, dtype=torch.float64)
    logits = [model(piece, cache=cache) for piece in ids.split([4, 1, 4], dim=1)]
    assert (torch.cat(logits, dim=1) - model(ids)).abs().max() < 1e-12


@methods
def test_adding_a_method_keeps_the_mode_of_a_model(config):
    for training in (True, False):
        model = add_peft(tiny_model().train(training), config)
        assert all(module.training is training for module in model.modules())


def test_an_adapter_equals_its_formula_written_out_by_hand():
    linear = nn.Linear(3, 2).double()
    adapter = Adapted(linear, 4)
    for parameter in (adapter.W_d, adapter.b_d, adapter.W_u, adapter.b_u):
        parameter.data = torch.randn_like(parameter)
    x = torch.randn(3, dtype=torch.float64)
    z = linear.weight @ x + linear.bias
    narrow = adapter.W_d @ z + adapter.b_d
    gelu = narrow * 0.5 * (1 + torch.erf(narrow / 2 ** 0.5))
    assert torch.allclose(adapter(x), z + adapter.W_u @ gelu + adapter.b_u, atol=1e-12)


def test_adapters_follow_both_sublayers_and_start_near_zero():
    model = add_peft(tiny_model(), AdapterConfig(64, layer_norms=True))
    adapters = {name: module for name, module in model.named_modules()
                if isinstance(module, Adapted)}
    assert adapters.keys() == {"h.0.attn.c_proj", "h.0.mlp.c_proj",
                               "h.1.attn.c_proj", "h.1.mlp.c_proj"}
    norms = {name for name, module in model.named_modules() if isinstance(module, TunedLayerNorm)}
    assert norms == {"h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"}
    drawn = torch.cat([adapter.W_d.flatten() for adapter in adapters.values()])
    assert 0.8e-3 < drawn.std() < 1.2e-3


def test_tuned_layer_norms_start_as_copies_and_leave_the_bases_alone():
    base = tiny_model()
    expected, theirs = snapshot(base), dict(base.named_modules())
    model = add_peft(base, AdapterConfig(4, layer_norms=True))
    for name in ("h.0.ln_1", "h.1.ln_2", "ln_f"):
        tuned, before = model.get_submodule(name), theirs[name]
        assert isinstance(tuned, TunedLayerNorm) and tuned.base is before
        assert torch.equal(tuned.weight, expected[f"{name}.weight"])
        assert torch.equal(tuned.bias, expected[f"{name}.bias"])
        assert tuned.weight.data_ptr() != before.weight.data_ptr()


def test_the_rows_of_a_prompt_are_dropped_in_training_and_only_then():
    model = add_peft(tiny_model(dropout=0.5), PromptConfig(P=8, start="random"))
    seen = []
    model.base.trunk = lambda x, *_: seen.append(x) or x
    for training in (True, False):
        model.train(training)(random_ids(1, 3))
    dropped, whole = ((x[:, :8] == 0).double().mean() for x in seen)
    assert 0.2 < dropped < 0.8 and whole == 0


def test_lora_starts_uniform_in_one_over_the_root_of_the_inputs():
    layer = LoRALinear(nn.Linear(100, 7), LoRAConfig(r=50))
    assert 0.095 < layer.A.abs().max() <= 0.1
    assert abs(layer.A.std() - 0.1 / 3 ** 0.5) < 0.003, "as of a uniform distribution"
    assert not layer.B.any()


def test_lora_dropout_acts_on_the_input_of_a_and_nowhere_else():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 3).double(), LoRAConfig(r=2, dropout=0.5)).train()
    layer.B.data.normal_()
    x = torch.ones(400, dtype=torch.float64)
    changes = torch.stack([layer(x) - layer.base(x) for _ in range(400)])
    layer.eval()
    without_dropout = layer(x) - layer.base(x)
    assert changes[0].ne(changes[1]).all()
    assert (changes.mean(0) - without_dropout).abs().max() < 0.3 * changes.std(0).max()

    layer.train().B.data.zero_()
    assert torch.equal(layer(x), layer.base(x))


def test_a_merged_weight_is_summed_in_float32():
    layer = LoRALinear(nn.Linear(64, 64).bfloat16(), LoRAConfig(r=8))
    layer.B.data.normal_(std=0.01)
    W, A, B = (part.double() for part in (layer.base.weight, layer.A, layer.B))
    assert torch.equal(layer.merged_weight(), (W + layer.scale * B @ A).float().bfloat16())


def test_a_merged_model_may_change_its_dtype_before_it_is_unmerged():
    model, ids = merge(tuned(ALL["lora"]).float()).double(), random_ids(3, 9)
    assert (unmerge(model)(ids) - tuned(ALL["lora"])(ids)).abs().max() < 1e-4


def test_a_prompt_starts_from_what_its_config_says():
    base = tiny_model(vocab_size=BYTES.vocab_size)
    of_text = add_peft(base, PromptConfig(5, "text", "ab"), BYTES).rows
    assert torch.equal(of_text, base.wte.weight[[97, 98, 97, 98, 97]])

    of_vocabulary = add_peft(remove_peft(base), PromptConfig(5)).rows
    equal = (of_vocabulary[:, None] == base.wte.weight).all(2)  # (5, V): is it this token's row?
    assert equal.sum(1).tolist() == [1] * 5 and len(set(equal.nonzero()[:, 1].tolist())) == 5

    drawn = add_peft(remove_peft(base), PromptConfig(10, "random")).rows
    assert 0.7 < drawn.std() / base.wte.weight.std() < 1.3


def test_a_prefix_that_starts_from_a_text_holds_the_keys_and_values_of_the_text():
    base = tiny_model(vocab_size=BYTES.vocab_size)
    ids = torch.tensor([[97, 98, 97]])
    cache = KVCache(base.config, 1, 3, dtype=torch.float64)
    base(ids, cache=cache)
    model = add_peft(base, PrefixConfig(3, text="ab"), BYTES)
    for (k, v), (expected_k, expected_v) in zip(model.entries(), cache.entries()):
        assert torch.equal(k, expected_k) and torch.equal(v, expected_v)
    later = random_ids(1, 6)
    plain = tiny_model(vocab_size=BYTES.vocab_size)
    expected = plain(torch.cat([ids, later], dim=1))[:, 3:]
    assert (model(later) - expected).abs().max() < 1e-12, "as if the text stood before the tokens"


def test_the_table_of_parameters_counts_correctly():
    table = describe_parameters(add_peft(tiny_model(), LoRAConfig(("mlp.c_fc",), r=2)))
    numbers = [float(re.search(r"[\d,.]+(?=%?$)", line).group().replace(",", ""))
               for line in table.splitlines()]
    trained = 2 * 2 * (8 + 32)
    everything = trained + sum(p.numel() for p in tiny_model().parameters())
    share = pytest.approx(100 * trained / everything, abs=1e-3)
    assert numbers == [trained, everything, share, 2 * 8 * trained]
