"""Prompt tuning: P trainable rows in front of the embedded tokens, and nothing else.

    x = [ E_P + wpe[0..P-1] ; wte[ids] + wpe[P..] ]        E_P (P, C), the only parameters

Write `begin`, which `trunk` calls with embedded tokens x (B, T, C) at positions P, P + 1, ... It
puts `self.rows`, E_P, in front, with positions of their own, lets the base's trunk compute, and
returns (B, T, C): the rows are no tokens, and nothing is predicted from them. `dropout(first,
self.config.dropout, self.training)` acts on the rows as it does on all embeddings; it is 0 here.

`mask`, (..., T, P+S) or None, says where the tokens may look; the rows need lines of their own in
it, (..., P+T, P+S): each row sees itself and the rows before it. A cache counts the rows as
positions when the trunk has run; its `position` must count real tokens only.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import logits_by_hand, model_of, normal
from lessons.exercises.defs.prefix import packing
from minisft.cache import KVCache

BEGIN = "minisft.peft.prompt:Prompt.begin"
APART, CHUNKS = "prompt(ids, positions, mask=mask)", "prompt(part, cache=cache), part after part "
GRADIENT, POSITION = "prompt.rows.grad of its squares", "cache.position at the end"


def cases(rng):
    """P is not T; a batch; two packed documents; a cache that is read part after part."""
    def case(B, T, P, packed=0, chunks=()):
        return {"seed": rng.getrandbits(30), "rows": normal(rng, P, 6), "packed": packed,
                "ids": torch.tensor([[rng.randrange(11) for _ in range(T)] for _ in range(B)]),
                "chunks": list(chunks)}

    return [case(1, 2, 1), case(1, 3, 2), case(2, 4, 3), case(2, 4, 2, packed=2),
            case(1, 5, 3, packed=3), case(2, 4, 3, chunks=(2, 1, 1)), case(3, 2, 4)]


def run(code, seed, rows, packed, ids, chunks):
    model = model_of(seed)
    prompt = code.Prompt(model, rows.clone())
    if chunks:
        cache = KVCache(model.config, len(ids), ids.shape[1], dtype=torch.float64)
        with torch.no_grad():
            logits = [prompt(part, cache=cache) for part in ids.split(chunks, dim=1)]
        return {CHUNKS: logits, POSITION: cache.position}
    positions, mask = packing(ids.shape[1], packed)
    logits = prompt(ids, positions, mask=mask)
    logits.square().sum().backward()
    return {APART: logits, GRADIENT: prompt.rows.grad}


def oracle(seed, rows, packed, ids, chunks):
    """One query and one head at a time, over rows and tokens together."""
    model = model_of(seed)
    P, T = len(rows), ids.shape[1]
    rows = rows.clone().requires_grad_()
    positions = [P + (t if t < packed or not packed else t - packed) for t in range(T)]
    logits = torch.stack([
        logits_by_hand(model, row, positions, rows=rows,
                       sees=lambda t, s: not packed or (t < packed) == (s < packed))
        for row in ids.tolist()])
    if chunks:
        return {CHUNKS: list(logits.detach().split(chunks, dim=1)), POSITION: T}
    logits.square().sum().backward()
    return {APART: logits, GRADIENT: rows.grad}


FIRST = "first = self.rows + self.base.wpe(torch.arange(P, device=x.device))"
CAT = "x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)"
CUT = "x = self.base.trunk(x, cache, mask)[:, P:]"
ABOVE = "above = torch.ones(P, mask.shape[-1], dtype=torch.bool, device=mask.device).tril()"
STACKED = "mask = torch.cat([above, mask], dim=-2)"

EXERCISE = Exercise(
    name="prompt", doc=__doc__, targets=(BEGIN,), minutes=25, after=("attention",),
    read="lessons/27_prompt.py; Lester et al. 2021, section 2",
    call="prompt = Prompt(probes.model_of(seed), rows); prompt(ids), with positions and mask of "
         "two documents where packed > 0, or with a KVCache part after part",
    cases=cases, run=run, oracle=oracle,
    question="P rows stand in front of T tokens. How many logits does the loss want, and which of "
             "the P + T outputs are they?",
    pseudocode="""
        first = the rows + the position embeddings 0 to P - 1
        x = [first, for each row of the batch ; x]
        a mask gets P lines on top: line i may look at places 0 to i
        x = the base's trunk of it, without its first P places
        a cache's position goes back by P
    """,
    mistakes=(
        Mistake("added, not put in front", "The rows are added to the tokens; they stand in front "
                "of them.", (CAT, "x = torch.cat([first.expand(len(x), -1, -1), x + "
                                  "first.mean(0)], dim=1)")),
        Mistake("tokens overwritten", "The rows take the place of the first tokens; they stand in "
                "front of all.",
                (CAT, "x = torch.cat([first.expand(len(x), -1, -1), x[:, :1] * 0 + x], dim=1)\n"
                      "        x[:, P] = x[:, P - 1]")),
        Mistake("rows without positions", "The rows have no position embeddings; they have "
                "positions 0 to P - 1.", (FIRST, "first = self.rows + 0")),
        Mistake("all rows at position 0", "All rows have position 0; they have 0 to P - 1.",
                (FIRST, "first = self.rows + self.base.wpe.weight[0]")),
        Mistake("positions after the tokens", "The rows have the positions after their own; they "
                "begin at 0.", (FIRST, "first = self.rows + self.base.wpe(torch.arange(P) + 1)")),
        Mistake("rows not cut off", "P + T places are returned; the rows are no tokens, so cut "
                "their places off.", (CUT, "x = self.base.trunk(x, cache, mask)")),
        Mistake("cut on the wrong side", "The last P places are cut off; the rows stand in front.",
                (CUT, "x = self.base.trunk(x, cache, mask)[:, :-P]")),
        Mistake("cut one off", "One place too few is cut off, so every token is predicted from the "
                "place before.", (CUT, "x = self.base.trunk(x, cache, mask)[:, P - 1:-1]")),
        Mistake("rows behind", "The rows stand behind the tokens, which then cannot see them.",
                (CAT, "x = torch.cat([x, first.expand(len(x), -1, -1)], dim=1)"),
                (CUT, "x = self.base.trunk(x, cache, mask)[:, :-P]")),
        Mistake("rows in reverse", "The rows stand in reverse order.",
                (CAT, CAT.replace("first.expand", "first.flip(0).expand"))),
        Mistake("first row for all", "All rows are the first one.",
                (FIRST, FIRST.replace("self.rows", "self.rows[:1]"))),
        Mistake("mask without the rows", "The mask has no lines for the rows.",
                ("if mask is not None:", "if False:")),
        Mistake("rows see everything", "The rows see all places, the tokens too; each sees itself "
                "and the rows before it.", (ABOVE, ABOVE.replace(".tril()", ""))),
        Mistake("rows see themselves only", "A row sees itself alone; it sees the rows before it "
                "too.", (ABOVE, ABOVE.replace(".tril()", ".tril() & torch.eye(\n            P, "
                                              "mask.shape[-1], dtype=torch.bool)"))),
        Mistake("mask's lines below", "The rows' lines stand below those of the tokens in the "
                "mask; they stand above.", (STACKED, "mask = torch.cat([mask, above], dim=-2)")),
        Mistake("cache counts the rows", "The cache's position counts the rows; it must count real "
                "tokens, as P is added to them later.",
                ("cache.position -= P", "pass")),
        Mistake("length instead of position", "The cache's length goes back by P instead of its "
                "position, so the rows' entries are overwritten.",
                ("cache.position -= P", "cache.length -= P")),
        Mistake("no gradient", "The rows get no gradient; they were detached.",
                (FIRST, FIRST.replace("self.rows", "self.rows.detach()"))),
    ),
    variants=(
        Variant("written into place", "Room for all, then two assignments.", {BEGIN: """
            B, T, C = x.shape
            room = x.new_zeros(B, self.P + T, C)
            room[:, :self.P] = self.rows + self.base.wpe.weight[:self.P]
            room[:, self.P:] = x
            if mask is not None:
                wide = mask.new_zeros(*mask.shape[:-2], self.P + T, mask.shape[-1])
                wide[..., self.P:, :] = mask
                for i in range(self.P):
                    wide[..., i, :i + 1] = True
                mask = wide
            out = self.base.trunk(room, cache, mask)
            if cache is not None:
                cache.position -= self.P
            return out[:, self.P:]
            """}),
        Variant("repeat", "The rows are copied for each row of the batch, where expand only looks "
                "as if they were; the copy takes memory.", {BEGIN: """
            P, places = self.P, torch.arange(self.P)
            first = (self.rows + self.base.wpe(places)).repeat(len(x), 1, 1)
            if mask is not None:
                lines = (torch.arange(mask.shape[-1]) <= places[:, None]).expand(
                    *mask.shape[:-2], -1, -1)
                mask = torch.cat((lines, mask), dim=-2)
            x = self.base.trunk(torch.cat((first, x), 1), cache, mask)
            if cache is not None:
                cache.position = cache.position - P
            return x[:, -(x.shape[1] - P):]
            """}),
        Variant("a loop over the batch", "One text after the other in front of the trunk; shows "
                "that all of them share the same rows.", {BEGIN: """
            first = torch.stack([self.rows[i] + self.base.wpe.weight[i] for i in range(self.P)])
            x = torch.stack([torch.cat([first, text]) for text in x])
            if mask is not None:
                top = torch.zeros(self.P, mask.shape[-1], dtype=torch.bool)
                for i in range(self.P):
                    top[i, :i + 1] = True
                mask = torch.cat([top.expand(*mask.shape[:-2], -1, -1), mask], dim=-2)
            x = self.base.trunk(x, cache, mask)
            if cache is not None:
                cache.position -= self.P
            return x.split([self.P, x.shape[1] - self.P], dim=1)[1]
            """}),
    ),
)
