"""What the cases of several exercises are made of: random tensors, tiny models, a tiny tokenizer.

Everything is drawn from a random.Random, in float64. The numbers are chosen to tell right from
wrong: no bias is zero, no scale is one, and no two sizes that could be confused are equal.
"""

import torch

from minisft.model import GPT, GPTConfig
from minisft.tokenizer import BYTES, Tokenizer


def normal(rng, *shape, std=1.0):
    """Random normal numbers of a shape, in float64."""
    generator = torch.Generator().manual_seed(rng.getrandbits(40))
    return torch.randn(shape, generator=generator, dtype=torch.float64) * std


def model_of(seed, **sizes):
    """A tiny GPT in which every parameter matters; made in the worker, from a seed.

    The seed and the sizes are what a case holds.
    """
    usual = {"vocab_size": 11, "block_size": 12, "n_layer": 2, "n_head": 2, "n_embd": 6}
    model = GPT(GPTConfig(**usual | sizes)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(mean + 0.5 * drawn)
    return model.eval()


def tiny_tokenizer():
    """Bytes and a few merges, some of which would cross the border between two texts."""
    merges = [b" t", b"he", b" the", b"in", b" c", b"at", b" cat", b": ", b"ab", b"abc", b". ",
              b"||", b"<|", b"|>"]
    return Tokenizer([*BYTES, *merges])
