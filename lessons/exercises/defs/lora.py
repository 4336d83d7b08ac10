"""LoRA: a frozen linear layer and, beside it, a product of two thin matrices that learns.

    h = W_0 x + (alpha / r) B A x        W_0 (out, in) frozen;  A (r, in), B (out, r) trained

B is zero at the start, so nothing has changed yet. A starts uniform in +-1 / sqrt(in): if it were
zero too, neither would ever get a gradient. `config` has r, alpha and dropout (0 here). The layer
keeps `self.base`, the frozen layer, `self.scale`, `self.dropout`, and the parameters `self.A` and
`self.B`, in the type and on the device of the base's weight.

Write `__init__`, `forward`, and `merged_weight`, the weight (out, in) of one ordinary layer that
does the same. It changes nothing.
"""

import torch
import torch.nn.functional as F

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal
from minisft.layers import Linear
from minisft.peft import LoRAConfig

INIT, FORWARD, MERGED = (f"minisft.peft.lora:LoRALinear.{name}"
                         for name in ("__init__", "forward", "merged_weight"))


def cases(rng):
    """alpha is not r, in is not out, B is not zero, there is a bias, x has several dimensions."""
    def case(inputs, out, r, x_shape):
        return {"W": normal(rng, out, inputs), "b": normal(rng, out), "A": normal(rng, r, inputs),
                "B": normal(rng, out, r), "alpha": r + rng.choice([1.0, 2.5, 5.0]),
                "x": normal(rng, *x_shape, inputs)}

    return [case(2, 1, 1, (1,)), case(2, 3, 2, (2,)), case(4, 3, 2, (2, 3)),
            case(3, 5, 3, (1, 2)), case(5, 2, 4, (3,))]


def run(code, W, b, A, B, alpha, x):
    base = Linear(W.shape[1], W.shape[0]).double()
    with torch.no_grad():
        base.weight.copy_(W)
        base.bias.copy_(b)
    layer = code.LoRALinear(base, LoRAConfig(r=len(A), alpha=alpha))
    wide = code.LoRALinear(Linear(64, 2).double(), LoRAConfig(r=8)).A.detach() * 64 ** 0.5
    values = {"shapes of A and B": [list(layer.A.shape), list(layer.B.shape)],
              "what is trained": sorted(name for name, parameter in layer.named_parameters()
                                        if parameter.requires_grad),
              "layer(x) at the start": layer(x),
              "A is zero at the start": not bool(layer.A.any()),
              "B is zero at the start": not bool(layer.B.any()),
              "A at the start reaches from -1 / sqrt(in) to 1 / sqrt(in)":
                  bool(0.8 < wide.max() <= 1 and -1 <= wide.min() < -0.8)}
    if values["shapes of A and B"] != [list(A.shape), list(B.shape)]:
        return values
    with torch.no_grad():
        layer.A.copy_(A)
        layer.B.copy_(B)
    h = layer(x)
    h.sum().backward()
    return values | {
        "layer(x)": h, "layer.A.grad after layer(x).sum().backward()": layer.A.grad,
        "layer.B.grad": layer.B.grad, "layer.merged_weight()": layer.merged_weight(),
        "layer.merged_weight() a second time": layer.merged_weight(),
        "layer(x) afterwards": layer(x), "layer.base.weight afterwards": base.weight}


def oracle(W, b, A, B, alpha, x):
    """One dense matrix; gradients by hand."""
    r = len(A)
    dW = torch.zeros_like(W)
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            dW[i, j] = alpha / r * sum(B[i, k] * A[k, j] for k in range(r))
    h = F.linear(x, W + dW, b)
    sum_x = x.reshape(-1, x.shape[-1]).sum(0)
    number = x.numel() // x.shape[-1]
    assert number * b.numel() == h.numel()
    return {"shapes of A and B": [list(A.shape), list(B.shape)], "what is trained": ["A", "B"],
            "layer(x) at the start": F.linear(x, W, b), "A is zero at the start": False,
            "B is zero at the start": True,
            "A at the start reaches from -1 / sqrt(in) to 1 / sqrt(in)": True,
            "layer(x)": h,
            "layer.A.grad after layer(x).sum().backward()":
                alpha / r * B.sum(0)[:, None] * sum_x[None],
            "layer.B.grad": (alpha / r * (A @ sum_x))[None].expand_as(B),
            "layer.merged_weight()": W + dW, "layer.merged_weight() a second time": W + dW,
            "layer(x) afterwards": h, "layer.base.weight afterwards": W}


SCALE = "self.base, self.scale, self.dropout = base, config.scale, config.dropout"
FREEZE = "base.requires_grad_(False)"
A_LINE = "self.A = nn.Parameter(torch.empty(config.r, inputs, **like).uniform_(-bound, bound))"
B_LINE = "self.B = nn.Parameter(torch.zeros(out, config.r, **like))"
RETURN = "return h + self.scale * F.linear(Ax, self.B)"
MERGE = "(W.to(exact) + self.scale * self.B.to(exact) @ self.A.to(exact)).to(W.dtype)"


def scaled(by):
    """The patch that sets another scale."""
    return SCALE, SCALE.replace("config.scale", by)


