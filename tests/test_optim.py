"""Optimizer, clipping and schedules against torch's own, and worked by hand."""

import io
import math

import pytest
import torch
from conftest import random_ids, tiny_model
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

from minisft.layers import Linear
from minisft.optim import AdamW, adamw, clip_grad_norm, parameter_groups, warmup_cosine, wsd

SHAPES = [(4, 3), (3,), (2, 3, 2), (), (5, 1)]


def random_parameters(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in SHAPES]


def random_gradients(step, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(1000 + step)
    return [scale * torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]


def present(step, index):
    """Whether a parameter has a gradient: 1 never, 2 at two of three steps, 4 from step 20 on."""
    return not (index == 1 or (index == 2 and step % 3 == 0) or (index == 4 and step < 20))


def give_gradients(parameters, step, **options):
    gradients = random_gradients(step, **options)
    for index, (parameter, gradient) in enumerate(zip(parameters, gradients)):
        parameter.grad = gradient if present(step, index) else None


def gradients_of(parameters):
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def largest_gap(ours, theirs):
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs))


@pytest.mark.parametrize("eps", [1e-2, 1e-8])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_adamw_equals_torchs_over_fifty_steps(eps, scale, dtype, tolerance):
    ours, theirs = random_parameters(dtype=dtype), random_parameters(dtype=dtype)
    start = [parameter.detach().clone() for parameter in ours]
    optimizer = AdamW(ours, betas=(0.9, 0.95), eps=eps, weight_decay=0.3)
    oracle = torch.optim.AdamW(theirs, betas=(0.9, 0.95), eps=eps, weight_decay=0.3)
    for step in range(50):
        optimizer.lr = oracle.param_groups[0]["lr"] = 0.01 * (1 + math.sin(step))
        give_gradients(ours, step, dtype=dtype, scale=scale)
        give_gradients(theirs, step, dtype=dtype, scale=scale)
        optimizer.step()
        oracle.step()
        assert largest_gap(ours, theirs) < tolerance
    assert torch.equal(ours[1], start[1])  # never a gradient: no decay either
    steps = {index: state["t"] for index, state in optimizer.state.items()}
    assert steps == {0: 50, 2: 33, 3: 50, 4: 30}


def test_adamw_with_groups_equals_torchs_with_groups():
    ours, theirs = random_parameters(), random_parameters()

    def groups(parameters):
        return [{"params": parameters[:2], "weight_decay": 0.3},
                {"params": parameters[2:], "weight_decay": 0.0}]

    optimizer = AdamW(groups(ours), lr=0.02)
    oracle = torch.optim.AdamW(groups(theirs), lr=0.02, betas=(0.9, 0.95))
    for step in range(50):
        for parameters in (ours, theirs):
            for parameter, gradient in zip(parameters, random_gradients(step)):
                parameter.grad = gradient
        optimizer.step()
        oracle.step()
    assert largest_gap(ours, theirs) < 1e-12


def test_two_adamw_steps_worked_by_hand():
    theta = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer = AdamW([theta], lr=0.1, betas=(0.5, 0.75), eps=1.0, weight_decay=0.5)
    theta.grad = torch.tensor([4.0], dtype=torch.float64)
    optimizer.step()  # m_hat = 4, sqrt(v_hat) = 4: 2 (1 - 0.05) - 0.1 * 4 / (4 + 1)
    assert theta.item() == pytest.approx(1.82, rel=1e-14)
    theta.grad = torch.tensor([0.0], dtype=torch.float64)
    optimizer.step()  # m = 2 / 2 = 1, m_hat = 1 / 0.75; v = 4 * 0.75 = 3, v_hat = 3 / 0.4375
    m_hat, v_hat = 1 / 0.75, 3 / 0.4375
    expected = 1.82 * 0.95 - 0.1 * m_hat / (math.sqrt(v_hat) + 1)
    assert theta.item() == pytest.approx(expected, rel=1e-14)


def test_with_zero_gradients_decay_alone_acts_and_only_on_matrices():
    model = tiny_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = AdamW(parameter_groups(model, weight_decay=0.3), lr=0.1)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 0.97 ** 2 if parameter.dim() >= 2 else 1.0
        assert torch.allclose(parameter, before[name] * factor, rtol=1e-14, atol=0), name


