"""Generation: one token at a time, with a key/value cache, for a batch of prompts of any lengths.

    p = softmax(z / temperature), cut to the top k tokens, then to the smallest set whose mass reaches top p
    temperature 0: the most likely token (greedy)

Prompts of different lengths are padded at the left. Padding takes slots of the cache but no positions, and no token
may look at it, so every row gets what it would get alone.

Source: Holtzman et al. 2020 (top p).
"""

from dataclasses import dataclass

import torch

from minisft.cache import KVCache


@dataclass(frozen=True)
class Sampling:
    """temperature: 0 is greedy; top_k: 0 keeps all tokens; top_p: 1 keeps all the mass."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all tokens) or a number of tokens, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")


def choose(logits, sampling, generator=None):
    """Next tokens: logits (B, V) -> (B,)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float()
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / sampling.temperature
    if sampling.top_k:
        least = logits.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        outside = ordered.cumsum(dim=-1) - ordered >= sampling.top_p  # the mass before a token already reaches p
        logits = logits.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]


def pad_left(prompts, device):
    """Lists of ids -> ids (B, T), and which slots are real (B, T) bool, or None if all are."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    real = torch.arange(width, device=device) >= width - lengths[:, None]
    return ids, None if bool(real.all()) else real


def read_prompts(model, ids, real, lengths, cache):
    """The trunk's output over left-padded prompts, which fill the cache. ids, real: from `pad_left`; lengths: (B,)."""
    if real is None:
        return model.trunk(model.embed(ids), cache)
    T = ids.shape[1]
    positions = (torch.arange(T, device=ids.device) - (T - lengths)[:, None]).clamp(min=0)  # (B, T)
    causal = torch.ones(T, T, dtype=torch.bool, device=ids.device).tril()
    # a padding slot may look at itself, or its softmax would be 0 / 0
    mask = causal & real[:, None] | torch.eye(T, dtype=torch.bool, device=ids.device)  # (B, T, T)
    return model.trunk(model.embed(ids, positions), cache, mask[:, None])


@torch.inference_mode()
def generate_steps(model, prompts, max_new_tokens, stop=(), sampling=Sampling(), generator=None):
    """Yield, at each step, {row: token} for the rows that are not finished.

    prompts: lists of ids, none empty; stop: ids that end a row (the stop token itself is yielded). A row also ends
    after max_new_tokens, or when it fills the model's block_size. The model's mode is restored at the end.
    Raises ValueError for a prompt that leaves no room for an answer.
    """
    if not prompts:
        return
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))
    if shortest == 0 or longest >= model.config.block_size:
        raise ValueError(f"prompts must have 1 to {model.config.block_size - 1} tokens so that an answer fits in the "
                         f"model's {model.config.block_size}; got one of {longest if shortest else 0}")
    training = model.training
    model.eval()
    try:
        rows = list(range(len(prompts)))  # the prompts that the rows of the batch belong to
        limits = [min(max_new_tokens, model.config.block_size - len(prompt)) for prompt in prompts]
        positions = torch.tensor([len(prompt) for prompt in prompts], device=model.device)  # of the next token
        ids, real = pad_left(prompts, model.device)
        cache = KVCache(model.config, len(rows), longest + max(limits), model.device, model.wte.weight.dtype)
        x = read_prompts(model, ids, real, positions, cache)  # (B, T, C)
        for made in range(1, max(limits) + 1):
            tokens = choose(model.head(x[:, -1]), sampling, generator)  # (B, C) -> (B,)
            chosen = tokens.tolist()
            yield dict(zip(rows, chosen))
            kept = [i for i, row in enumerate(rows) if chosen[i] not in stop and made < limits[row]]
            if not kept:
                return
            if len(kept) < len(rows):
                rows, kept = [rows[i] for i in kept], torch.tensor(kept, device=model.device)
                tokens, positions, real = tokens[kept], positions[kept], None if real is None else real[kept]
                cache.keep(kept)
            mask = None
            if real is not None:
                real = torch.cat([real, real.new_ones(len(rows), 1)], dim=1)  # (B, S) -> (B, S+1)
                mask = real[:, None, None]  # (B, S) -> (B, 1, 1, S)
            x = model.trunk(model.embed(tokens[:, None], positions[:, None]), cache, mask)  # (B, 1, C)
            positions = positions + 1
    finally:
        model.train(training)


def generate(model, prompts, max_new_tokens, stop=(), sampling=Sampling(), generator=None):
    """New ids for each prompt, the stop token included where one came."""
    generated = [[] for _ in prompts]
    for step in generate_steps(model, prompts, max_new_tokens, stop, sampling, generator):
        for row, token in step.items():
            generated[row].append(token)
    return generated
