"""Optimizers, clipping and learning-rate schedules, written by hand."""

from minisft.optim.adamw import AdamW, parameter_groups
from minisft.optim.clip import clip_grad_norm
from minisft.optim.schedule import warmup_cosine, wsd

__all__ = ["AdamW", "clip_grad_norm", "parameter_groups", "warmup_cosine", "wsd"]
