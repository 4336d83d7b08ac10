"""The loop equals a plain PyTorch loop, and what goes wrong in a step is noticed."""

import math
import random
import warnings

import pytest
import torch
from conftest import difference, gradients, random_examples, reference_loss, snapshot, tiny_model
from torch import nn

from minisft.batching import pack, pad
from minisft.conversation import Conversation, Rendered, render
from minisft.loop import NonFiniteLoss, StepRecord, train_steps
from minisft.loss import sft_loss
from minisft.optim import AdamW, parameter_groups
from minisft.tokenizer import Tokenizer

# The examples of four steps; the last step has fewer.
STEPS = [random_examples(size, seed) for seed, size in enumerate((8, 8, 8, 3))]


class PlainSGD:
    """theta <- theta - lr g. Unlike Adam's, its step shows every wrong factor in a gradient."""

    def __init__(self, parameters):
        self.parameters, self.lr = list(parameters), 0.0

    @torch.no_grad()
    def step(self):
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter -= self.lr * parameter.grad

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None


def micro_batches(examples, sizes, collate=pad):
    """The examples of a step as micro-batches of these sizes; the last size serves for the rest."""
    batches, start = [], 0
    while start < len(examples):
        size = sizes[min(len(batches), len(sizes) - 1)]
        batches.append(collate(examples[start:start + size]))
        start += size
    return batches


def all_steps(sizes, collate=pad):
    """The micro-batches of all steps."""
    return [micro_batches(examples, sizes, collate) for examples in STEPS]


def count_targets(examples):
    return sum(sum(example.loss_mask) for example in examples)


def sgd(model):
    return PlainSGD(model.parameters())


def torch_sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05)


def adamw(model):
    # The true gradient of a key's bias is zero. With a smaller eps its rounding error would become
    # a step of full size.
    return AdamW(parameter_groups(model, weight_decay=0.3), eps=1e-4)


def torch_adamw(model):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.95), eps=1e-4)


def trained(batches, optimizer_of=sgd, **options):
    """Parameters and records after training a tiny model on these steps."""
    model = tiny_model()
    records = list(train_steps(model, batches, optimizer_of(model), lambda step: 0.05, **options))
    return snapshot(model), records


def by_pytorch(max_norm, optimizer_of):
    """Parameters, losses and norms after the same steps in plain PyTorch.

    It uses full logits and ignore_index, and takes the mean over all targets of a step.
    """
    model = tiny_model()
    optimizer = optimizer_of(model)
    losses, norms = [], []
    for examples in STEPS:
        loss_sum = sum(reference_loss(model, example) for example in examples)
        loss = loss_sum / count_targets(examples)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
        for parameter in model.parameters():
            parameter.grad *= min(1.0, max_norm / norm)
        optimizer.step()
        norms.append(norm)
        losses.append(loss.item())
    return snapshot(model), losses, norms


@pytest.mark.parametrize("max_norm", [math.inf, 0.5])
@pytest.mark.parametrize("ours, theirs", [(sgd, torch_sgd), (adamw, torch_adamw)])
def test_the_loop_equals_one_in_plain_pytorch(ours, theirs, max_norm):
    parameters, records = trained(all_steps([8]), ours, max_norm=max_norm)
    expected, losses, norms = by_pytorch(max_norm, theirs)
    assert difference(parameters, expected) < 1e-10
    assert [record.loss for record in records] == pytest.approx(losses, rel=1e-12)
    assert [record.grad_norm for record in records] == pytest.approx(norms, rel=1e-10)
    assert difference(parameters, snapshot(tiny_model())) > 0.01