def large_parameters(dtype):
    """Parameters of 400 numbers and more, in several orders of memory; some gradients in another.

    Returns (parameters, gradients).
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    parameters = [draw(37, 53), draw(53, 37).T, draw(5, 7, 31).permute(2, 0, 1), draw(1999),
                  draw(1, 401), draw(401, 1), draw(999, 3)[:, :2], Linear(33, 47).weight.to(dtype)]
    gradients = [torch.randn_like(parameter) for parameter in parameters]
    gradients[0], gradients[3] = draw(53, 37).T, draw(3998)[::2]
    return [parameter.detach().clone().requires_grad_() for parameter in parameters], gradients


def adamw_at_once(theta, m, v, g, t, lr, beta1, beta2, eps, weight_decay):
    """A step of whole tensors, in the calls and the order that decide the last bit."""
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    denominator = v.sqrt().div_(math.sqrt(1 - beta2 ** t)).add_(eps)
    theta.mul_(1 - lr * weight_decay)
    theta.addcdiv_(m, denominator, value=-lr / (1 - beta1 ** t))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("numbers", [1, 100, 256, 10**6])
def test_a_parameter_updated_in_pieces_has_the_bits_of_one_updated_at_once(
        numbers, dtype, monkeypatch):
    monkeypatch.setattr(adamw, "PIECE", numbers)
    parameters, gradients = large_parameters(dtype)
    optimizer = AdamW(parameters, lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3)
    whole = [parameter.detach().clone() for parameter in parameters]
    moments = [(torch.zeros_like(theta), torch.zeros_like(theta)) for theta in whole]
    for t in range(1, 6):
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient * t
        optimizer.step()
        for theta, (m, v), gradient in zip(whole, moments, gradients):
            adamw_at_once(theta, m, v, gradient * t, t, 0.01, 0.9, 0.95, 1e-8, 0.3)
    for index, (theta, (m, v)) in enumerate(zip(whole, moments)):
        assert torch.equal(parameters[index], theta)
        assert torch.equal(optimizer.state[index]["m"], m)
        assert torch.equal(optimizer.state[index]["v"], v)


def test_pieces_cover_a_parameter_once_and_each_is_one_stretch_of_memory():
    weight = Linear(700, 900).weight
    seen = torch.zeros_like(weight)
    cut = list(adamw.pieces(weight.detach(), seen))
    for theta, part in cut:
        assert theta.T.is_contiguous() and theta.numel() <= adamw.PIECE
        part += 1
    assert len(cut) == 5  # 145 columns of 900 numbers at a time, and what is left
    assert (seen == 1).all()


def names_of(model, group):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in group["params"]]


MATRICES, VECTORS = {"wte.weight", "wpe.weight"}, {"ln_f.weight", "ln_f.bias"}
for layer in range(2):
    for linear in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        MATRICES.add(f"h.{layer}.{linear}.weight")
        VECTORS.add(f"h.{layer}.{linear}.bias")
    for norm in ("ln_1", "ln_2"):
        VECTORS |= {f"h.{layer}.{norm}.weight", f"h.{layer}.{norm}.bias"}


def test_matrices_decay_and_vectors_do_not_each_in_its_group_once():
    model = tiny_model()
    decayed, plain = parameter_groups(model, weight_decay=0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert sorted(names_of(model, decayed)) == sorted(MATRICES)
    assert sorted(names_of(model, plain)) == sorted(VECTORS)


def test_frozen_parameters_are_in_no_group():
    model = tiny_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("h.1.")
    decayed, plain = parameter_groups(model, weight_decay=0.3)
    assert set(names_of(model, decayed)) == {name for name in MATRICES if name.startswith("h.1.")}
    assert set(names_of(model, plain)) == {name for name in VECTORS if name.startswith("h.1.")}
    assert len(AdamW([decayed, plain]).parameters) == 12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_saved_and_loaded_optimizer_continues_with_the_same_bits(dtype):
    whole, cut = random_parameters(dtype=dtype), random_parameters(dtype=dtype)
    one, two = (AdamW(parameters, lr=0.05, weight_decay=0.3) for parameters in (whole, cut))
    file = io.BytesIO()
    for step in range(30):
        if step == 17:
            torch.save(two.state_dict(), file)
            file.seek(0)
            two = AdamW(cut, lr=0.05, weight_decay=0.3)
            two.load_state_dict(torch.load(file, weights_only=True))
        for parameters, optimizer in ((whole, one), (cut, two)):
            give_gradients(parameters, step, dtype=dtype)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, cut))
    assert one.state.keys() == two.state.keys() == {0, 2, 3, 4}
    for index in one.state:
        assert one.state[index]["t"] == two.state[index]["t"]
        assert torch.equal(one.state[index]["m"], two.state[index]["m"])
        assert torch.equal(one.state[index]["v"], two.state[index]["v"])


def test_a_loaded_state_is_a_copy():
    first, second = random_parameters(), random_parameters()
    one, two = AdamW(first), AdamW(second)
    give_gradients(first, 1)
    one.step()
    two.load_state_dict(one.state_dict())
    before = two.state[0]["m"].clone()
    give_gradients(first, 2)
    one.step()
    assert two.state[0]["t"] == 1 and torch.equal(two.state[0]["m"], before)


def test_a_forgotten_state_would_be_seen():
    with_state, without = random_parameters(), random_parameters()
    one, two = AdamW(with_state, lr=0.05), AdamW(without, lr=0.05)
    for step in range(6):
        if step == 3:
            two = AdamW(without, lr=0.05)
        for parameters, optimizer in ((with_state, one), (without, two)):
            give_gradients(parameters, step)
            optimizer.step()
    assert largest_gap(with_state, without) > 1e-3


def test_zero_grad_removes_every_gradient():
    parameters = random_parameters()
    give_gradients(parameters, 1)
    AdamW(parameters).zero_grad()
    assert all(parameter.grad is None for parameter in parameters)


def test_a_state_of_other_parameters_is_refused():
    saved = AdamW(random_parameters()).state_dict()
    with pytest.raises(ValueError, match="belongs to other parameters"):
        AdamW(random_parameters()[:4]).load_state_dict(saved)
    with pytest.raises(ValueError, match="belongs to other parameters"):
        AdamW(random_parameters()[::-1]).load_state_dict(saved)


@pytest.mark.parametrize("wrong", [
    {"lr": -1}, {"lr": math.nan}, {"eps": -1}, {"weight_decay": -0.1},
    {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)},
])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must not be negative, betas in"):
        AdamW(random_parameters(), **wrong)


@pytest.mark.parametrize("nothing", [[], [{"params": [], "weight_decay": 0.1}]])
def test_an_optimizer_of_nothing_is_refused(nothing):
    with pytest.raises(ValueError, match="no parameters to train"):
        AdamW(nothing)


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 5.0, 100.0, math.inf])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_clipping_equals_torch_above_and_below_the_threshold(max_norm, dtype, tolerance):
    ours, theirs = random_parameters(dtype=dtype), random_parameters(dtype=dtype)
    give_gradients(ours, 1, dtype=dtype)
    give_gradients(theirs, 1, dtype=dtype)
    before = [gradient.clone() for gradient in gradients_of(ours)]
    norm = clip_grad_norm(ours, max_norm)
    expected = nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm.shape == () and norm.item() == pytest.approx(expected.item(), rel=tolerance)
    after = gradients_of(ours)
    # torch adds 1e-6 to the norm it divides by
    slack = tolerance + 1e-6 * max(gradient.abs().max().item() for gradient in after)
    assert largest_gap(after, gradients_of(theirs)) < slack
    if max_norm > norm:
        assert all(torch.equal(a, b) for a, b in zip(after, before))


def test_clipping_brings_the_norm_to_the_threshold_and_keeps_the_direction():
    parameters = random_parameters()
    give_gradients(parameters, 1)
    before = torch.cat([gradient.flatten() for gradient in gradients_of(parameters)])
    norm = clip_grad_norm(parameters, 0.5)
    after = torch.cat([gradient.flatten() for gradient in gradients_of(parameters)])
    assert norm.item() == pytest.approx(before.norm().item(), rel=1e-14)
    assert after.norm().item() == pytest.approx(0.5, rel=1e-14)
    assert torch.allclose(after / after.norm(), before / before.norm(), rtol=0, atol=1e-14)


def test_clipping_worked_by_hand():
    a, b = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    a.grad, b.grad = torch.tensor([2.0, 3.0]), torch.tensor([6.0])
    assert clip_grad_norm(iter([a, b]), 3.5).item() == 7.0  # 4 + 9 + 36 = 49
    assert (a.grad.tolist(), b.grad.tolist()) == ([1.0, 1.5], [3.0])


def test_a_norm_at_the_threshold_is_left_alone():
    w = torch.zeros(2, requires_grad=True)
    w.grad = torch.tensor([3.0, 4.0])
    assert clip_grad_norm([w], 5.0).item() == 5.0
    assert w.grad.tolist() == [3.0, 4.0]


def test_gradients_that_are_missing_or_zero_stay_so():
    w, frozen = torch.zeros(2, requires_grad=True), torch.zeros(2)
    assert clip_grad_norm([w, frozen], 1.0).item() == 0.0
    assert w.grad is None and frozen.grad is None
    w.grad = torch.zeros(2)
    assert clip_grad_norm([w, frozen], 1.0).item() == 0.0
    assert w.grad.tolist() == [0.0, 0.0]
    assert clip_grad_norm([], 1.0).item() == 0.0


@pytest.mark.parametrize("max_norm", [0, 0.0, -1.0, math.nan])
def test_a_threshold_that_is_not_positive_is_refused(max_norm):
    w = torch.zeros(2, requires_grad=True)
    w.grad = torch.ones(2)
    with pytest.raises(ValueError, match="max_norm must be positive"):
        clip_grad_norm([w], max_norm)
    assert w.grad.tolist() == [1.0, 1.0]


def torch_rates(steps, peak, schedule_of):
    """Learning rates of a torch schedule, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    schedule = schedule_of(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("floor", [0.0, 0.02])
@pytest.mark.parametrize("warmup", [1, 8])
def test_warmup_cosine_equals_torchs_linear_then_cosine(warmup, floor):
    peak, total = 0.3, 50

    def schedule_of(optimizer):
        rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        fall = CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=floor)
        return SequentialLR(optimizer, [rise, fall], milestones=[warmup])

    ours = [warmup_cosine(peak, total, warmup, floor)(step) for step in range(total + 1)]
    assert ours == pytest.approx(torch_rates(total + 1, peak, schedule_of), rel=0, abs=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.02])
