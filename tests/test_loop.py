"""The loop against a plain PyTorch loop, and against every way in which a step can go wrong."""

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

WINDOWS = [random_examples(size, seed) for seed, size in enumerate((8, 8, 8, 3))]  # the last is a partial one


class PlainSGD:
    """theta <- theta - lr g: unlike Adam it forgives no wrong factor."""

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


def split(examples, sizes, collate=pad):
    """A window of batches of these sizes, the last size again and again until nothing is left."""
    pieces, start = [], 0
    while start < len(examples):
        size = sizes[min(len(pieces), len(sizes) - 1)]
        pieces.append(collate(examples[start:start + size]))
        start += size
    return pieces


def trained(windows, optimizer_of=lambda model: PlainSGD(model.parameters()), **options):
    """Parameters and records after training a tiny model on these windows."""
    model = tiny_model()
    records = list(train_steps(model, windows, optimizer_of(model), lambda step: 0.05, **options))
    return snapshot(model), records


def adamw(model):
    # The true gradient of a key's bias is zero; a smaller eps would blow its rounding error up to a step.
    return AdamW(parameter_groups(model, weight_decay=0.3), eps=1e-4)


def by_pytorch(max_norm, optimizer_of):
    """What PyTorch makes of the same windows: full logits, ignore_index, mean over all targets of the window."""
    model = tiny_model()
    optimizer = optimizer_of(model)
    losses, norms = [], []
    for examples in WINDOWS:
        targets = sum(sum(example.loss_mask) for example in examples)
        loss = sum(reference_loss(model, example) for example in examples) / targets
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm().item()
        for parameter in model.parameters():
            parameter.grad *= min(1.0, max_norm / norm)
        optimizer.step()
        norms.append(norm)
        losses.append(loss.item())
    return snapshot(model), losses, norms


def torch_adamw(model):
    decay, no_decay = ([p for p in model.parameters() if (p.dim() >= 2) == matrix] for matrix in (True, False))
    return torch.optim.AdamW([{"params": decay, "weight_decay": 0.3}, {"params": no_decay, "weight_decay": 0.0}],
                             lr=0.05, betas=(0.9, 0.95), eps=1e-4)


@pytest.mark.parametrize("max_norm", [math.inf, 0.5])
@pytest.mark.parametrize("ours, theirs", [
    (lambda model: PlainSGD(model.parameters()), lambda model: torch.optim.SGD(model.parameters(), lr=0.05)),
    (adamw, torch_adamw),
])
def test_the_loop_equals_one_in_plain_pytorch(ours, theirs, max_norm):
    parameters, records = trained([[pad(examples)] for examples in WINDOWS], ours, max_norm=max_norm)
    expected, losses, norms = by_pytorch(max_norm, theirs)
    assert difference(parameters, expected) < 1e-10
    assert [record.loss for record in records] == pytest.approx(losses, rel=1e-12)
    assert [record.grad_norm for record in records] == pytest.approx(norms, rel=1e-10)
    assert difference(parameters, snapshot(tiny_model())) > 0.01


@pytest.mark.parametrize("optimizer_of", [lambda model: PlainSGD(model.parameters()), adamw])
@pytest.mark.parametrize("sizes", [[1], [2], [4], [3], [7, 1], [1, 5, 2]])
def test_any_split_of_a_step_is_the_same_step(sizes, optimizer_of):
    whole, records = trained([split(examples, [8]) for examples in WINDOWS], optimizer_of)
    pieces, others = trained([split(examples, sizes) for examples in WINDOWS], optimizer_of)
    assert difference(pieces, whole) < 1e-10
    for record, other in zip(records, others):
        assert (other.step, other.targets, other.tokens) == (record.step, record.targets, record.tokens)
        assert other.loss == pytest.approx(record.loss, rel=1e-12)
        assert other.grad_norm == pytest.approx(record.grad_norm, rel=1e-10)


def test_a_mean_of_means_would_be_seen():
    model = tiny_model()
    examples = WINDOWS[0]
    targets = sum(sum(example.loss_mask) for example in examples)
    right = gradients(model, sum(reference_loss(model, example) for example in examples) / targets)
    means = [reference_loss(model, example) / sum(example.loss_mask) for example in examples]
    assert difference(gradients(model, sum(means) / len(means)), right) > 1e-2


@pytest.mark.parametrize("sizes", [[8], [3]])
def test_packed_training_equals_padded_training(sizes):
    padded, records = trained([split(examples, sizes) for examples in WINDOWS])
    packed, others = trained([split(examples, sizes, lambda part: pack(part, 16)) for examples in WINDOWS])
    assert difference(packed, padded) < 1e-10
    assert [(r.targets, r.tokens) for r in records] == [(r.targets, r.tokens) for r in others]


