"""Generation: one token at a time, with a key/value cache, for a batch of prompts of any lengths.

    p = softmax(z / temperature)
    top k           keep the k most likely tokens
    top p           of these, keep the smallest set of most likely tokens that sums to at least p
    temperature 0   take the most likely token (greedy decoding)

Prompts of different lengths are padded on the left. Padding takes slots of the cache but no
positions, and no token may attend to it, so every prompt gets the answer that it would get alone.

Source: Holtzman et al. 2020 (top p).
"""

from dataclasses import dataclass

import torch

from minisft.cache import KVCache
from minisft.checks import check_types


class NoRoom(ValueError):
    """A prompt fills the model's context and leaves no room for an answer."""


@dataclass(frozen=True)
class Sampling:
    """temperature: 0 is greedy decoding; top_k: 0 keeps all tokens; top_p: 1 keeps all tokens."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        check_types(self)
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(
                f"top_k must be 0 (all tokens) or a number of tokens, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")


def choose(logits, sampling, generator=None):
    """Next tokens: logits (B, V) -> (B,)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    drawn = torch.multinomial(probabilities(logits, sampling), 1, generator=generator)  # (B, 1)
    return drawn[:, 0]


def probabilities(logits, sampling):
    """What is sampled from at a temperature above 0: logits (B, V) -> (B, V), each row sums to 1.

    >>> probabilities(torch.tensor([[0.2, 0.5, 0.3]]).log(), Sampling(temperature=1, top_k=2))
    tensor([[0.0000, 0.6250, 0.3750]])
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # In float32 a smaller temperature would be 0, and 0 / 0 is no probability.
    temperature = max(sampling.temperature, torch.finfo(torch.float32).tiny)
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    if sampling.top_k:
        k = min(sampling.top_k, logits.shape[-1])
        least = logits.topk(k).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < least, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # the probability of all tokens ahead of this one
        outside = before >= sampling.top_p
        logits = logits.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
    return logits.softmax(dim=-1)


def pad_left(prompts, device):
    """Lists of ids -> ids (B, T), and a bool mask (B, T) of the slots that are no padding.

    The mask is None if there is no padding.
    """
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    real = torch.arange(width, device=device) >= width - lengths[:, None]
    return ids, None if bool(real.all()) else real


def read_prompts(model, ids, real, lengths, cache):
    """The trunk's output for left-padded prompts; their keys and values go into the cache.

    ids, real: from `pad_left`; lengths: (B,), of the prompts in tokens.
    """
    if real is None:
        return model.trunk(model.embed(ids), cache)

    T = ids.shape[1]
    padding = T - lengths
    positions = (torch.arange(T, device=ids.device) - padding[:, None]).clamp(min=0)  # (B, T)

    causal = torch.ones(T, T, dtype=torch.bool, device=ids.device).tril()
    itself = torch.eye(T, dtype=torch.bool, device=ids.device)
    # A padding slot attends to itself: with nothing to attend to, its softmax would be 0 / 0.
    mask = (causal & real[:, None]) | itself  # (B, T, T)
    return model.trunk(model.embed(ids, positions), cache, mask[:, None])  # mask (B, 1, T, T)


@torch.inference_mode()
def generate_steps(model, prompts, max_new_tokens, stop=(), sampling=Sampling(), generator=None):
    """Yield, at each step, {index of a prompt: its next token} for all unfinished answers.

    prompts: lists of ids, none empty; stop: ids that end an answer (the stop token is yielded too).
    An answer also ends after max_new_tokens, or when it fills the model's block_size. The model's
    mode (train or eval) is restored at the end. ValueError for a prompt that leaves no room for an
    answer.
    """
    if not prompts:
        return
    lengths = [len(prompt) for prompt in prompts]
    check_lengths(lengths, model.config.block_size)
    limits = [min(max_new_tokens, model.config.block_size - length) for length in lengths]

    training = model.training
    model.eval()
    try:
        rows = list(range(len(prompts)))  # for each row of the batch, the index of its prompt
        positions = torch.tensor(lengths, device=model.device)  # of the next token in each row
        ids, real = pad_left(prompts, model.device)
        capacity = max(lengths) + max(limits)
        cache = KVCache(model.config, len(rows), capacity, model.device, model.wte.weight.dtype)
        x = read_prompts(model, ids, real, positions, cache)  # (B, T, C)

        for made in range(1, max(limits) + 1):
            tokens = choose(model.head(x[:, -1]), sampling, generator)  # (B, C) -> (B,)
            chosen = tokens.tolist()
            yield dict(zip(rows, chosen))

            kept = unfinished(chosen, made, [limits[row] for row in rows], stop)
            if not kept:
                return
            if len(kept) < len(rows):
                rows = [rows[i] for i in kept]
                index = torch.tensor(kept, device=model.device)
                tokens, positions = tokens[index], positions[index]
                if real is not None:
                    real = real[index]
                cache.keep(index)

            mask = None
            if real is not None:
                real = torch.cat([real, real.new_ones(len(rows), 1)], dim=1)  # (B, S) -> (B, S+1)
                mask = real[:, None, None]  # (B, S) -> (B, 1, 1, S)
            x = model.embed(tokens[:, None], positions[:, None])  # (B,) -> (B, 1, C)
            x = model.trunk(x, cache, mask)
            positions = positions + 1
    finally:
        model.train(training)


def unfinished(tokens, made, limits, stop):
    """Indices of the answers that go on, after each has been given one more token.

    tokens: the last token of each answer; made: how many tokens each has by now; limits: how many
    each may have; stop: ids that end an answer.
    """
    return [i for i, token in enumerate(tokens) if token not in stop and made < limits[i]]


def check_lengths(lengths, block_size):
    """ValueError unless every prompt has a token; NoRoom unless it leaves room for one more."""
    if min(lengths) == 0:
        wrong, kind = 0, ValueError
    elif max(lengths) >= block_size:
        wrong, kind = max(lengths), NoRoom
    else:
        return
    raise kind(
        f"prompts must have 1 to {block_size - 1} tokens so that an answer fits in the model's "
        f"{block_size}; got one of {wrong}")


def generate(model, prompts, max_new_tokens, stop=(), sampling=Sampling(), generator=None):
    """New ids for each prompt; the last one is the stop token if the answer ended with one."""
    generated = [[] for _ in prompts]
    for step in generate_steps(model, prompts, max_new_tokens, stop, sampling, generator):
        for row, token in step.items():
            generated[row].append(token)
    return generated