@pytest.mark.parametrize("optimizer_of", [sgd, adamw])
@pytest.mark.parametrize("sizes", [[1], [2], [4], [3], [7, 1], [1, 5, 2]])
def test_a_step_is_the_same_however_it_is_cut_into_micro_batches(sizes, optimizer_of):
    whole, records = trained(all_steps([8]), optimizer_of)
    cut, others = trained(all_steps(sizes), optimizer_of)
    assert difference(cut, whole) < 1e-10
    for record, other in zip(records, others):
        assert other.step == record.step
        assert (other.targets, other.tokens) == (record.targets, record.tokens)
        assert other.loss == pytest.approx(record.loss, rel=1e-12)
        assert other.grad_norm == pytest.approx(record.grad_norm, rel=1e-10)


def test_a_mean_of_means_would_be_noticed():
    model, examples = tiny_model(), STEPS[0]
    loss = sum(reference_loss(model, example) for example in examples) / count_targets(examples)
    correct = gradients(model, loss)
    means = [reference_loss(model, example) / sum(example.loss_mask) for example in examples]
    assert difference(gradients(model, sum(means) / len(means)), correct) > 1e-2


@pytest.mark.parametrize("sizes", [[8], [3]])
def test_packed_training_equals_padded_training(sizes):
    padded, records = trained(all_steps(sizes))
    packed, others = trained(all_steps(sizes, lambda part: pack(part, 16)))
    assert difference(packed, padded) < 1e-10
    assert [(r.targets, r.tokens) for r in records] == [(r.targets, r.tokens) for r in others]


def test_an_update_depends_on_the_targets_of_the_conversation_and_on_no_others():
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    turns = [("system", "s"), ("user", "ab"), ("assistant", "cd"),
             ("user", "e"), ("assistant", "f")]
    messages = [{"role": role, "content": text} for role, text in turns]
    rendered = render(Conversation.from_messages(messages), tokenizer)
    other = render(Conversation.from_messages(messages[1:3]), tokenizer)
    #  0 <|endoftext|>  1 <|system|>     2 s  3 <|end|>
    #  4 <|user|>       5 a  6 b  7 <|end|>    8 <|assistant|>   9 c  10 d  11 <|end|>
    # 12 <|user|>      13 e 14 <|end|>        15 <|assistant|>  16 f  17 <|end|>
    supervised = {9, 10, 11, 16, 17}

    def after_one_step(collate, edit=None):
        """Parameters after a step in which the target at place `edit` is another token."""
        model = tiny_model(vocab_size=tokenizer.vocab_size, block_size=32)
        batch = collate([rendered, other])
        assert batch.ids[0, :18].tolist() == rendered.ids
        embed, inputs = model.embed, batch.ids.clone()
        model.embed = lambda ids, positions: embed(inputs, positions)  # the inputs stay the same
        if edit is not None:
            batch.ids[0, edit] = (batch.ids[0, edit] + 1) % tokenizer.vocab_size
        list(train_steps(model, [[batch]], sgd(model), lambda step: 0.1, max_norm=math.inf))
        return snapshot(model)

    for collate in (pad, lambda examples: pack(examples, 32)):
        before = after_one_step(collate)
        for i in range(18):
            moved = difference(after_one_step(collate, edit=i), before)
            if i in supervised:
                assert moved > 1e-4, i
            else:
                assert moved == 0, i


def test_steps_are_numbered_from_start_and_the_rate_is_asked_for_each():
    asked = []

    def lr_at(step):
        asked.append(step)
        return 0.01 * (step + 1)

    model = tiny_model()
    records = list(train_steps(model, all_steps([8]), sgd(model), lr_at, start=5))
    assert asked == [5, 6, 7, 8]
    assert [record.step for record in records] == [6, 7, 8, 9]
    assert [record.lr for record in records] == [0.01 * (step + 1) for step in asked]


def test_the_update_uses_the_rate_of_its_own_step():
    model = tiny_model()
    before = snapshot(model)
    rates, moves = [0.0, 0.1, 0.0], []
    for _ in train_steps(model, all_steps([8])[:3], sgd(model), lambda step: rates[step]):
        moves.append(difference(snapshot(model), before))
        before = snapshot(model)
    assert moves[0] == moves[2] == 0 < moves[1]


