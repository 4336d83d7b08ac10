"""Sampling: which token comes next, and when an answer is over.

    p = softmax(z / temperature)
    top k     keep the k most likely tokens (0: all)
    top p     of these, keep the smallest set of most likely tokens that sums to at least p (1: all)

First the temperature, then top k, then top p, whose probabilities are those of the tokens that top
k has left. What is left sums to 1 again. (At temperature 0 the likeliest token is taken; `choose`
does that without asking for probabilities.)

Write `probabilities` for logits (B, V), and `unfinished`: the indices of the answers that go on
after they have been given one more token. An answer is over if that token is a stop token, or if it
now has as many tokens as it may.

Check it: python lessons/check.py 11
"""

import math

import torch


def probabilities(logits, sampling):
    """What is sampled from at a temperature above 0: logits (B, V) -> (B, V), each row sums to 1.

    >>> probabilities(torch.tensor([[0.2, 0.5, 0.3]]).log(), Sampling(temperature=1, top_k=2))
    tensor([[0.0000, 0.6250, 0.3750]])
    """
    # In float32 a smaller temperature would be 0, and 0 / 0 is no probability.
    raise NotImplementedError


def unfinished(tokens, made, limits, stop):
    """Indices of the answers that go on, after each has been given one more token.

    tokens: the last token of each answer; made: how many tokens each has by now; limits: how many
    each may have; stop: ids that end an answer.
    """
    raise NotImplementedError
