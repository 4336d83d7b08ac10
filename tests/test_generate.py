"""Generation against a loop without a cache, against transformers, and against its own rules."""

import gc
import math

import pytest
import torch
from conftest import random_ids, tiny_model, to_transformers
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from minisft.generate import Sampling, choose, generate, generate_steps

PROMPTS = [[3], [0, 0, 5, 1, 0], [7, 18, 2], [4, 4, 4, 4, 4, 4, 4, 9], [11, 0, 6]]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def greedy_by_hand(model, prompt, max_new_tokens, stop=()):
    """Greedy decoding of one prompt: the whole sequence through the model again for every token."""
    ids = list(prompt)
    while len(ids) < min(len(prompt) + max_new_tokens, model.config.block_size):
        ids.append(model(torch.tensor([ids]))[0, -1].argmax().item())
        if ids[-1] in stop:
            break
    return ids[len(prompt):]


@pytest.mark.parametrize("seed", range(4))
def test_ragged_prompts_together_equal_one_by_one_equal_greedy_without_a_cache(seed):
    model = tiny_model(seed, block_size=24)
    together = generate(model, PROMPTS, 12)
    assert together == [generate(model, [prompt], 12)[0] for prompt in PROMPTS]
    assert together == [greedy_by_hand(model, prompt, 12) for prompt in PROMPTS]
    assert len({tuple(answer) for answer in together}) > 1


def test_rows_that_stop_early_leave_the_others_as_they_would_be_alone():
    finished_early = 0
    for seed in range(6):
        model = tiny_model(seed, block_size=24)
        stop = (2, 5, 8, 11)
        expected = [greedy_by_hand(model, prompt, 12, stop) for prompt in PROMPTS]
        assert generate(model, PROMPTS, 12, stop) == expected
        finished_early += len({len(answer) for answer in expected}) > 1
    assert finished_early >= 2  # or this test would show nothing


@pytest.mark.parametrize("seed", range(3))
def test_greedy_equals_transformers_generate_alone_and_padded_at_the_left(seed):
    model = tiny_model(seed, block_size=24)
    theirs = to_transformers(model)
    greedy = {"max_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    for prompt, ours in zip(PROMPTS, generate(model, PROMPTS, 10)):
        ids = torch.tensor([prompt])
        expected = theirs.generate(ids, attention_mask=torch.ones_like(ids), **greedy)
        assert ours == expected[0, len(prompt):].tolist()
    width = max(map(len, PROMPTS))
    padded = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in PROMPTS])
    real = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    expected = theirs.generate(padded, attention_mask=real, **greedy)
    assert generate(model, PROMPTS, 10) == expected[:, width:].tolist()


def test_a_stop_token_ends_its_row_and_is_part_of_the_answer():
    model = tiny_model(1, block_size=24)
    free = generate(model, PROMPTS, 12)
    for stop in set(sum(free, [])):
        expected = [
            answer[:answer.index(stop) + 1] if stop in answer else answer for answer in free]
        assert generate(model, PROMPTS, 12, stop=(stop,)) == expected


def test_each_step_names_the_rows_that_are_not_finished():
    model = tiny_model(1, block_size=24)
    free = generate(model, PROMPTS, 12)
    stop = free[0][3]
    steps = list(generate_steps(model, PROMPTS, 12, stop=(stop,)))
    answers = generate(model, PROMPTS, 12, stop=(stop,))
    for number, step in enumerate(steps):
        assert step == {
            row: answer[number] for row, answer in enumerate(answers) if number < len(answer)}
    assert len(steps) == max(map(len, answers))


def test_every_row_ends_when_it_fills_the_models_block_size():
    model = tiny_model(block_size=12)
    answers = generate(model, PROMPTS, 100)
    assert [len(answer) for answer in answers] == [12 - len(prompt) for prompt in PROMPTS]
    assert answers == [greedy_by_hand(model, prompt, 100) for prompt in PROMPTS]
    assert len(generate(model, [list(range(11))], 100)[0]) == 1