def test_a_run_that_is_stopped_and_continued_equals_one_that_is_not():
    def lr_at(step):
        return 0.05 / (step + 1)

    batches = all_steps([3])
    whole, stopped = tiny_model(), tiny_model()
    first = adamw(stopped)
    list(train_steps(whole, batches, adamw(whole), lr_at))
    list(train_steps(stopped, batches[:2], first, lr_at))
    second = adamw(stopped)
    second.load_state_dict(first.state_dict())
    list(train_steps(stopped, batches[2:], second, lr_at, start=2))
    assert difference(snapshot(whole), snapshot(stopped)) == 0


def test_the_loop_does_no_step_before_it_is_asked_for():
    model, drawn = tiny_model(), []

    def batches():
        for examples in STEPS:
            drawn.append(examples)
            yield micro_batches(examples, [8])

    steps = train_steps(model, batches(), sgd(model), lambda step: 0.05)
    assert drawn == []
    next(steps)
    after_one = snapshot(model)
    steps.close()
    assert len(drawn) == 1
    assert difference(snapshot(model), after_one) == 0


def test_a_record_counts_targets_and_tokens_by_hand():
    examples = [Rendered([1, 2, 3, 4, 5], [0, 0, 1, 1, 0]), Rendered([6, 7, 8], [1, 0, 1])]
    model = tiny_model()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    for collate in (pad, lambda part: pack(part, 16)):
        record, = train_steps(model, [[collate(examples)]], sgd(model), lambda step: 0.0)
        assert isinstance(record, StepRecord)
        assert (record.step, record.lr) == (1, 0.0)
        assert (record.targets, record.tokens) == (3, 8), "a first token is no target"
        assert record.loss == pytest.approx(math.log(19), rel=1e-12)
        assert 0 <= record.waited <= record.seconds


def test_gradients_are_gone_after_a_step():
    model = tiny_model()
    list(train_steps(model, all_steps([3])[:1], sgd(model), lambda step: 0.1))
    assert all(parameter.grad is None for parameter in model.parameters())