def test_the_mask_travels_from_the_conversation_into_the_update():
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    messages = [{"role": role, "content": text} for role, text in
                [("system", "s"), ("user", "ab"), ("assistant", "cd"), ("user", "e"), ("assistant", "f")]]
    rendered = render(Conversation.from_messages(messages), tokenizer)
    #  <|endoftext|> <|system|> s <|end|> <|user|> a b <|end|> <|assistant|> c d <|end|> <|user|> e <|end|>
    #  <|assistant|> f <|end|>: the answers and their ends are tokens 9, 10, 11 and 16, 17
    supervised = {9, 10, 11, 16, 17}
    other = render(Conversation.from_messages(messages[1:3]), tokenizer)

    for collate in (pad, lambda examples: pack(examples, 32)):
        def after_one_step(edit, collate=collate):
            model = tiny_model(vocab_size=tokenizer.vocab_size, block_size=32)
            batch = collate([rendered, other])
            assert batch.ids[0, :18].tolist() == rendered.ids
            embed, inputs = model.embed, batch.ids.clone()
            model.embed = lambda ids, positions: embed(inputs, positions)  # only targets are edited, never inputs
            if edit is not None:
                batch.ids[0, edit] = (batch.ids[0, edit] + 1) % tokenizer.vocab_size
            list(train_steps(model, [[batch]], PlainSGD(model.parameters()), lambda step: 0.1, max_norm=math.inf))
            return snapshot(model)

        before = after_one_step(None)
        for i in range(18):
            moved = difference(after_one_step(i), before)
            assert moved > 1e-4 if i in supervised else moved == 0, i


def test_steps_are_numbered_from_start_and_the_rate_is_asked_for_each():
    asked = []

    def lr_at(step):
        asked.append(step)
        return 0.01 * (step + 1)

    model = tiny_model()
    optimizer = PlainSGD(model.parameters())
    windows = [split(examples, [8]) for examples in WINDOWS]
    records = list(train_steps(model, windows, optimizer, lr_at, start=5))
    assert asked == [5, 6, 7, 8]
    assert [record.step for record in records] == [6, 7, 8, 9]
    assert [record.lr for record in records] == [0.01 * (step + 1) for step in asked]


def test_the_update_uses_the_rate_of_its_own_step():
    model = tiny_model()
    before = snapshot(model)
    rates = [0.0, 0.1, 0.0]
    windows = [split(examples, [8]) for examples in WINDOWS[:3]]
    moves = []
    for _ in train_steps(model, windows, PlainSGD(model.parameters()), rates.__getitem__):
        moves.append(difference(snapshot(model), before))
        before = snapshot(model)
    assert moves[0] == moves[2] == 0 < moves[1]


def test_a_run_cut_in_two_equals_one_that_was_not():
    windows = [split(examples, [3]) for examples in WINDOWS]
    whole, cut = tiny_model(), tiny_model()
    one, two = adamw(whole), adamw(cut)
    list(train_steps(whole, windows, one, lambda step: 0.05 / (step + 1)))
    list(train_steps(cut, windows[:2], two, lambda step: 0.05 / (step + 1)))
    resumed = adamw(cut)
    resumed.load_state_dict(two.state_dict())
    list(train_steps(cut, windows[2:], resumed, lambda step: 0.05 / (step + 1), start=2))
    assert difference(snapshot(whole), snapshot(cut)) == 0


def test_the_loop_does_no_step_that_nobody_asked_for():
    model, drawn = tiny_model(), []

    def windows():
        for examples in WINDOWS:
            drawn.append(examples)
            yield split(examples, [8])

    steps = train_steps(model, windows(), PlainSGD(model.parameters()), lambda step: 0.05)
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
        record, = train_steps(model, [[collate(examples)]], PlainSGD(model.parameters()), lambda step: 0.0)
        assert isinstance(record, StepRecord)
        assert (record.step, record.targets, record.tokens, record.lr) == (1, 3, 8, 0.0)  # a first token is no target
        assert record.loss == pytest.approx(math.log(19), rel=1e-12)
        assert 0 <= record.waited <= record.seconds


