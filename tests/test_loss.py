"""The loss equals PyTorch's with ignore_index, and only supervised tokens take part in it."""

import math

import pytest
import torch
from conftest import difference, gradients, random_examples, reference_loss, tiny_model
from torch import nn

from minisft.batching import pad
from minisft.conversation import Rendered
from minisft.loss import sft_loss


class Bigram(nn.Module):
    """A model whose next-token logits are a table: logits at i = table[ids[i]]."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float64))

    def embed(self, ids, positions=None):
        return self.table[ids]

    def trunk(self, x, cache=None, mask=None):
        return x

    def head(self, x):
        return x


def test_loss_and_gradients_equal_cross_entropy_with_ignore_index():
    model, examples = tiny_model(), random_examples(12)
    loss, targets = sft_loss(model, pad(examples))
    expected = sum(reference_loss(model, example) for example in examples)
    assert targets == sum(sum(example.loss_mask) for example in examples)
    assert loss.dtype == torch.float64 and loss.shape == ()
    assert abs(loss.item() - expected.item()) < 1e-10
    found = gradients(model, loss)
    assert difference(found, gradients(model, expected)) < 1e-10
    assert all(gradient.abs().max() > 1e-3 for gradient in found.values())


def test_the_loss_worked_by_hand():
    # after 0 comes 1 with probability 3/4; after 1 comes 0 with probability 1/2
    model = Bigram([[0.0, math.log(3)], [0.0, 0.0]])
    examples = [Rendered([0, 1, 0, 0], [0, 1, 1, 0]), Rendered([0, 0], [0, 1])]
    loss, targets = sft_loss(model, pad(examples))
    assert targets == 3
    expected = -math.log(3 / 4) - math.log(1 / 2) - math.log(1 / 4)
    assert math.isclose(loss.item(), expected, rel_tol=1e-14)

    loss.backward()
    # d/dz of -log softmax(z)[y] is softmax(z) - onehot(y), summed over the targets
    after_0 = [1 / 4 + 1 / 4 - 1, 3 / 4 - 1 + 3 / 4]
    after_1 = [1 / 2 - 1, 1 / 2]
    expected = torch.tensor([after_0, after_1], dtype=torch.float64)
    assert torch.allclose(model.table.grad, expected, rtol=0, atol=1e-14)


def test_the_head_runs_on_the_supervised_rows_and_no_others(monkeypatch):
    model, examples = tiny_model(), random_examples(12)
    head, seen = model.head, []
    monkeypatch.setattr(model, "head", lambda x: seen.append(x) or head(x))
    sft_loss(model, pad(examples))

    expected = []
    for example in examples:
        x = model.trunk(model.embed(torch.tensor([example.ids])))[0]
        expected += [x[i - 1] for i, flag in enumerate(example.loss_mask) if flag]
    assert len(seen) == 1
    assert torch.allclose(seen[0], torch.stack(expected), rtol=0, atol=1e-12)


def test_a_changed_target_changes_the_gradient_exactly_where_it_is_supervised(monkeypatch):
    model = tiny_model()
    examples = [Rendered([5, 3, 9, 1, 7, 2, 8, 4], [0, 0, 1, 1, 0, 0, 1, 0]),
                Rendered([5, 6, 0, 2], [0, 1, 0, 0])]
    batch = pad(examples)
    embed, inputs = model.embed, batch.ids.clone()
    # the inputs stay the same: only targets are changed below
    monkeypatch.setattr(model, "embed", lambda ids, positions: embed(inputs, positions))
    before = gradients(model, sft_loss(model, batch)[0])
    for row in range(2):
        for i in range(8):
            edited = pad(examples)
            edited.ids[row, i] = (edited.ids[row, i] + 1) % 19
            moved = difference(gradients(model, sft_loss(model, edited)[0]), before)
            if batch.loss_mask[row, i]:
                assert moved > 1e-3
            else:
                assert moved == 0


def test_a_first_token_is_never_a_target():
    model = tiny_model()
    flagged = pad([Rendered([5, 3, 9], [1, 0, 1])])
    plain = pad([Rendered([5, 3, 9], [0, 0, 1])])
    assert sft_loss(model, flagged) == sft_loss(model, plain)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 4)])
def test_with_nothing_supervised_the_loss_is_a_zero_whose_gradients_are_zero(shape):
    model = tiny_model()
    examples = [Rendered(list(range(shape[1])), [0] * shape[1]) for _ in range(shape[0])]
    loss, targets = sft_loss(model, pad(examples))
    assert (loss.item(), targets) == (0.0, 0)
    found = gradients(model, loss)
    for name, gradient in found.items():
        assert gradient is not None, name
        assert torch.equal(gradient, torch.zeros_like(gradient)), name


def test_a_half_precision_loss_is_summed_in_float32():
    model = tiny_model(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = sft_loss(model, pad(random_examples(4)))
    exact, _ = sft_loss(model, pad(random_examples(4)))
    halved, _ = sft_loss(model.bfloat16(), pad(random_examples(4)))
    for half in (loss, halved):
        assert half.dtype == torch.float32
        assert abs(half.item() / exact.item() - 1) < 0.05