@pytest.mark.parametrize("max_new_tokens", [0, 1, 4])
def test_no_row_gets_more_than_max_new_tokens_and_the_model_runs_once_for_each(
        max_new_tokens, monkeypatch):
    model, runs = tiny_model(), []
    trunk = model.trunk

    def counted(x, *rest):
        runs.append(x.shape[1])
        return trunk(x, *rest)

    monkeypatch.setattr(model, "trunk", counted)
    answers = generate(model, PROMPTS, max_new_tokens)
    assert [len(answer) for answer in answers] == [max_new_tokens] * len(PROMPTS)
    assert runs[1:] == [1] * (max_new_tokens - 1)


def test_no_prompts_have_no_answers():
    assert generate(tiny_model(), [], 5) == []


def warped(logits, temperature, top_k, top_p):
    """Probabilities after transformers' own warpers, in transformers' order."""
    logits = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        logits = TopKLogitsWarper(top_k)(None, logits)
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(None, logits)
    return logits.softmax(dim=-1)


SAMPLINGS = [
    (1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 0, 1.0),
    (1.0, 1, 1.0), (1.0, 5, 1.0), (1.0, 99, 1.0),
    (1.0, 0, 0.01), (1.0, 0, 0.5), (1.0, 0, 0.9),
    (0.7, 6, 0.8), (1.5, 12, 0.95),
]


@pytest.mark.parametrize("temperature, top_k, top_p", SAMPLINGS)
def test_the_probabilities_drawn_from_equal_those_of_transformers_warpers(
        temperature, top_k, top_p, monkeypatch):
    logits = 2 * torch.randn(300, 19, generator=seeded(0))
    drawn_from = []
    multinomial = torch.multinomial

    def recorded(probabilities, *rest, **named):
        drawn_from.append(probabilities)
        return multinomial(probabilities, *rest, **named)

    monkeypatch.setattr(torch, "multinomial", recorded)
    choose(logits, Sampling(temperature, top_k, top_p), seeded(0))
    expected = warped(logits, temperature, top_k, top_p)
    assert torch.equal(drawn_from[0] > 0, expected > 0)
    assert torch.allclose(drawn_from[0], expected, rtol=0, atol=1e-6)


def check_frequencies(tokens, expected):
    """Tokens drawn many times must have these probabilities, up to 4.5 standard errors."""
    frequencies = tokens.bincount(minlength=len(expected)) / len(tokens)
    standard_error = (expected * (1 - expected) / len(tokens)).sqrt()
    assert (frequencies[expected == 0] == 0).all()
    assert ((frequencies - expected).abs() <= 4.5 * standard_error + 1e-6).all()


@pytest.mark.parametrize("temperature, top_k, top_p", SAMPLINGS)
def test_frequencies_of_many_draws_follow_transformers_warpers(temperature, top_k, top_p):
    draws = 40_000
    logits = 1.5 * torch.randn(1, 19, generator=seeded(1))
    tokens = choose(logits.expand(draws, -1), Sampling(temperature, top_k, top_p), seeded(2))
    check_frequencies(tokens, warped(logits, temperature, top_k, top_p)[0])


def test_top_p_worked_by_hand():
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()[[2, 0, 3, 1]].expand(4000, -1)
    for top_p, allowed in ((0.4, {1}), (0.51, {1, 3}), (0.74, {1, 3}), (0.9, {0, 1, 2, 3})):
        drawn = choose(logits, Sampling(temperature=1, top_p=top_p), seeded(0))
        assert set(drawn.tolist()) == allowed