def test_gradients_are_gone_after_a_step():
    model = tiny_model()
    list(train_steps(model, [split(WINDOWS[0], [3])], PlainSGD(model.parameters()), lambda step: 0.1))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_raised_before_the_parameters_change(value):
    model = tiny_model()
    optimizer = adamw(model)
    windows = [split(examples, [3]) for examples in WINDOWS]
    list(train_steps(model, windows[:1], optimizer, lambda step: 0.05))
    with torch.no_grad():
        model.ln_f.bias[3] = value
    before = {name: parameter.nan_to_num() for name, parameter in snapshot(model).items()}
    moments = [state["m"].clone() for state in optimizer.state.values()]
    with pytest.raises(NonFiniteLoss, match="step 2: the loss is (nan|inf)"):
        list(train_steps(model, windows[1:], optimizer, lambda step: 0.05, start=1))
    assert difference({name: parameter.nan_to_num() for name, parameter in snapshot(model).items()}, before) == 0
    assert all(state["t"] == 1 and torch.equal(state["m"], m) for state, m in zip(optimizer.state.values(), moments))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_infinite_loss_with_finite_gradients_is_raised_too(monkeypatch):
    model = tiny_model()
    before, head = snapshot(model), model.head
    monkeypatch.setattr(model, "head", lambda x: head(x).masked_fill(torch.arange(19) == 3, -math.inf))
    window = [pad([Rendered([1, 2, 3], [0, 1, 1])])]  # 3 is impossible: a loss of -log 0
    with pytest.raises(NonFiniteLoss, match=r"step 1: the loss is inf and its gradient's norm \d"):
        list(train_steps(model, [window], adamw(model), lambda step: 0.05))
    assert difference(snapshot(model), before) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_raised_too(value):
    model = tiny_model()
    before = snapshot(model)
    hook = model.h[0].mlp.c_fc.weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    with pytest.raises(NonFiniteLoss, match=rf"step 1: the loss is \d.*norm {value}"):
        list(train_steps(model, [split(WINDOWS[0], [8])], adamw(model), lambda step: 0.05))
    assert difference(snapshot(model), before) == 0
    hook.remove()
    list(train_steps(model, [split(WINDOWS[0], [8])], adamw(model), lambda step: 0.05))
    assert difference(snapshot(model), before) > 0


def test_a_window_with_nothing_supervised_warns_and_moves_nothing():
    model = tiny_model()
    optimizer = adamw(model)
    windows = [split(WINDOWS[0], [8]), [pad([Rendered([1, 2, 3], [0, 0, 0])])], split(WINDOWS[1], [8])]
    steps = train_steps(model, windows, optimizer, lambda step: 0.05)
    next(steps)
    before, moments = snapshot(model), [state["m"].clone() for state in optimizer.state.values()]
    with pytest.warns(UserWarning, match="step 2: nothing in this batch is supervised"):
        record = next(steps)
    assert (record.step, record.targets, record.tokens, record.loss, record.grad_norm) == (2, 0, 3, 0.0, 0.0)
    assert difference(snapshot(model), before) == 0  # no decay, no momentum
    assert all(torch.equal(state["m"], m) for state, m in zip(optimizer.state.values(), moments))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert next(steps).targets > 0
    assert difference(snapshot(model), before) > 0


def test_an_unsupervised_piece_of_a_step_is_no_reason_to_warn_and_changes_nothing():
    silent = pad([Rendered([1, 2, 3], [0, 0, 0])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_it, _ = trained([[*split(examples, [3]), silent] for examples in WINDOWS], adamw)
    without, _ = trained([split(examples, [3]) for examples in WINDOWS], adamw)
    assert difference(with_it, without) == 0


def test_frozen_parameters_keep_their_very_bits_and_the_others_train():
    model = tiny_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "mlp" in name
    before = snapshot(model)
    list(train_steps(model, [split(examples, [3]) for examples in WINDOWS], adamw(model), lambda step: 0.05))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != ("mlp" in name), name


def test_training_mode_is_set_at_every_step_even_if_the_consumer_evaluates():
    model, modes = tiny_model(dropout=0.5), []
    trunk = model.trunk
    model.trunk = lambda *given, **named: modes.append(model.training) or trunk(*given, **named)
    for _ in train_steps(model, [split(examples, [4]) for examples in WINDOWS], adamw(model), lambda step: 0.01):
        model.eval()
    assert modes == [True] * 7  # 2 + 2 + 2 + 1 batches


def test_bfloat16_computes_in_half_precision_and_keeps_parameters_in_float32(monkeypatch):
    model, dtypes = tiny_model(dtype=torch.float32), []
    head = model.head
    model.head = lambda x: dtypes.append(head(x).dtype) or head(x)
    optimizer = adamw(model)
    half = list(train_steps(model, [split(examples, [8]) for examples in WINDOWS], optimizer, lambda step: 1e-3,
                            dtype=torch.bfloat16))
    assert set(dtypes) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {state["m"].dtype for state in optimizer.state.values()} == {torch.float32}
    model = tiny_model(dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = list(train_steps(model, [split(examples, [8]) for examples in WINDOWS], adamw(model), lambda step: 1e-3))
    assert [record.loss for record in half] == pytest.approx([record.loss for record in full], rel=0.03)
    assert [record.loss for record in half] != [record.loss for record in full]


def test_training_learns_what_is_supervised_by_heart():
    rng = random.Random(0)
    examples = [Rendered([rng.randrange(19) for _ in range(8)], [0, 0, 0, 0, 1, 1, 1, 1]) for _ in range(4)]
    model = tiny_model()
    losses = [record.loss for record in
              train_steps(model, [[pad(examples)]] * 150, AdamW(model.parameters()), lambda step: 0.03)]
    assert losses[0] > 1 and losses[-1] < 0.05
    loss, targets = sft_loss(model, pad([Rendered(example.ids, [0, 1, 1, 1, 0, 0, 0, 0]) for example in examples]))
    assert loss.item() / targets > 1  # the prompts were never asked of it
