"""What the cases of several exercises are made of: random tensors, tiny models, a tiny tokenizer.

Everything is drawn from a random.Random, in float64. The numbers are chosen to tell right from
wrong: no bias is zero, no scale is one, and no two sizes that could be confused are equal.
"""

from functools import cache, lru_cache

import torch

from minisft.model import GPT, GPTConfig
from minisft.tokenizer import BYTES, Tokenizer


def normal(rng, *shape, std=1.0):
    """Random normal numbers of a shape, in float64."""
    generator = torch.Generator().manual_seed(rng.getrandbits(40))
    return torch.randn(shape, generator=generator, dtype=torch.float64) * std


def model_of(seed, **sizes):
    """A tiny GPT in which every parameter matters; made in the worker, from a seed.

    The seed and the sizes are what a case holds. To make a model takes longer than all that is done
    with it, so a later call with the same arguments gives the same model, with the weights that it
    had at first.
    """
    model, weights = _made_once(seed, tuple(sizes.items()))
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights):
            parameter.copy_(weight)
            parameter.grad = None
    return model.requires_grad_(True).eval()


@lru_cache(maxsize=64)
def _made_once(seed, sizes):
    usual = {"vocab_size": 11, "block_size": 12, "n_layer": 2, "n_head": 2, "n_embd": 6}
    model = GPT(GPTConfig(**usual | dict(sizes))).double()
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for name, parameter in model.named_parameters():
        mean = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        weights.append(mean + 0.5 * drawn)
    return model, weights


@cache
def tiny_tokenizer():
    """Bytes and a few merges, some of which would cross the border between two texts."""
    merges = [b" t", b"he", b" the", b"in", b" c", b"at", b" cat", b": ", b"ab", b"abc", b". ",
              b"||", b"<|", b"|>"]
    return Tokenizer([*BYTES, *merges])


def logits_by_hand(model, ids, positions, entries=(), rows=None, sees=None):
    """Logits (T, V) of one sequence, with one query, one head and one layer at a time.

    ids, positions: lists; entries: keys and values of virtual tokens in front, (H, P, D) each, a
    pair for each layer; rows: embeddings (P, C) of virtual tokens in front; sees(t, s): may token t
    look at token s before it? By default it may. All tokens see all virtual ones.
    """
    config = model.config
    C, H = config.n_embd, config.n_head
    D = C // H
    x = model.wte.weight[ids] + model.wpe.weight[positions]
    virtual = 0 if rows is None else len(rows)
    if virtual:
        x = torch.cat([rows + model.wpe.weight[:virtual], x])
    P = entries[0][0].shape[1] if entries else 0
    for layer, block in enumerate(model.h):
        qkv = block.attn.c_attn(block.ln_1(x))
        heads = []
        for h in range(H):
            q, k, v = (qkv[:, part * C + h * D:part * C + (h + 1) * D] for part in range(3))
            if P:
                k, v = (torch.cat([given[h], own]) for given, own in zip(entries[layer], (k, v)))
            out = []
            for t in range(len(x)):
                seen = [*range(P), *(P + s for s in range(t + 1) if s < virtual or sees is None
                                     or sees(t - virtual, s - virtual))]
                out.append((k[seen] @ q[t] / D ** 0.5).softmax(0) @ v[seen])
            heads.append(torch.stack(out))
        x = x + block.attn.c_proj(torch.cat(heads, dim=1))
        x = x + block.mlp(block.ln_2(x))
    return model.ln_f(x[virtual:]) @ model.wte.weight.T