@pytest.mark.parametrize("warmup, decay", [(1, 10), (8, 20), (8, 42)])
def test_wsd_equals_torchs_linear_constant_linear(warmup, decay, floor):
    peak, total = 0.3, 50

    def schedule_of(optimizer):
        rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        stay = ConstantLR(optimizer, factor=1.0)
        fall = LinearLR(optimizer, start_factor=1.0, end_factor=floor / peak, total_iters=decay)
        milestones = [warmup, total - decay]
        if warmup + decay == total:
            return SequentialLR(optimizer, [rise, fall], milestones=milestones[:1])
        return SequentialLR(optimizer, [rise, stay, fall], milestones=milestones)

    ours = [wsd(peak, total, warmup, decay, floor)(step) for step in range(total + 10)]
    assert ours == pytest.approx(torch_rates(total + 10, peak, schedule_of), rel=0, abs=1e-12)


@pytest.mark.parametrize("schedule, rates", [
    (warmup_cosine(1.0, total=6, warmup=2),
     [0.5, 1, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0]),
    (warmup_cosine(8.0, total=2, floor=4.0), [8, 6, 4, 4]),
    (warmup_cosine(1.0, total=2, warmup=2), [0.5, 1, 0, 0]),
    (warmup_cosine(1.0, total=2, warmup=4), [0.25, 0.5, 0, 0]),
    (warmup_cosine(1.0, total=0), [0, 0]),
    (wsd(1.0, total=8, warmup=2, decay=4), [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
    (wsd(4.0, total=4, warmup=1, decay=2, floor=2.0), [4, 4, 4, 3, 2, 2]),
    (wsd(1.0, total=3), [1, 1, 1, 0, 0]),
    (wsd(1.0, total=4, warmup=2, decay=2), [0.5, 1, 1, 0.5, 0]),
])
def test_rates_worked_by_hand(schedule, rates):
    assert [schedule(step) for step in range(len(rates))] == pytest.approx(rates, abs=1e-15)


@pytest.mark.parametrize("make", [warmup_cosine, wsd])
def test_after_the_end_the_rate_stays_at_the_floor(make):
    lr = make(1.0, 20, 5, floor=0.1)
    assert {lr(step) for step in range(20, 200)} == {0.1}


@pytest.mark.parametrize("make", [
    lambda: warmup_cosine(1.0, -1),
    lambda: warmup_cosine(1.0, 5, -1),
    lambda: wsd(1.0, 5, decay=-1),
])
def test_negative_numbers_of_steps_are_refused(make):
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        make()


@pytest.mark.parametrize("make", [warmup_cosine, wsd])
@pytest.mark.parametrize("peak, floor", [(1.0, 2.0), (1.0, -0.1), (math.nan, 0.0), (1.0, math.nan),
                                         (math.inf, 0.0)])
def test_a_floor_above_the_peak_or_below_zero_is_refused(make, peak, floor):
    with pytest.raises(ValueError, match="0 <= floor <= peak"):
        make(peak, 5, floor=floor)


def test_a_wsd_whose_phases_overlap_is_refused():
    with pytest.raises(ValueError, match=r"warmup \(3\) and decay \(3\) do not fit into 5 steps"):
        wsd(1.0, 5, warmup=3, decay=3)


def test_the_optimizer_brings_a_real_models_loss_down():
    model, ids = tiny_model(), random_ids(4, 10)
    optimizer = AdamW(parameter_groups(model, weight_decay=0.01), lr=0.02)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