def first_moments(optimizer):
    return [state["m"].clone() for state in optimizer.state.values()]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_raises_an_error_before_the_parameters_change(value):
    model = tiny_model()
    optimizer = adamw(model)
    batches = all_steps([3])
    list(train_steps(model, batches[:1], optimizer, lambda step: 0.05))
    with torch.no_grad():
        model.ln_f.bias[3] = value

    def finite_parameters():
        return {name: parameter.nan_to_num() for name, parameter in snapshot(model).items()}

    before, moments = finite_parameters(), first_moments(optimizer)
    with pytest.raises(NonFiniteLoss, match="step 2: the loss is (nan|inf)"):
        list(train_steps(model, batches[1:], optimizer, lambda step: 0.05, start=1))
    assert difference(finite_parameters(), before) == 0
    assert all(torch.equal(a, b) for a, b in zip(first_moments(optimizer), moments))
    assert all(state["t"] == 1 for state in optimizer.state.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_infinite_loss_with_finite_gradients_raises_an_error_too(monkeypatch):
    model = tiny_model()
    before, head = snapshot(model), model.head
    impossible = torch.arange(19) == 3
    monkeypatch.setattr(model, "head", lambda x: head(x).masked_fill(impossible, -math.inf))
    batch = pad([Rendered([1, 2, 3], [0, 1, 1])])  # the target 3 has a loss of -log 0
    with pytest.raises(NonFiniteLoss, match=r"step 1: the loss is inf, its gradient's norm \d"):
        list(train_steps(model, [[batch]], adamw(model), lambda step: 0.05))
    assert difference(snapshot(model), before) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_under_a_finite_loss_raises_an_error_too(value):
    model, step = tiny_model(), all_steps([8])[:1]
    before = snapshot(model)
    weight = model.h[0].mlp.c_fc.weight
    hook = weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    with pytest.raises(NonFiniteLoss, match=rf"step 1: the loss is \d.*norm {value}"):
        list(train_steps(model, step, adamw(model), lambda step: 0.05))
    assert difference(snapshot(model), before) == 0
    hook.remove()
    list(train_steps(model, step, adamw(model), lambda step: 0.05))
    assert difference(snapshot(model), before) > 0


def test_a_step_with_nothing_supervised_warns_and_changes_nothing():
    model = tiny_model()
    optimizer = adamw(model)
    first, second, *_ = all_steps([8])
    silent = [pad([Rendered([1, 2, 3], [0, 0, 0])])]
    steps = train_steps(model, [first, silent, second], optimizer, lambda step: 0.05)
    next(steps)
    before, moments = snapshot(model), first_moments(optimizer)
    with pytest.warns(UserWarning, match="step 2: nothing in this batch is supervised"):
        record = next(steps)
    assert (record.step, record.targets, record.tokens) == (2, 0, 3)
    assert (record.loss, record.grad_norm) == (0.0, 0.0)
    assert difference(snapshot(model), before) == 0  # no decay, no momentum
    assert all(torch.equal(a, b) for a, b in zip(first_moments(optimizer), moments))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert next(steps).targets > 0
    assert difference(snapshot(model), before) > 0


def test_an_unsupervised_micro_batch_gives_no_warning_and_changes_nothing():
    silent = pad([Rendered([1, 2, 3], [0, 0, 0])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_it, _ = trained([[*batches, silent] for batches in all_steps([3])], adamw)
    without, _ = trained(all_steps([3]), adamw)
    assert difference(with_it, without) == 0


def test_frozen_parameters_stay_the_same_to_the_bit_and_the_others_train():
    model = tiny_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "mlp" in name
    before = snapshot(model)
    list(train_steps(model, all_steps([3]), adamw(model), lambda step: 0.05))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != ("mlp" in name), name


def test_training_mode_is_set_at_every_step_even_if_the_caller_evaluates():
    model, modes = tiny_model(dropout=0.5), []
    trunk = model.trunk
    model.trunk = lambda *given, **named: modes.append(model.training) or trunk(*given, **named)
    for _ in train_steps(model, all_steps([4]), adamw(model), lambda step: 0.01):
        model.eval()
    assert modes == [True] * 7  # 2 + 2 + 2 + 1 micro-batches


def test_bfloat16_computes_in_half_precision_and_keeps_parameters_in_float32(monkeypatch):
    model, dtypes = tiny_model(dtype=torch.float32), []
    head = model.head
    model.head = lambda x: dtypes.append(head(x).dtype) or head(x)
    optimizer = adamw(model)
    half = list(train_steps(
        model, all_steps([8]), optimizer, lambda step: 1e-3, dtype=torch.bfloat16))
    assert set(dtypes) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {moment.dtype for moment in first_moments(optimizer)} == {torch.float32}

    model = tiny_model(dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = list(train_steps(model, all_steps([8]), adamw(model), lambda step: 1e-3))
    half_losses, full_losses = ([record.loss for record in records] for records in (half, full))
    assert half_losses == pytest.approx(full_losses, rel=0.03)
    assert half_losses != full_losses


def test_training_learns_what_is_supervised_by_heart():
    rng = random.Random(0)
    texts = [[rng.randrange(19) for _ in range(8)] for _ in range(4)]
    answers = pad([Rendered(ids, [0, 0, 0, 0, 1, 1, 1, 1]) for ids in texts])
    prompts = pad([Rendered(ids, [0, 1, 1, 1, 0, 0, 0, 0]) for ids in texts])
    model = tiny_model()
    records = list(train_steps(
        model, [[answers]] * 150, AdamW(model.parameters()), lambda step: 0.03))
    assert records[0].loss > 1 and records[-1].loss < 0.05
    loss, targets = sft_loss(model, prompts)
    assert loss.item() / targets > 1, "the prompts were no targets, so they were not learnt"
