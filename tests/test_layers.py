"""The layers that cost less to call: they give torch's results, and torch's hooks work on them."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from conftest import random_ids, tiny_model
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from torch.nn.utils import parametrize, prune

from minisft.layers import Embedding, LayerNorm, Linear, Module

GLOBAL_HOOKS = {
    "forward_pre": register_module_forward_pre_hook,
    "forward": register_module_forward_hook,
    "full_backward_pre": register_module_full_backward_pre_hook,
    "full_backward": register_module_full_backward_hook,
}
every_kind_of_hook = pytest.mark.parametrize("kind", GLOBAL_HOOKS)
# torch says so of modules whose input has no gradient, such as embeddings
backward_without_input_gradient = pytest.mark.filterwarnings(
    "ignore:Full backward hook is firing")


def random_tensor(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def layers_of(model):
    """{name: layer} of a GPT: its blocks, their parts, embeddings and norms."""
    return {name: module for name, module in model.named_modules() if name not in ("", "h")}


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 5, 6)])
@pytest.mark.parametrize("make, make_torchs", [
    (lambda: Linear(6, 4), lambda: nn.Linear(6, 4)),
    (lambda: LayerNorm(6), lambda: nn.LayerNorm(6)),
    (lambda: LayerNorm(6, eps=0.1), lambda: nn.LayerNorm(6, eps=0.1)),
], ids=["linear", "norm", "norm with another eps"])
def test_a_layer_gives_the_results_and_gradients_of_torchs_own(make, make_torchs, shape):
    layer, torchs = make().double(), make_torchs().double()
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data.copy_(random_tensor(*parameter.shape, seed=seed))
    torchs.load_state_dict(layer.state_dict())

    found, expected = [], []
    for each, results in ((layer, found), (torchs, expected)):
        x = random_tensor(*shape, seed=9).requires_grad_()
        y = each(x)
        loss = (y * random_tensor(*y.shape, seed=10)).sum()
        results += [y, *torch.autograd.grad(loss, [x, *each.parameters()])]
    for ours, theirs in zip(found, expected):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
        assert ours.abs().max() > 0.01


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_an_embedding_gives_the_rows_and_gradients_of_torchs_own(shape):
    layer, torchs = Embedding(19, 4), nn.Embedding(19, 4)
    torchs.load_state_dict(layer.state_dict())
    ids = random_ids(*shape)
    assert torch.equal(layer(ids), torchs(ids))
    for each in (layer, torchs):
        each(ids).square().sum().backward()
    assert torch.equal(layer.weight.grad, torchs.weight.grad) and layer.weight.grad.any()


def test_layers_count_as_torchs_own():
    for kind, torchs in ((Linear, nn.Linear), (Embedding, nn.Embedding), (LayerNorm, nn.LayerNorm)):
        assert issubclass(kind, torchs)
    assert all(isinstance(layer, Module) for layer in layers_of(tiny_model()).values())


@backward_without_input_gradient
@every_kind_of_hook
def test_a_hook_on_any_layer_is_called_until_it_is_removed(kind):
    model, ids = tiny_model(), random_ids(1, 4)
    layers = layers_of(model)
    assert len(layers) == 21
    for name, layer in layers.items():
        called = []
        handle = getattr(layer, f"register_{kind}_hook")(lambda *_, called=called: called.append(1))
        model(ids).sum().backward()
        assert len(called) == 1, name
        handle.remove()
        model(ids).sum().backward()
        assert len(called) == 1, name


@backward_without_input_gradient
@every_kind_of_hook
def test_a_global_hook_is_called_once_for_every_layer_until_it_is_removed(kind):
    model, ids, called = tiny_model(), random_ids(1, 4), []
    handle = GLOBAL_HOOKS[kind](lambda module, *_: called.append(module))
    try:
        model(ids).sum().backward()
    finally:
        handle.remove()
    assert Counter(called) == Counter([model, *layers_of(model).values()])

    called.clear()
    model(ids).sum().backward()
    assert called == []


def test_what_a_hook_returns_takes_the_place_of_inputs_and_outputs():
    layer, x = Linear(6, 4).double(), random_tensor(3, 6)
    plain = layer(x)
    with layer.register_forward_hook(lambda module, inputs, output: 2 * output):
        assert torch.equal(layer(x), 2 * plain)
    with layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],)):
        assert torch.equal(layer(x), layer.forward(2 * x))
    with register_module_forward_hook(lambda module, inputs, output: 3 * output):
        assert torch.equal(layer(x), 3 * plain)
    with register_module_forward_pre_hook(lambda module, inputs: (2 * inputs[0],)):
        assert torch.equal(layer(x), layer.forward(2 * x))
    assert torch.equal(layer(x), plain)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_a_parametrized_weight_takes_effect():
    model, expected, ids = tiny_model(), tiny_model(), random_ids(2, 6)
    parametrize.register_parametrization(model.h[0].mlp.c_fc, "weight", Doubled())
    expected.h[0].mlp.c_fc.weight.data *= 2
    assert torch.allclose(model(ids), expected(ids), rtol=0, atol=1e-12)
    assert (model(ids) - tiny_model()(ids)).abs().max() > 0.01

    parametrize.remove_parametrizations(model.h[0].mlp.c_fc, "weight", leave_parametrized=False)
    assert torch.allclose(model(ids), tiny_model()(ids), rtol=0, atol=1e-12)


def test_a_pruned_weight_takes_effect_and_follows_training():
    model, expected, ids = tiny_model(), tiny_model(), random_ids(2, 6)
    pruned, plain = model.h[0].mlp.c_fc, expected.h[0].mlp.c_fc
    mask = random_tensor(*plain.weight.shape) > 0
    prune.custom_from_mask(pruned, "weight", mask)
    for step in range(2):
        plain.weight.data.copy_(pruned.weight_orig * mask)
        assert torch.allclose(model(ids), expected(ids), rtol=0, atol=1e-12), step
        assert (model(ids) - tiny_model()(ids)).abs().max() > 0.01
        pruned.weight_orig.data += 0.5  # as an optimizer would; the next call must use it


@pytest.mark.parametrize("hooked", [False, True])
def test_layers_can_be_called_with_named_arguments(hooked):
    model, x = tiny_model(), random_tensor(2, 5, 8)
    block, ids = model.h[0], random_ids(2, 5)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    mask[4, 0] = False  # unlike the default
    if hooked:
        for layer in layers_of(model).values():
            layer.register_forward_hook(lambda *_: None)
    assert torch.equal(model.wte(ids=ids), model.wte(ids))
    for layer in (block.ln_1, block.attn.c_attn, block.mlp):
        assert torch.equal(layer(x=x), layer(x))
    for layer in (block.attn, block):
        named = layer(x=x, cache=None, mask=mask)
        assert torch.equal(named, layer(x, None, mask))
        assert torch.equal(layer(x, mask=mask), named) and not torch.equal(layer(x), named)


def test_parameters_are_taken_by_name():
    x, ids = random_tensor(3, 6), random_ids(4)
    linear, norm, embedding = (
        layer.double() for layer in (Linear(6, 4), LayerNorm(6), Embedding(19, 6)))
    for layer in (linear, norm, embedding):
        layer.weight = nn.Parameter(random_tensor(*layer.weight.shape, seed=3))
    linear.bias = norm.bias = None
    assert torch.allclose(linear(x), x @ linear.weight.T, rtol=0, atol=1e-12)
    normal = F.layer_norm(x, (6,))
    assert torch.allclose(norm(x), normal * norm.weight, rtol=0, atol=1e-12)
    assert torch.equal(embedding(ids), embedding.weight[ids])


def test_a_compiled_layer_is_called_as_it_was_compiled():
    layer = Linear(3, 2)
    layer._compiled_call_impl = lambda x: "compiled"  # what layer.compile() sets
    assert layer(torch.ones(3)) == "compiled"
