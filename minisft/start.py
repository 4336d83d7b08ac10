"""How weights start: as GPT-2's, with three changes so that small models learn to look back.

    scale        GPT-2's 0.02 is meant for C = 768 channels. Here it is 0.02 sqrt(768 / C), so that
                 a layer's outputs begin as large as GPT-2's do.
    waves        The learned positions begin as sines and cosines (Vaswani et al. 2017, 3.5). "The
                 word before" is then one rotation R, the same at every position.
    look back    The first two layers begin with heads that find an earlier occurrence of the
                 current word and attend to the word after it (Olsson et al. 2022, induction heads).

What was tried, with one seed each, so these are leads and not results. From a plain start, models
of this size did not learn to look a word up in the text before them: they named a value of the
right kind, but not the one that the text gave. Other learning rates, more heads, more layers and
larger embeddings did not change that; neither did heads that look only one word back. Heads for
one to four words back, together with a first phase of training on repeated texts (`draw_kind` in
minisft/pretrain.py), did. A sharper start, with orthogonal codes, was worse.

All of this is a start only. Training changes these weights like any others.
"""

import math

import torch
from torch import nn

SLOWEST = 500.0  # the slowest wave turns by this factor less per token than the fastest


@torch.no_grad()
def initialize(model, generator=None):
    """Set all weights of a GPT to their start, in place.

    Matrices are normal with std 0.02 sqrt(768 / C), those that write to the residual stream divided
    by sqrt(2 n_layer); biases are zero and LayerNorms the identity. Then come waves and heads that
    look back. generator: torch.Generator on the model's device, or None for torch's global one.
    """
    config = model.config
    std = 0.02 * math.sqrt(768 / config.n_embd)
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2:
            writes_to_stream = name.endswith("c_proj.weight")
            own_std = std / math.sqrt(2 * config.n_layer) if writes_to_stream else std
            parameter.copy_(normal(parameter.shape, own_std, parameter, generator))
        else:
            is_scale = "ln_" in name and name.endswith("weight")
            nn.init.constant_(parameter, 1.0 if is_scale else 0.0)
    model.wpe.weight.copy_(waves(*model.wpe.weight.shape) * std * math.sqrt(2))
    if config.n_layer > 1:
        look_back(model, generator)


def normal(shape, std, like, generator):
    """Random numbers in the order of rows, however `like` stores its own."""
    drawn = torch.empty(shape, dtype=like.dtype, device=like.device)
    return drawn.normal_(std=std, generator=generator)


def frequencies(channels):
    """By what angle each wave turns from a token to the next, 0.9 pi to 0.9 pi / 500: (C / 2,)."""
    half = torch.arange((channels + 1) // 2) / (channels / 2)  # 0 to 1
    return 0.9 * math.pi * SLOWEST ** -half


def waves(length, channels):
    """Sines and cosines of positions (length, channels), 2 to about 1,000 tokens long."""
    angles = torch.arange(length)[:, None] * frequencies(channels)  # (length, channels / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :channels]


def turn_back(channels):
    """R (C, C) with R w(t) = w(t-1), where w(t) is row t of the waves.

    For odd C the slowest wave is left out.

    >>> w = waves(8, 6)
    >>> torch.allclose(w[1:] @ turn_back(6).T, w[:-1], atol=1e-5)
    True
    """
    cos, sin = torch.diag(frequencies(channels).cos()), torch.diag(frequencies(channels).sin())
    rotation = torch.cat([torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)])
    return rotation[:channels, :channels]


def look_back(model, generator):
    """Let the first two layers begin with heads that go to what followed the same word before.

        layer 1, head h:  q = L R^h x,  k = L x,  v = W x    sees the word h back, writes it as U_h
        layer 2, head h:  q = U_(h-1)^T x,  k = U_h^T x      goes to where the word h back is the
                                                             word that is now h-1 back

    for h = 1, ..., min(H, 4), with U_0^T = W. L reads the fast waves, in which neighbouring
    positions differ most; W and U_h are random codes. The factors were found by trial.
    """
    C, H = model.config.n_embd, model.config.n_head
    D = C // H
    like = model.wte.weight

    def code():
        return normal((D, C), C ** -0.5, like, generator)

    first, second = model.h[0].attn, model.h[1].attn
    q1, k1, v1 = first.c_attn.weight.split(C)
    q2, k2, v2 = second.c_attn.weight.split(C)
    fast = (frequencies(C) > 1).repeat(2)[:C]
    L = 5 * code() * fast.to(like)
    W = code()
    R = turn_back(C).to(like)
    before = W
    for h in range(min(H, 4)):
        rows = slice(h * D, (h + 1) * D)
        U, copied = code(), code()
        q1[rows], k1[rows], v1[rows] = L @ torch.linalg.matrix_power(R, h + 1), L, W
        first.c_proj.weight[:, rows] = 0.3 * U.T
        q2[rows], k2[rows], v2[rows] = 3 * before, 3 * U, copied
        second.c_proj.weight[:, rows] = 0.5 * copied.T
        before = U


@torch.no_grad()
def spread_rows(model, ids, seed=0):
    """Move the embedding rows of tokens that occur in no text apart, by the spread of all others.

    Training pushes such rows in one and the same direction, until the head cannot tell them apart.
    A method that freezes the embedding could then never learn which of them ends an answer.
    """
    weight = model.wte.weight
    others = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    others[ids] = False
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(ids), weight.shape[1], generator=generator).to(weight)
    weight[ids] += weight[others].std(0) * drawn
