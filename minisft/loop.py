"""The training loop, the only one: pre-training and every kind of tuning go through it.

    for each step:   g = (1/n) sum over pieces of grad L        n = number of targets in the whole step
                     clip g, set the learning rate, update

It is a generator: it yields a record after each step and does nothing else. Who iterates logs, evaluates, saves, stops.
Other data change `windows`, another schedule changes `lr_at`, another method changes which parameters are trainable;
the loop never learns which.

Notes: 优化设置 (optimization settings).
"""

import math
import time
import warnings
from dataclasses import dataclass

import torch

from minisft.loss import sft_loss
from minisft.optim import clip_grad_norm


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient was NaN or infinite; the parameters are still those of the step before."""


@dataclass(frozen=True)
class StepRecord:
    """What a step did. step: counted from 1; loss: mean over targets; grad_norm: before clipping; seconds: all of it,
    of which `waited` for data; tokens: without padding."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    targets: int
    tokens: int
    seconds: float
    waited: float


def train_steps(model, windows, optimizer, lr_at, *, max_norm=1.0, start=0, dtype=torch.float32):
    """Train, one step for each window, and yield a StepRecord after each.

    windows: iterable of lists of batches; a list is one step, its batches are accumulated. lr_at: step (from 0) ->
    learning rate. start: steps already done. dtype: of the forward pass; torch.bfloat16 uses autocast.
    Raises NonFiniteLoss before the update that would have spoilt the model.
    """
    device = next(model.parameters()).device
    windows = iter(windows)
    for step in range(start, 2**63):
        began = time.perf_counter()
        window = next(windows, None)
        if window is None:
            return
        waited = time.perf_counter() - began
        model.train()
        targets = sum(int(batch.loss_mask[:, 1:].sum()) for batch in window)
        loss = 0.0
        for batch in window:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss_sum, _ = sft_loss(model, batch.to(device))
            (loss_sum / max(1, targets)).backward()
            loss += loss_sum.item() / max(1, targets)
        norm = float(clip_grad_norm(optimizer.parameters, max_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            optimizer.zero_grad()
            raise NonFiniteLoss(f"step {step + 1}: the loss is {loss} and its gradient's norm {norm}")
        optimizer.lr = lr_at(step)
        if targets:
            optimizer.step()
        else:
            warnings.warn(f"step {step + 1}: nothing in this batch is supervised, so nothing was learnt from it",
                          stacklevel=2)
        optimizer.zero_grad()
        tokens = sum(batch.tokens for batch in window)
        yield StepRecord(step + 1, loss, optimizer.lr, norm, targets, tokens, time.perf_counter() - began, waited)
