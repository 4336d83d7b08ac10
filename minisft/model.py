"""A minimal GPT: GPT-2's architecture and parameter names, cut into embedding, trunk and head.

    x   = wte[ids] + wpe[positions]                                       embed
    x   = x + attn(ln_1(x));  x = x + mlp(ln_2(x))      for each block    trunk
    x   = ln_f(x)
    z   = x wte^T                                                         head (tied to the embedding)

    attn: softmax(Q K^T / sqrt(D) + mask) V             mlp: W_proj gelu(W_fc x)

The model knows nothing of tuning methods. Three seams let them in: linear layers with names, an initial key/value
cache, and `embed` apart from `trunk`.

Letters in shapes: B batch, T new tokens, S cached and new entries, C = n_embd, H heads, D = C/H, V vocabulary.
Source: Radford et al. 2019 (GPT-2), section 2.3. Linear weights are stored [out, in]; GPT-2's files transpose them.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


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
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


def frequencies(channels):
    """Angles by which the waves of positions turn from one token to the next, 0.9 pi to 0.9 pi / 500: (C / 2,)."""
    half = torch.arange((channels + 1) // 2) / (channels / 2)  # 0 to 1
    return 0.9 * math.pi * 500.0 ** -half


def waves(length, channels):
    """Sines and cosines of positions (length, channels), with wavelengths from about 2 to about 1,000 tokens."""
    angles = torch.arange(length)[:, None] * frequencies(channels)  # (length, channels / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :channels]


def turn_back(channels):
    """R (C, C) with R w(t) = w(t-1), where w(t) is row t of the waves (for odd C, all but the slowest wave).

    >>> w = waves(8, 6)
    >>> torch.allclose(w[1:] @ turn_back(6).T, w[:-1], atol=1e-5)
    True
    """
    cos, sin = torch.diag(frequencies(channels).cos()), torch.diag(frequencies(channels).sin())
    return torch.cat([torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)])[:channels, :channels]


def dropout(x, probability, training):
    """F.dropout, but free of cost where it would do nothing."""
    return F.dropout(x, probability) if training and probability else x


class Module(nn.Module):
    """An nn.Module whose call, if no hook is set on it, is its `forward` and nothing else.

    A small model makes 30 such calls for a token; nn.Module's own way to `forward` would take a tenth of its time. So
    would asking for each parameter by name, which is why layers of a weight and a bias take theirs in that order.
    """

    def __call__(self, *inputs):
        hooked = self._forward_pre_hooks or self._forward_hooks or self._backward_pre_hooks or self._backward_hooks
        return super().__call__(*inputs) if hooked else self.forward(*inputs)


class Linear(Module, nn.Linear):
    """nn.Linear, its weight still [out, in] but stored column by column: a product with one row reads it sooner."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.weight.data = self.weight.data.T.contiguous().T

    def forward(self, x):
        weight, bias = self._parameters.values()
        return F.linear(x, weight, bias)


class Embedding(Module, nn.Embedding):
    """nn.Embedding, looked up by torch's function without a detour."""

    def forward(self, ids):
        return torch.embedding(self.weight, ids)


