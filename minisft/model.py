"""A minimal GPT: GPT-2's architecture and parameter names, cut into embedding, trunk and head.

    x = wte[ids] + wpe[positions]                                      embed
    x = x + attn(ln_1(x));  x = x + mlp(ln_2(x))     for each block    trunk
    x = ln_f(x)
    z = x wte^T                                                        head, tied to the embedding

    attn: softmax(Q K^T / sqrt(D) + mask) V          mlp: W_proj gelu(W_fc x)

The model knows nothing of tuning methods. Three seams let them in: linear layers with names, an
initial key/value cache, and `embed` apart from `trunk`.

Letters in shapes: B batch, T new tokens, S cached and new entries, C = n_embd, H heads, D = C/H,
V vocabulary. Linear weights are stored [out, in]; GPT-2's files hold them transposed.
Source: Radford et al. 2019 (GPT-2), section 2.3.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from minisft.checks import check_types
from minisft.layers import Embedding, LayerNorm, Linear, Module, dropout
from minisft.start import initialize


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a model. block_size: longest sequence in tokens; dropout: probability, 0 to 1."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0

    def __post_init__(self):
        check_types(self)
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    @property
    def parameters(self):
        """How many numbers the weights of such a model are."""
        C = self.n_embd
        block = 12 * C ** 2 + 13 * C  # four matrices, their biases, two LayerNorms
        return (self.vocab_size + self.block_size) * C + self.n_layer * block + 2 * C


class Attention(Module):
    """Causal multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config, layer):
        super().__init__()
        self.n_head, self.layer, self.dropout = config.n_head, layer, config.dropout
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)

    def forward(self, x, cache=None, mask=None):
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3 * self.n_head, C // self.n_head)  # (B, T, 3H, D)
        q, k, v = heads.transpose(1, 2).chunk(3, dim=1)  # (B, T, 3H, D) -> 3 times (B, H, T, D)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (B, H, T, D) -> (B, H, S, D)
        S = k.shape[2]
        if mask is None and 1 < T < S:  # cached entries are all in the past
            mask = torch.ones(T, S, dtype=torch.bool, device=x.device).tril(S - T)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and T == S,
            dropout_p=self.dropout if self.training else 0.0)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, H, T, D) -> (B, T, C)
        return dropout(self.c_proj(y), self.dropout, self.training)


class MLP(Module):
    """Feed-forward layer: four times as wide inside, GELU in GPT-2's tanh form."""

    def __init__(self, config):
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        x = F.gelu(self.c_fc(x), approximate="tanh")  # (B, T, C) -> (B, T, 4C)
        return dropout(self.c_proj(x), self.dropout, self.training)  # (B, T, 4C) -> (B, T, C)


class Block(Module):
    """Attention and feed-forward layer, each on normalised input and added to its own input."""

    def __init__(self, config, layer):
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd)
        self.attn = Attention(config, layer)
        self.ln_2 = LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x, cache=None, mask=None):
        x = x + self.attn(self.ln_1(x), cache, mask)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The language model: GPT(config)(ids) -> logits.

    >>> model = GPT(GPTConfig(vocab_size=10, block_size=8, n_layer=1, n_head=2, n_embd=4))
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 10])
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = LayerNorm(config.n_embd)
        initialize(self)

    @property
    def device(self):
        return self.wte.weight.device

    def embed(self, ids, positions=None):
        """ids (B, T) int64 -> (B, T, C). positions: (T,) or (B, T), by default 0, 1, 2, ...

        Raises ValueError for an id beyond the vocabulary or a position beyond block_size. On a GPU,
        where checking them first would cost time, torch's own assertion fails instead.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        try:
            x = self.wte(ids) + self.wpe(positions)  # (B, T) -> (B, T, C)
        except IndexError:
            raise ValueError(
                f"{int(positions.max()) + 1} positions do not fit a block_size of "
                f"{self.config.block_size}, or ids {int(ids.min())} to {int(ids.max())} "
                f"a vocabulary of {self.config.vocab_size}") from None
        return dropout(x, self.config.dropout, self.training)

    def trunk(self, x, cache=None, mask=None):
        """x (B, T, C) -> (B, T, C), through all blocks and the last LayerNorm.

        cache: see minisft.cache. mask: bool, broadcastable to (B, H, T, S), True where a query may
        look; by default each token sees the whole cache, itself, and what stands before it.
        """
        for block in self.h:
            x = block(x, cache, mask)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.ln_f(x)

    def head(self, x):
        """x (..., C) -> logits (..., V)."""
        return F.linear(x, self.wte.weight)

    def forward(self, ids, positions=None, cache=None, mask=None):
        """ids (B, T) int64 -> logits (B, T, V)."""
        if positions is None and cache is not None:
            first = cache.position
            positions = torch.arange(first, first + ids.shape[1], device=ids.device)
        return self.head(self.trunk(self.embed(ids, positions), cache, mask))