EXERCISE = Exercise(
    name="lora", doc=__doc__, targets=(INIT, FORWARD, MERGED), minutes=25,
    read="lessons/24_lora.py; Hu et al. 2021, section 4.1",
    call="layer = LoRALinear(base, LoRAConfig(r=len(A), alpha=alpha)) on a base with W and b; then "
         "with A and B copied into it",
    cases=cases, run=run, oracle=oracle,
    question="With B = 0 the layer equals its base. If A were 0 as well, what would the gradients "
             "of A and of B be?",
    pseudocode="""
        __init__: keep base, scale = alpha / r, dropout; freeze the base, its bias too
                  A (r, in), uniform in +-1 / sqrt(in); B (out, r), zero
        forward: what the base gives + scale times B (A x); dropout on the x that A gets
        merged_weight: W_0 + scale times B A, as a new tensor
    """,
    mistakes=(
        Mistake("no scale", "The change is not scaled; multiply it by alpha / r.", scaled("1.0")),
        Mistake("alpha without r", "The change is multiplied by alpha; it is alpha / r.",
                scaled("config.alpha")),
        Mistake("alpha forgotten", "The change is multiplied by 1 / r; it is alpha / r.",
                scaled("1 / config.r")),
        Mistake("scale upside down", "The change is multiplied by r / alpha; it is alpha / r.",
                scaled("config.r / config.alpha")),
        Mistake("divided by the width", "The change is multiplied by alpha / in; it is alpha / r.",
                scaled("config.alpha / base.weight.shape[1]")),
        Mistake("forward not scaled", "forward does not scale the change, merged_weight does.",
                (RETURN, "return h + F.linear(Ax, self.B)")),
        Mistake("merge not scaled", "merged_weight does not scale the change, forward does.",
                (MERGE, MERGE.replace("self.scale * ", ""))),
        Mistake("scaled twice", "forward scales the change twice.",
                (RETURN, RETURN.replace("self.scale", "self.scale ** 2"))),
        Mistake("merge changes the base", "merged_weight adds the change to the frozen weight "
                "itself, so a second call adds it again; make a new tensor.",
                (MERGE, "W.add_(self.scale * self.B @ self.A)")),
        Mistake("merge gives the change alone", "merged_weight lacks W_0.",
                (MERGE, "self.scale * self.B @ self.A")),
        Mistake("base trainable", "The base is trained too; freeze it.", (FREEZE, "pass")),
        Mistake("bias trainable", "The base's bias is trained; only A and B are.",
                (FREEZE, "base.weight.requires_grad_(False)")),
        Mistake("A frozen", "A is not trained; both matrices learn.",
                (A_LINE, A_LINE + "\n        self.A.requires_grad_(False)")),
        Mistake("A is zero too", "A and B are both zero at the start, so neither ever gets a "
                "gradient; draw A.",
                (A_LINE, "self.A = nn.Parameter(torch.zeros(config.r, inputs, **like))")),
        Mistake("B drawn, A zero", "A is zero and B is drawn; it is the other way round (that "
                "would work too, but it is not LoRA).",
                (A_LINE, "self.A = nn.Parameter(torch.zeros(config.r, inputs, **like))"),
                (B_LINE, "self.B = nn.Parameter(torch.ones(out, config.r, **like))")),
        Mistake("A drawn too large", "A is drawn too large; it starts in +-1 / sqrt(in), so "
                "that A x is about as large as x.", ("(-bound, bound)", "(-1.0, 1.0)")),
        Mistake("B not zero", "B is not zero at the start, so the layer does not start as its "
                "base.", (B_LINE, "self.B = nn.Parameter(torch.ones(out, config.r, **like))")),
        Mistake("square layers only", "A has as many columns as the layer has outputs; it reads "
                "inputs, so it works for square layers only.",
                (A_LINE, A_LINE.replace("inputs, **", "out, **"))),
        Mistake("stored turned round", "A and B are stored turned round, as (in, r) and (r, out); "
                "weights here are (out, in).",
                (A_LINE, A_LINE.replace("config.r, inputs", "inputs, config.r")),
                (B_LINE, B_LINE.replace("out, config.r", "config.r, out")),
                ("self.training), self.A)", "self.training), self.A.T)"),
                (RETURN, RETURN.replace("self.B", "self.B.T"))),
        Mistake("base left out", "The result lacks what the base gives.",
                (RETURN, "return self.scale * F.linear(Ax, self.B)")),
        Mistake("bias twice", "The bias is added twice; the base adds it already.",
                (RETURN, RETURN + " + self.base.bias")),
        Mistake("change taken away", "The change is subtracted; it is added.",
                (RETURN, RETURN.replace("h +", "h -"))),
        Mistake("no gradient", "A and B get no gradient; they were detached, or used without it.",
                (RETURN, RETURN.replace("(Ax, self.B)", "(Ax, self.B.detach())"))),
    ),
    variants=(
        Variant("the change as a matrix", "Readable, but makes a matrix as large as W_0 in every "
                "pass, and saving that was the point.", {FORWARD: """
            x_dropped = dropout(x, self.dropout, self.training)
            return self.base(x) + x_dropped @ (self.scale * self.B @ self.A).T
            """}),
        Variant("einsum", "Letters say which dimension is summed; the same two thin products.", {
            FORWARD: """
            x_dropped = dropout(x, self.dropout, self.training)
            Ax = torch.einsum("...i,ri->...r", x_dropped, self.A)
            return torch.einsum("...r,or->...o", Ax, self.B).mul(self.scale) + self.base(x)
            """, MERGED: """
            return self.base.weight + self.scale * torch.einsum("or,ri->oi", self.B, self.A)
            """}),
        Variant("a loop over the rank, in place", "r outer products, each added to a copy; shows "
                "what a rank is, and is slow.", {FORWARD: """
            h = self.base(x).clone()
            x = dropout(x, self.dropout, self.training)
            for k in range(len(self.A)):
                h += self.scale * (x @ self.A[k])[..., None] * self.B[:, k]
            return h
            """, MERGED: """
            W = self.base.weight.clone()
            for k in range(len(self.A)):
                W.addr_(self.B[:, k], self.A[k], alpha=self.scale)
            return W
            """}),
    ),
)