class LayerNorm(Module, nn.LayerNorm):
    """nn.LayerNorm, computed by torch's function without a detour."""

    def forward(self, x):
        weight, bias = self._parameters.values()
        return torch.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class Attention(Module):
    """Causal multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config, layer):
        super().__init__()
        self.n_head, self.layer, self.dropout = config.n_head, layer, config.dropout
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)

    def forward(self, x, cache=None, mask=None):
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3 * self.n_head, C // self.n_head)  # (B, T, C) -> (B, T, 3H, D)
        q, k, v = heads.transpose(1, 2).chunk(3, dim=1)  # (B, T, 3H, D) -> (B, H, T, D), three times
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
    """One layer: attention and feed-forward, each on normalised input and added to its own input."""

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
        self.reset_parameters()

    def reset_parameters(self, generator=None):
        """GPT-2's start: normal with std 0.02, residual projections divided by sqrt(2 n_layer), biases zero.

        Three changes, all of the start only. GPT-2's 0.02 is meant for its 768 channels; at another width it is scaled
        by sqrt(768 / C), so that a layer's outputs begin as large as GPT-2's do. The learned positions begin as waves
        of that size (Vaswani et al. 2017, section 3.5), in which "the word before" is one rotation R for all
        positions. And the first two layers begin by looking back, see `_start_looking_back`.
        """
        normal = 0.02 * math.sqrt(768 / self.config.n_embd)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 1.0 if "ln_" in name and name.endswith("weight") else 0.0)
            else:
                residual = name.endswith("c_proj.weight")
                std = normal / math.sqrt(2 * self.config.n_layer) if residual else normal
                start = torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
                parameter.data.copy_(start.normal_(std=std, generator=generator))  # the same, however it is stored
        with torch.no_grad():
            self.wpe.weight.copy_(waves(*self.wpe.weight.shape) * normal * math.sqrt(2))
            if self.config.n_layer > 1:
                self._start_looking_back(generator)

    def _start_looking_back(self, generator):
        """Begin with heads that go to what followed when the same word stood there before (Olsson et al. 2022).

            layer 1, head h:  q = L R^h x,  k = L x,  v = W x     sees the word h back, and writes it as U_h
            layer 2, head h:  q = U_(h-1)^T x,  k = U_h^T x       goes where the word h back is the one now h-1 back,
                                                                  as what stands there may be what comes now

        for h = 1, ..., min(H, 4), with U_0^T = W. L reads the fast waves, in which neighboring positions differ most;
        W and U_h are random codes; the factors were found by trial. In our trials models of this size did not come to
        look words up from a plain start.
        """
        C, H = self.config.n_embd, self.config.n_head
        D = C // H
        like = self.wte.weight

        def code():
            return torch.empty(D, C, dtype=like.dtype, device=like.device).normal_(std=C ** -0.5, generator=generator)

        (q1, k1, v1), (q2, k2, v2) = (block.attn.c_attn.weight.split(C) for block in self.h[:2])
        L = 5 * code() * (frequencies(C) > 1).repeat(2)[:C].to(like)
        W = code()
        R = turn_back(C).to(like)
        before = W
        for h in range(min(H, 4)):
            rows = slice(h * D, (h + 1) * D)
            U, copied = code(), code()
            k1[rows], v1[rows] = L, W
            q1[rows] = L @ torch.linalg.matrix_power(R, h + 1)
            self.h[0].attn.c_proj.weight[:, rows] = 0.3 * U.T
            q2[rows], k2[rows], v2[rows] = 3 * before, 3 * U, copied
            self.h[1].attn.c_proj.weight[:, rows] = 0.5 * copied.T
            before = U

    @torch.no_grad()
    def spread_rows(self, ids, seed=0):
        """Move the rows of tokens that no text has held apart, by the spread of all other rows.

        Training only ever pushes such rows away, all in one direction, until the head cannot tell them apart; a method
        that freezes the embedding could then never learn which one ends an answer.
        """
        weight = self.wte.weight
        others = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
        others[ids] = False
        drawn = torch.randn(len(ids), weight.shape[1], generator=torch.Generator().manual_seed(seed)).to(weight)
        weight[ids] += weight[others].std(0) * drawn

    @property
    def device(self):
        return self.wte.weight.device

    def embed(self, ids, positions=None):
        """ids (B, T) int64 -> (B, T, C). positions: (T,) or (B, T), by default 0, 1, 2, ...

        Raises ValueError for an id beyond the vocabulary or a position beyond block_size; on a GPU, where a look at
        them would make it wait, torch's own assertion fails.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        try:
            x = self.wte(ids) + self.wpe(positions)  # (B, T) -> (B, T, C)
        except IndexError:
            raise ValueError(f"{int(positions.max()) + 1} positions do not fit a block_size of "
                             f"{self.config.block_size}, or ids {int(ids.min())} to {int(ids.max())} a vocabulary of "
                             f"{self.config.vocab_size}") from None
        return dropout(x, self.config.dropout, self.training)

    def trunk(self, x, cache=None, mask=None):
        """x (B, T, C) -> (B, T, C), through all blocks and the last LayerNorm.

        cache: see minisft.cache. mask: bool, broadcastable to (B, H, T, S), True where a query may look; by default
        each token sees the whole cache, itself, and what stands before it.
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
            positions = torch.arange(cache.position, cache.position + ids.shape[1], device=ids.device)
        return self.head(self.trunk(self.embed(ids, positions), cache, mask))
