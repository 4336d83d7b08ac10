"""The training loop, the only one: pre-training and every kind of tuning go through it.

    for each step:   g = (1/n) sum over micro-batches of grad L     n = targets in the whole step
                     clip g, set the learning rate, update

A step may be cut into micro-batches to save memory (gradient accumulation). As the sum is divided
once, by the number of targets in the whole step, the result is that of one large batch.

The loop is a generator: it yields a record after each step and does nothing else. The caller logs,
evaluates, saves or stops. Other data change `batches`, another schedule changes `lr_at`, another
tuning method changes which parameters are trainable. The loop never learns which.

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
    """The loss or its gradient was NaN or infinite; the parameters are those of the step before."""


@dataclass(frozen=True)
class StepRecord:
    """What a step did.

    step: counted from 1; loss: mean over targets; grad_norm: before clipping; tokens: without
    padding; seconds: the whole step, of which `waited` were spent waiting for data.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    targets: int
    tokens: int
    seconds: float
    waited: float


def accumulate_gradients(model, micro_batches, dtype=torch.float32):
    """Add the gradient of a step's mean loss to every `.grad`, one micro-batch after the other.

    dtype: of the forward pass; torch.bfloat16 uses autocast. Returns (mean loss, number of
    targets), both of the whole step. Only one micro-batch's activations are in memory at a time.
    """
    device = next(model.parameters()).device
    targets = sum(int(batch.loss_mask[:, 1:].sum()) for batch in micro_batches)
    loss = 0.0
    for batch in micro_batches:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss_sum, _ = sft_loss(model, batch.to(device))
        (loss_sum / max(1, targets)).backward()
        loss += loss_sum.item() / max(1, targets)
    return loss, targets


def train_steps(model, batches, optimizer, lr_at, *, max_norm=1.0, start=0, dtype=torch.float32):
    """Train, one step for each element of `batches`, and yield a StepRecord after each.

    batches: iterable of lists of micro-batches; each list is one step. lr_at: step (from 0) ->
    learning rate. start: steps already done. dtype: of the forward pass; torch.bfloat16 uses
    autocast. Raises NonFiniteLoss before an update that would spoil the model.
    """
    batches = iter(batches)
    for step in range(start, 2**63):
        began = time.perf_counter()
        micro_batches = next(batches, None)
        if micro_batches is None:
            return
        waited = time.perf_counter() - began

        model.train()
        loss, targets = accumulate_gradients(model, micro_batches, dtype)
        norm = float(clip_grad_norm(optimizer.parameters, max_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            optimizer.zero_grad()
            raise NonFiniteLoss(f"step {step + 1}: the loss is {loss}, its gradient's norm {norm}")
        optimizer.lr = lr_at(step)
        if targets:
            optimizer.step()
        else:
            warnings.warn(f"step {step + 1}: nothing in this batch is supervised, so nothing was "
                          "learnt from it", stacklevel=2)
        optimizer.zero_grad()

        tokens = sum(batch.tokens for batch in micro_batches)
        yield StepRecord(step + 1, loss, optimizer.lr, norm, targets, tokens,
                         time.perf_counter() - began, waited)
