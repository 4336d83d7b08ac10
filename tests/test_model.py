"""The model against transformers' GPT-2, against loops written out by hand, and against itself."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import (
    TRANSPOSED,
    difference,
    forward_by_hand,
    gradients,
    random_ids,
    random_prefix,
    snapshot,
    tiny_model,
    to_transformers,
)
from torch import nn

from minisft.cache import KVCache, PrefixCache
from minisft.model import GPT, GPTConfig
from minisft.start import initialize, spread_rows, turn_back, waves


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_logits_and_every_gradient_equal_those_of_transformers_gpt2(attention):
    ours = tiny_model(n_layer=3, n_embd=12, n_head=3)
    theirs = to_transformers(ours, attention)
    ids = random_ids(4, 16)
    logits, expected = ours(ids), theirs(ids).logits
    assert torch.allclose(logits, expected, rtol=0, atol=1e-12)

    def loss(logits):
        return F.cross_entropy(logits.flatten(0, 1), random_ids(64, seed=1))

    expected_gradients = gradients(theirs.transformer, loss(expected))
    for name in expected_gradients:
        if name.endswith(TRANSPOSED):
            expected_gradients[name] = expected_gradients[name].T
    found = gradients(ours, loss(logits))
    assert difference(found, expected_gradients) < 1e-12
    assert all(gradient.abs().max() > 1e-6 for gradient in found.values())


def test_logits_in_float32_equal_those_of_transformers_gpt2():
    ours = tiny_model(dtype=torch.float32)
    ids = random_ids(4, 16)
    with torch.no_grad():
        assert torch.allclose(ours(ids), to_transformers(ours)(ids).logits, rtol=0, atol=1e-5)


def test_parameter_names_are_those_of_gpt2():
    names = [name for name, _ in tiny_model(n_layer=1).named_parameters()]
    block = ["ln_1.weight", "ln_1.bias",
             "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
             "ln_2.weight", "ln_2.bias",
             "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"]
    assert names == ["wte.weight", "wpe.weight", *(f"h.0.{name}" for name in block),
                     "ln_f.weight", "ln_f.bias"]

    model = tiny_model(n_layer=3)
    names = [name for name, _ in model.named_parameters()]
    theirs = to_transformers(model).transformer
    assert names == [name for name, _ in theirs.named_parameters()]
    assert list(model.state_dict()) == names, "nothing else is saved with a model"


def test_logits_equal_a_forward_pass_written_out_by_hand():
    model, ids = tiny_model(), random_ids(1, 9)
    assert torch.allclose(model(ids)[0], forward_by_hand(model, ids[0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_embd, normal", [(768, 0.02), (192, 0.04)])
def test_weights_start_as_in_gpt2_but_scaled_to_the_width(n_embd, normal):
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=400, block_size=128, n_layer=8, n_head=4, n_embd=n_embd))
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            is_scale = name.split(".")[-2].startswith("ln_") and name.endswith("weight")
            expected = torch.ones_like(parameter) if is_scale else torch.zeros_like(parameter)
            assert torch.equal(parameter, expected), name
        elif name == "wpe.weight":
            assert abs(parameter.pow(2).mean().sqrt().item() / normal - 1) < 1e-3
        elif not name.startswith(("h.0.attn", "h.1.attn")):  # they look back: tested below
            std = normal / 4 if name.endswith("c_proj.weight") else normal  # sqrt(2 * 8 layers) = 4
            n = parameter.numel()
            assert abs(parameter.std().item() / std - 1) < 4.5 / math.sqrt(2 * n), name
            assert abs(parameter.mean().item()) < 4.5 * std / math.sqrt(n), name


def test_positions_start_as_waves_in_which_one_rotation_shifts_all_positions():
    rows = waves(40, 16).double()
    eight = torch.full((40,), 8.0, dtype=torch.float64)
    assert torch.allclose(rows.pow(2).sum(1), eight, atol=1e-5)

    angles = torch.atan2(rows[1, :8], rows[1, 8:])  # how far each wave turns in one token
    sines, cosines = rows[:-1, :8], rows[:-1, 8:]
    next_sines = sines * angles.cos() + cosines * angles.sin()
    next_cosines = cosines * angles.cos() - sines * angles.sin()
    assert torch.allclose(next_sines, rows[1:, :8], atol=1e-4)
    assert torch.allclose(next_cosines, rows[1:, 8:], atol=1e-4)
    assert waves(5, 7).shape == (5, 7)


def test_turning_back_leads_from_each_position_to_the_one_before():
    even, odd = waves(40, 128), waves(40, 7)
    assert torch.allclose(even[1:] @ turn_back(128).T, even[:-1], atol=1e-4)
    error = (odd[1:] @ turn_back(7).T - odd[:-1]).abs()
    assert error[:, [0, 1, 2, 4, 5, 6]].max() < 1e-4, "channel 3 is the wave without a partner"


def attention_of(model, ids):
    """Attention weights of all layers: (B, H, T, T) each."""
    C, H = model.config.n_embd, model.config.n_head
    T = ids.shape[1]
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    x, found = model.embed(ids), []
    for block in model.h:
        q, k, _ = block.attn.c_attn(block.ln_1(x)).split(C, dim=2)  # (B, T, C) each
        q = q.unflatten(2, (H, -1)).transpose(1, 2)  # (B, T, C) -> (B, H, T, D)
        k = k.unflatten(2, (H, -1)).transpose(1, 2)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])  # (B, H, T, T)
        found.append(scores.masked_fill(future, -math.inf).softmax(3))
        x = block(x)
    return found


@pytest.mark.parametrize(("n_head", "n_embd"), [(2, 64), (4, 128), (8, 256)])
def test_the_first_two_layers_start_by_looking_back(n_head, n_embd):
    torch.manual_seed(0)
    sizes = {"vocab_size": 500, "block_size": 64, "n_layer": 2, "n_head": n_head, "n_embd": n_embd}
    model = GPT(GPTConfig(**sizes))
    once = random_ids(60, 60, vocab_size=500)
    twice = once[:, :30].repeat(1, 2)
    first, second_once = attention_of(model, once)
    _, second_twice = attention_of(model, twice)

    def weight_29_back(weights, head):
        """Mean weight that a token gives to the one 29 places before it."""
        return weights[:, head].diagonal(-29, 1, 2)[:, 4:].mean().item()

    for h in range(min(n_head, 4)):
        looks = [first[:, h, 10:].diagonal(10 - back, 1, 2).mean().item() for back in range(8)]
        assert max(range(8), key=lambda back: looks[back]) == h + 1 and looks[h + 1] > 0.2
        # in the repeated text, the token 29 places back is the one that followed the same word
        assert weight_29_back(second_twice, h) > 1.1 * weight_29_back(second_once, h)


def test_a_model_of_one_layer_does_not_start_by_looking_back():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=50, block_size=8, n_layer=1, n_head=2, n_embd=64))
    weight = model.h[0].attn.c_attn.weight
    assert abs(weight.std().item() / (0.02 * math.sqrt(768 / 64)) - 1) < 0.03


def test_a_fresh_model_gives_every_token_about_the_same_probability():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=50, block_size=8, n_layer=4, n_head=2, n_embd=16))
    ids, targets = random_ids(4, 8, vocab_size=50), random_ids(32, vocab_size=50, seed=1)
    assert abs(F.cross_entropy(model(ids).flatten(0, 1), targets).item() - math.log(50)) < 0.25


def test_the_same_generator_seed_gives_the_same_weights():
    first, second, other = tiny_model(), tiny_model(seed=1), tiny_model(seed=2)
    for model, seed in ((first, 7), (second, 7), (other, 8)):
        initialize(model, torch.Generator().manual_seed(seed))
    assert difference(snapshot(first), snapshot(second)) == 0
    assert difference(snapshot(first), snapshot(other)) > 0


def test_embed_trunk_and_head_composed_are_the_model():
    model, ids = tiny_model(), random_ids(3, 7)
    assert torch.equal(model.head(model.trunk(model.embed(ids))), model(ids))


def test_the_head_is_tied_to_the_embedding():
    model = tiny_model()
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.head(x), x @ model.wte.weight.T, rtol=0, atol=1e-14)


def test_embed_adds_the_rows_of_token_and_position():
    model = tiny_model()
    x = model.embed(torch.tensor([[3, 7], [7, 3]]), torch.tensor([[0, 5], [4, 4]]))
    wte, wpe = model.wte.weight, model.wpe.weight
    expected = [torch.stack([wte[3] + wpe[0], wte[7] + wpe[5]]),
                torch.stack([wte[7] + wpe[4], wte[3] + wpe[4]])]
    assert torch.equal(x, torch.stack(expected))


def test_positions_are_0_1_2_by_default_and_may_be_given_for_all_rows_at_once():
    model, ids = tiny_model(), random_ids(3, 6)
    assert torch.equal(model(ids), model(ids, positions=torch.arange(6)))
    later = model(ids, positions=torch.arange(6) + 4)
    assert torch.equal(later, model(ids, positions=(torch.arange(6) + 4).expand(3, 6)))
    assert (later - model(ids)).abs().max() > 0.01
    assert torch.allclose(later[0], forward_by_hand(model, ids[0], position=4), rtol=0, atol=1e-12)


def test_a_changed_token_changes_nothing_before_it_and_everything_from_it_on():
    model, ids = tiny_model(), random_ids(1, 12)
    with torch.no_grad():
        logits = model(ids)
        for j in range(12):
            edited = ids.clone()
            edited[0, j] = (edited[0, j] + 1) % 19
            moved = (model(edited) - logits).abs().amax(dim=-1)[0]  # (1, T, V) -> (T,)
            assert torch.equal(moved[:j], torch.zeros(j, dtype=torch.float64))
            assert (moved[j:] > 1e-6).all()


def test_the_causal_mask_is_the_default():
    model, ids = tiny_model(), random_ids(2, 9)
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    assert torch.allclose(model(ids, mask=mask), model(ids), rtol=0, atol=1e-12)
    assert torch.allclose(model(ids, mask=mask.expand(2, 1, 9, 9)), model(ids), rtol=0, atol=1e-12)
    assert (model(ids, mask=torch.ones_like(mask)) - model(ids)).abs().max() > 0.01


def test_with_a_cache_the_default_mask_is_causal_and_shows_all_cached_entries():
    model, ids = tiny_model(), random_ids(2, 5)
    cached, causal = torch.ones(5, 3, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool).tril()
    cache = PrefixCache(random_prefix(model, 3))
    masked = model(ids, cache=cache, mask=torch.cat([cached, causal], dim=1))
    assert torch.allclose(masked, model(ids, cache=cache), rtol=0, atol=1e-12)


@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize("tokens", [1, 6])
def test_a_prefix_cache_equals_a_forward_pass_by_hand_gradients_included(position, tokens):
    model, ids = tiny_model(), random_ids(1, tokens)
    entries = random_prefix(model, 3)
    flat = [entry for pair in entries for entry in pair]
    logits = model(ids, cache=PrefixCache(entries, position))[0]
    expected = forward_by_hand(model, ids[0], entries, position)
    assert torch.allclose(logits, expected, rtol=0, atol=1e-12)

    weights = random_ids(tokens, 19, seed=2).double()
    found = torch.autograd.grad((logits * weights).sum(), flat)
    wanted = torch.autograd.grad((expected * weights).sum(), flat)
    for a, b in zip(found, wanted):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)
        assert a.abs().max() > 1e-3


def test_a_prefix_cache_serves_any_number_of_calls_and_rows():
    model, ids = tiny_model(), random_ids(3, 6)
    cache = PrefixCache(random_prefix(model, 2), position=2)
    together = model(ids, cache=cache)
    for row in range(3):
        alone = model(ids[row:row + 1], cache=cache)[0]
        assert torch.allclose(alone, together[row], rtol=0, atol=1e-12)


def test_gradients_with_a_prefix_reach_the_parameters_too():
    model, ids = tiny_model(), random_ids(2, 6)
    found = gradients(model, model(ids, cache=PrefixCache(random_prefix(model, 2))).square().sum())
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in found.values())


def test_dropout_acts_in_training_and_is_off_in_evaluation():
    model, ids = tiny_model(dropout=0.5), random_ids(2, 8)
    without = tiny_model()
    assert torch.equal(model(ids), without(ids))
    torch.manual_seed(0)
    model.train()
    first, second = model(ids), model(ids)
    assert (first - second).abs().max() > 0.01
    model.eval()
    assert torch.equal(model(ids), without(ids))


@pytest.mark.parametrize("place", ["embed", "attention weights", "attention output", "mlp output"])
def test_dropout_acts_in_each_of_gpt2s_four_places(place, monkeypatch):
    model = tiny_model(dropout=0.5, n_layer=1).train()
    x = torch.randn(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    if place == "embed":
        dropped = model.embed(random_ids(4, 8))
        assert 0.3 < (dropped == 0).double().mean() < 0.7
    elif place == "attention weights":
        probabilities = []

        def record_dropout(q, k, v, dropout_p=0.0, **_):
            probabilities.append(dropout_p)
            return v

        monkeypatch.setattr(F, "scaled_dot_product_attention", record_dropout)
        model.h[0].attn(x)
        model.eval().h[0].attn(x)
        assert probabilities == [0.5, 0.0]
    else:
        part = model.h[0].attn if place == "attention output" else model.h[0].mlp
        assert 0.3 < (part(x) == 0).double().mean() < 0.7


@pytest.mark.parametrize("wrong, message", [
    ({"vocab_size": 0}, "vocab_size must be at least 1, got 0"),
    ({"block_size": -1}, "block_size must be at least 1, got -1"),
    ({"n_layer": 0}, "n_layer must be at least 1"),
    ({"n_head": 0}, "n_head must be at least 1"),
    ({"n_embd": 0}, "n_embd must be at least 1"),
    ({"n_head": 3}, r"n_embd \(8\) must be a multiple of n_head \(3\)"),
    ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ({"dropout": -0.1}, "dropout must be at least 0"),
    ({"dropout": math.nan}, "dropout must be a finite number, got nan"),
    ({"dropout": None}, "dropout must be a finite number, got None"),
    ({"n_layer": 2.5}, "n_layer must be a whole number, got 2.5"),
    ({"n_head": True}, "n_head must be a whole number, got True"),
    ({"vocab_size": "many"}, "vocab_size must be a whole number, got 'many'"),
])
def test_an_impossible_config_is_refused(wrong, message):
    sizes = {"vocab_size": 19, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 8}
    with pytest.raises(ValueError, match=message):
        GPTConfig(**{**sizes, **wrong})


@pytest.mark.parametrize("sizes", [(19, 16, 2, 2, 8), (7, 3, 1, 1, 5), (50, 64, 5, 3, 12)])
def test_a_config_knows_how_many_numbers_its_model_has(sizes):
    config = GPTConfig(*sizes)
    assert config.parameters == sum(weight.numel() for weight in GPT(config).parameters())


def test_block_size_tokens_fit_and_one_more_does_not():
    model = tiny_model()
    assert model(random_ids(1, 16)).shape == (1, 16, 19)
    with pytest.raises(ValueError, match="17 positions do not fit a block_size of 16"):
        model(random_ids(1, 17))


def test_a_position_beyond_block_size_is_refused_wherever_it_comes_from():
    model = tiny_model()
    with pytest.raises(ValueError, match="17 positions do not fit"):
        model(random_ids(1, 2), positions=torch.tensor([3, 16]))
    with pytest.raises(ValueError, match="18 positions do not fit"):
        model(random_ids(1, 14), cache=PrefixCache(random_prefix(model, 4), position=4))
    cache = KVCache(model.config, 1, 32, dtype=torch.float64)
    model(random_ids(1, 16), cache=cache)
    with pytest.raises(ValueError, match="17 positions do not fit"):
        model(random_ids(1, 1), cache=cache)
    with pytest.raises(ValueError, match="or ids 3 to 19 a vocabulary of 19"):
        model(torch.tensor([[3, 19]]))
    with pytest.raises(ValueError, match="or ids -1 to 3 a vocabulary of 19"):
        model(torch.tensor([[3, -1]]))


def linear_layers(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def test_how_weights_are_stored_changes_nothing_but_speed():
    model, ids = tiny_model(), random_ids(2, 6)
    assert len(linear_layers(model)) == 8
    assert all(layer.weight.T.is_contiguous() for layer in linear_layers(model))

    in_rows = copy.deepcopy(model)
    for layer in linear_layers(in_rows):
        layer.weight.data = layer.weight.data.contiguous()
    assert torch.allclose(in_rows(ids), model(ids), rtol=0, atol=1e-12)

    loaded = tiny_model(seed=1)
    loaded.load_state_dict({name: w.contiguous() for name, w in model.state_dict().items()})
    assert difference(snapshot(loaded), snapshot(model)) == 0
    assert all(layer.weight.T.is_contiguous() for layer in linear_layers(loaded))

    for each in (model, in_rows):
        initialize(each, torch.Generator().manual_seed(7))
    assert difference(snapshot(in_rows), snapshot(model)) == 0


def test_a_row_may_be_longer_than_block_size_where_positions_start_again():
    model, ids = tiny_model(), random_ids(1, 20)
    positions = torch.cat([torch.arange(10), torch.arange(10)])
    mask = torch.block_diag(*2 * [torch.ones(10, 10)]).bool().tril()
    logits = model(ids, positions=positions, mask=mask)
    assert torch.allclose(logits[0, 10:], model(ids[:, 10:])[0], rtol=0, atol=1e-12)


def test_equal_rows_are_moved_apart_and_no_other_row_is_moved():
    model = tiny_model(vocab_size=2000, n_embd=64)
    ids = list(range(1500, 2000))
    model.wte.weight.data[ids] = 3.0  # far from the others, of whose spread they are no part
    before = model.wte.weight.detach().clone()
    spread_rows(model, ids)

    moved = model.wte.weight[1500:] - before[1500:]
    assert torch.equal(model.wte.weight[:1500], before[:1500])
    assert moved.mean(0).abs().max() < 4 * 0.4 / 500 ** 0.5 and torch.pdist(moved).min() > 0.1
    assert abs(moved.std() / before[:1500].std() - 1) < 0.02

    again = tiny_model(vocab_size=2000, n_embd=64)
    again.wte.weight.data.copy_(before)
    spread_rows(again, ids)
    assert torch.equal(again.wte.weight, model.wte.weight)
