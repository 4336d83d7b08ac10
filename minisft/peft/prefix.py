"""Prefix tuning: P trainable keys and values in every layer, in front of those of the tokens.

    head_l = softmax(q [P_K ; K]^T / sqrt(D)) [P_V ; V]

with P_K and P_V (P, D) of their own for each head of each layer l.

The authors train them through a network, which is dropped afterwards:

    [P_K, P_V of all layers] = W_2 tanh(W_1 e + b_1) + b_2     e (P, C) -> (P, hidden) -> (P, 2 L C)

The prefix is a trainable cache, and the model takes a cache already. A prefix of zeros would not be
the same as no prefix: it takes its share of the softmax.

Source: Li and Liang 2021, section 4. Notes: 前缀微调 (prefix tuning).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from minisft.cache import KVCache, PrefixCache
from minisft.checks import check_types
from minisft.peft.virtual import Virtual


@dataclass(frozen=True)
class PrefixConfig:
    """P: length; hidden: width of the network, 0 for none; text: start from its keys and values."""

    lr: ClassVar[float] = 0.1  # default of the highest learning rate
    P: int = 10
    hidden: int = 0
    text: str = ""

    def __post_init__(self):
        check_types(self)
        if self.P < 1 or self.hidden < 0:
            raise ValueError("P must be at least 1 and hidden at least 0, got "
                             f"P={self.P}, hidden={self.hidden}")
        if self.text and self.hidden:
            raise ValueError("a prefix through a network cannot start from the activations of a "
                             "text; leave out one")

    def wrap_model(self, model, tokenizer):
        return Prefix(model, self, self.text and start_ids(self.text, self.P, tokenizer))


def start_ids(text, P, tokenizer):
    """P ids of a text, which is repeated until there are so many: (1, P)."""
    if tokenizer is None:
        raise ValueError("to start from a text a tokenizer is needed; give one")
    ids = tokenizer.encode(text)
    return torch.tensor([(ids * -(-P // len(ids)))[:P]])


class Prefix(Virtual):
    """A model with a trainable prefix."""

    def __init__(self, base, config, ids=None):
        super().__init__(base, config.P)
        c = base.config
        like = {"dtype": base.wte.weight.dtype, "device": base.device}
        self.network = None
        if config.hidden:
            self.embedding = nn.Parameter(torch.empty(config.P, c.n_embd, **like).normal_())
            self.network = nn.Sequential(
                nn.Linear(c.n_embd, config.hidden, **like), nn.Tanh(),
                nn.Linear(config.hidden, 2 * c.n_layer * c.n_embd, **like))
        else:
            start = torch.empty(config.P, 2 * c.n_layer * c.n_embd, **like).normal_()
            if torch.is_tensor(ids):
                start = activations(base, ids)
            self.keys_values = nn.Parameter(start)

    def flat(self):
        """Keys and values of all layers: (P, 2 L C)."""
        return self.keys_values if self.network is None else self.network(self.embedding)

    def entries(self):
        """[(keys, values)] of each layer, each (1, H, P, D)."""
        c = self.base.config
        slots = self.flat().view(self.P, c.n_layer, 2, c.n_head, c.n_embd // c.n_head)
        return [tuple(part.transpose(0, 1)[None] for part in layer.unbind(1))  # (1, H, P, D) each
                for layer in slots.unbind(1)]

    def begin(self, x, cache, mask):
        prefix = PrefixCache(self.entries(), self.P)
        if cache is not None:
            for layer, (k, v) in enumerate(prefix.entries):
                cache.append(layer, k, v)
            cache.length += self.P
        return self.base.trunk(x, prefix if cache is None else cache, mask)


@torch.no_grad()
def activations(base, ids):
    """Keys and values of a text in every layer: ids (1, P) -> (P, 2 L C)."""
    cache = KVCache(base.config, 1, ids.shape[1], base.device, base.wte.weight.dtype)
    base(ids.to(base.device), cache=cache)
    slots = [part[0].transpose(0, 1).flatten(1)  # (P, C) each
             for layer in cache.entries() for part in layer]
    return torch.cat(slots, dim=1)
