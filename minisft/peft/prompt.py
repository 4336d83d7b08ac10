"""Prompt tuning: P trainable rows in front of the embedded tokens, and nothing else.

    x = [ E_P + wpe[0..P-1] ; wte[ids] + wpe[P..] ]        E_P (P, C), the only parameters

Source: Lester et al. 2021, section 2. Notes: 提示微调 (prompt tuning).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from minisft.checks import check_types
from minisft.layers import dropout
from minisft.peft.prefix import start_ids
from minisft.peft.virtual import Virtual


@dataclass(frozen=True)
class PromptConfig:
    """P: length; start: "random", "vocabulary" (rows of random tokens) or "text" (of `text`)."""

    lr: ClassVar[float] = 0.1  # default of the highest learning rate
    P: int = 20
    start: str = "vocabulary"
    text: str = ""

    def __post_init__(self):
        check_types(self)
        if self.P < 1:
            raise ValueError(f"P must be at least 1, got {self.P}")
        if self.start not in ("random", "vocabulary", "text"):
            raise ValueError(f"start must be random, vocabulary or text, got {self.start!r}")
        if bool(self.text) != (self.start == "text"):
            raise ValueError("a text goes with start='text', and only with it; got "
                             f"start={self.start!r}, text={self.text!r}")

    def wrap_model(self, model, tokenizer):
        return Prompt(model, self.start_rows(model.wte.weight.detach(), tokenizer))

    def start_rows(self, wte, tokenizer):
        """Rows to start from: (P, C)."""
        P = self.P
        if self.start == "random":
            rows = torch.empty(P, wte.shape[1], dtype=wte.dtype, device=wte.device)
            return rows.normal_(std=wte.std().item())
        if self.start == "vocabulary" and P > len(wte):
            raise ValueError(f"the vocabulary has {len(wte)} rows to start from, fewer than P={P}; "
                             "take start=random")
        if self.start == "vocabulary":
            ids = torch.randperm(len(wte))[:P]
        else:
            ids = start_ids(self.text, P, tokenizer)[0]
        return wte[ids.to(wte.device)].clone()


class Prompt(Virtual):
    """A model with trainable rows before its embeddings. rows: (P, C)."""

    def __init__(self, base, rows):
        super().__init__(base, len(rows))
        self.rows = nn.Parameter(rows)

    def begin(self, x, cache, mask):
        P = self.P
        first = self.rows + self.base.wpe(torch.arange(P, device=x.device))
        first = dropout(first, self.config.dropout, self.training)
        x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)  # (B, T, C) -> (B, P+T, C)
        if mask is not None:  # each of the P rows sees itself and the rows before it
            above = torch.ones(P, mask.shape[-1], dtype=torch.bool, device=mask.device).tril()
            above = above.expand(*mask.shape[:-2], -1, -1)
            mask = torch.cat([above, mask], dim=-2)  # (..., T, P+S) -> (..., P+T, P+S)
        x = self.base.trunk(x, cache, mask)[:, P:]  # (B, P+T, C) -> (B, T, C)
        if cache is not None:
            cache.position -= P  # positions are those of real tokens
        return x