@pytest.mark.parametrize("top_p, number", [
    (0.2, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_top_p_is_reached_when_the_mass_equals_it(top_p, number):
    logits = torch.zeros(4000, 4)  # exactly a quarter each
    drawn = choose(logits, Sampling(1, top_p=top_p), seeded(0))
    assert len(set(drawn.tolist())) == number


def test_top_k_1_and_temperature_0_are_both_greedy():
    logits = torch.randn(50, 19, generator=seeded(0))
    assert torch.equal(choose(logits, Sampling()), logits.argmax(dim=-1))
    assert torch.equal(choose(logits, Sampling(temperature=1, top_k=1)), logits.argmax(dim=-1))


def test_a_temperature_near_0_is_greedy_too_and_breaks_nothing():
    logits = torch.tensor([[1.0, 3.0, 2.0], [-5.0, -9.0, -4.0]])
    for temperature in (1e-39, 1e-46, 1e-300, 5e-324):
        assert choose(logits, Sampling(temperature)).tolist() == [1, 2]
        assert choose(logits, Sampling(temperature, top_k=2, top_p=0.5)).tolist() == [1, 2]


def test_the_same_generator_seed_gives_the_same_tokens():
    model, sampling = tiny_model(), Sampling(temperature=1.5)

    def sample(seed):
        return generate(model, PROMPTS, 8, sampling=sampling, generator=seeded(seed))

    torch.manual_seed(0)
    first = sample(3)
    torch.manual_seed(1)
    assert sample(3) == first
    assert sample(4) != first


def test_sampling_draws_from_the_models_own_next_token_probabilities():
    model, prompt = tiny_model(2), [5, 1, 8]
    draws = 20_000
    answers = generate(
        model, [prompt] * draws, 1, sampling=Sampling(temperature=1), generator=seeded(0))
    with torch.no_grad():
        expected = model(torch.tensor([prompt]))[0, -1].softmax(dim=-1)
    check_frequencies(torch.tensor(answers)[:, 0], expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_restored_and_dropout_is_off_in_between(training):
    model = tiny_model(dropout=0.5).train(training)
    answers = generate(model, PROMPTS, 5)
    assert model.training == training and model.h[0].mlp.training == training
    assert answers == [greedy_by_hand(model.eval(), prompt, 5) for prompt in PROMPTS]


def test_the_models_mode_is_restored_after_an_exception(monkeypatch):
    model = tiny_model().train()

    def broken(x):
        raise RuntimeError("broken head")

    monkeypatch.setattr(model, "head", broken)
    with pytest.raises(RuntimeError, match="broken head"):
        generate(model, PROMPTS, 5)
    assert model.training
    with pytest.raises(ValueError):
        generate(model, [[]], 5)
    assert model.training


def test_the_models_mode_is_restored_when_the_consumer_stops_early():
    model = tiny_model().train()
    for _ in generate_steps(model, PROMPTS, 5):
        assert not model.training
        break
    gc.collect()
    assert model.training


def test_gradients_are_off_inside_and_untouched_outside(monkeypatch):
    model, inside = tiny_model(), []
    head = model.head

    def observed(x):
        inside.append(torch.is_grad_enabled())
        return head(x)

    monkeypatch.setattr(model, "head", observed)
    for _ in generate_steps(model, PROMPTS, 3):
        assert torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert inside == [False] * 3


@pytest.mark.parametrize("prompts, got", [
    ([[1], []], 0), ([list(range(16))], 16), ([[1], [0] * 20], 20), ([[], [0] * 20], 0)])
def test_a_prompt_that_is_empty_or_leaves_no_room_is_refused(prompts, got):
    with pytest.raises(ValueError, match=f"prompts must have 1 to 15 tokens.*got one of {got}"):
        generate(tiny_model(), prompts, 5)


@pytest.mark.parametrize("wrong, said", [
    ({"temperature": -1}, "temperature must not be negative, got -1"),
    ({"temperature": math.nan}, "temperature must be a finite number, got nan"),
    ({"temperature": math.inf}, "temperature must be a finite number, got inf"),
    ({"temperature": "hot"}, "temperature must be a finite number, got 'hot'"),
    ({"top_p": math.nan}, "top_p must be a finite number, got nan"),
    ({"top_k": 2.5}, "top_k must be a whole number, got 2.5"),
    ({"top_k": -1}, "top_k must be 0"),
    ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0"),
    ({"top_p": 1.1}, "top_p must be above 0"),
])
def test_an_impossible_sampling_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Sampling(**wrong)


def test_answers_do_not_depend_on_the_order_of_the_batch():
    model = tiny_model(3)
    prompts = [random_ids(n, seed=n).tolist() for n in (9, 1, 4, 4, 7)]
    assert generate(model, prompts[::-1], 6) == generate(model, prompts, 6)[::-1]
