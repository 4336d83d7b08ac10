"""An adapter: a narrow detour after a frozen layer, added to what the layer gives.

    z <- z + gelu(z W_d + b_d) W_u + b_u        W_d (C, m), W_u (m, C)

z is what the frozen layer gives, C wide; m is the bottleneck. GELU is the exact one, F.gelu. The
layer keeps `self.base` and the parameters `self.W_d` (m, C), `self.b_d`, `self.W_u` (C, m) and
`self.b_u`; weights are stored [out, in], as all here, in the type and on the device of the base's
weight. The weights start normal with standard deviation 1e-3 and the biases at zero, so that the
adapter changes almost nothing at first and still gets a gradient.

Write `__init__` and `forward`.
"""

import math

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal
from minisft.layers import Linear

INIT, FORWARD = "minisft.peft.adapter:Adapted.__init__", "minisft.peft.adapter:Adapted.forward"
NAMES = ("W_d", "b_d", "W_u", "b_u")


def cases(rng):
    """No bias is zero, m is not C, in is not C, x has several dimensions."""
    def case(inputs, C, m, x_shape):
        return {"W": normal(rng, C, inputs), "b": normal(rng, C),
                "adapter": [normal(rng, m, C), normal(rng, m), normal(rng, C, m), normal(rng, C)],
                "x": normal(rng, *x_shape, inputs)}

    return [case(2, 1, 2, (1,)), case(2, 3, 2, (2,)), case(4, 3, 1, (2, 2)),
            case(3, 4, 2, (2, 3)), case(2, 5, 3, (3,))]


def run(code, W, b, adapter, x):
    base = Linear(W.shape[1], W.shape[0]).double()
    with torch.no_grad():
        base.weight.copy_(W)
        base.bias.copy_(b)
    layer = code.Adapted(base, adapter[0].shape[0])
    started = layer(x)
    started.sum().backward()
    parameters = dict(layer.named_parameters())
    wide = dict(code.Adapted(Linear(2, 64).double(), 16).named_parameters())
    values = {"shapes of W_d, b_d, W_u, b_u": [list(parameters[name].shape) for name in NAMES],
              "what is trained": sorted(name for name, parameter in parameters.items()
                                        if parameter.requires_grad),
              "layer(x) at the start is within 0.01 of base(x)":
                  bool((started - base(x)).abs().max() < 0.01),
              "W_d or W_u gets a gradient at the start": any(
                  parameters[name].grad is not None and bool(parameters[name].grad.any())
                  for name in ("W_d", "W_u")),
              "W_d, W_u start with a standard deviation of about 1e-3":
                  [bool(5e-4 < wide[name].std() < 2e-3) for name in ("W_d", "W_u")],
              "b_d, b_u start at zero": [not bool(wide[name].any()) for name in ("b_d", "b_u")]}
    if values["shapes of W_d, b_d, W_u, b_u"] != [list(given.shape) for given in adapter]:
        return values
    with torch.no_grad():
        for name, given in zip(NAMES, adapter):
            parameters[name].copy_(given)
    return values | {"layer(x)": layer(x)}


def oracle(W, b, adapter, x):
    """Sums, one number of the bottleneck after the other."""
    W_d, b_d, W_u, b_u = adapter
    z = torch.einsum("...i,oi->...o", x, W) + b
    out = z + b_u
    for k in range(len(W_d)):
        narrow = torch.einsum("...c,c->...", z, W_d[k]) + b_d[k]
        bent = narrow * 0.5 * (1 + torch.erf(narrow / math.sqrt(2)))
        out = out + bent[..., None] * W_u[:, k]
    return {"shapes of W_d, b_d, W_u, b_u": [list(given.shape) for given in adapter],
            "what is trained": ["W_d", "W_u", "b_d", "b_u"],
            "layer(x) at the start is within 0.01 of base(x)": True,
            "W_d or W_u gets a gradient at the start": True,
            "W_d, W_u start with a standard deviation of about 1e-3": [True, True],
            "b_d, b_u start at zero": [True, True], "layer(x)": out}


NARROW = "narrow = F.gelu(F.linear(z, self.W_d, self.b_d))"
RETURN = "return z + F.linear(narrow, self.W_u, self.b_u)"
FREEZE = "base.requires_grad_(False)"
W_D = "self.W_d = nn.Parameter(torch.empty(bottleneck, C, **like).normal_(std=1e-3))"
W_U = "self.W_u = nn.Parameter(torch.empty(C, bottleneck, **like).normal_(std=1e-3))"

EXERCISE = Exercise(
    name="adapter", doc=__doc__, targets=(INIT, FORWARD), minutes=20,
    read="lessons/25_adapters.py; Houlsby et al. 2019, section 2",
    call="layer = Adapted(base, bottleneck) on a base with W and b; layer(x) at the start, and "
         "with the four given parameters copied into it",
    cases=cases, run=run, oracle=oracle,
    question="Why does an adapter need the sum with z, if it is to change nothing at first?",
    pseudocode="""
        __init__: keep the base, frozen
                  W_d (m, C) and W_u (C, m) normal with standard deviation 1e-3; biases zero
        forward: z = base(x)
                 narrow = gelu of z through W_d and b_d
                 z + narrow through W_u and b_u
    """,
    mistakes=(
        Mistake("no residual", "z itself is not added, so almost nothing comes through at the "
                "start.", (RETURN, RETURN.replace("z + ", ""))),
        Mistake("residual twice", "z is added twice.",
                (RETURN, RETURN.replace("z + ", "2 * z + "))),
        Mistake("no nonlinearity", "There is no GELU, so the detour is only a linear layer.",
                (NARROW, "narrow = F.linear(z, self.W_d, self.b_d)")),
        Mistake("activation after up", "GELU stands after the second matrix; it belongs into the "
                "bottleneck.", (NARROW, "narrow = F.linear(z, self.W_d, self.b_d)"),
                (RETURN, "return z + F.gelu(F.linear(narrow, self.W_u, self.b_u))")),
        Mistake("activation before down", "GELU acts on z before the first matrix; it belongs "
                "behind it.", (NARROW, "narrow = F.linear(F.gelu(z), self.W_d, self.b_d)")),
        Mistake("activation twice", "GELU stands behind both matrices; it belongs into the "
                "bottleneck only.",
                (RETURN, "return z + F.gelu(F.linear(narrow, self.W_u, self.b_u))")),
        Mistake("ReLU", "The activation is a ReLU; it is GELU.",
                (NARROW, NARROW.replace("gelu", "relu"))),
        Mistake("GELU in its tanh form", "GELU is the tanh approximation, which GPT-2's own layers "
                "use; here it is the exact one.",
                (NARROW, 'narrow = F.gelu(F.linear(z, self.W_d, self.b_d), approximate="tanh")')),
        Mistake("no bias below", "b_d is not added.", (NARROW, NARROW.replace(", self.b_d", ""))),
        Mistake("no bias above", "b_u is not added.", (RETURN, RETURN.replace(", self.b_u", ""))),
        Mistake("bias after the activation", "b_d is added after GELU; it belongs inside.",
                (NARROW, "narrow = F.gelu(F.linear(z, self.W_d)) + self.b_d")),
        Mistake("GELU of everything", "GELU acts on the sum with z; it belongs into the "
                "bottleneck.", (NARROW, "narrow = F.linear(z, self.W_d, self.b_d)"),
                (RETURN, "return F.gelu(z + F.linear(narrow, self.W_u, self.b_u))")),
        Mistake("not the identity at the start", "W_d and W_u start large, so the adapter changes "
                "the model before it has learnt anything.",
                (W_D, W_D.replace("normal_(std=1e-3)", "fill_(1.0)")),
                (W_U, W_U.replace("normal_(std=1e-3)", "fill_(1.0)"))),
        Mistake("zero at the start", "W_d and W_u are both zero at the start, so neither ever gets "
                "a gradient.", (W_D, W_D.replace("normal_(std=1e-3)", "zero_()")),
                (W_U, W_U.replace("normal_(std=1e-3)", "zero_()"))),
        Mistake("base trainable", "The base is trained too; freeze it.", (FREEZE, "pass")),
        Mistake("bias of the base trainable", "The base's bias is trained; only the adapter is.",
                (FREEZE, "base.weight.requires_grad_(False)")),
        Mistake("biases not trained", "The adapter's biases are plain tensors, so they are not "
                "trained or saved; make them parameters.",
                ("self.b_d = nn.Parameter(torch.zeros(bottleneck, **like))",
                 "self.b_d = nn.Parameter(torch.zeros(bottleneck, **like), requires_grad=False)"),
                ("self.b_u = nn.Parameter(torch.zeros(C, **like))",
                 "self.b_u = nn.Parameter(torch.zeros(C, **like), requires_grad=False)")),
        Mistake("stored [in, out]", "The weights are stored [in, out]; here they are [out, in].",
                (W_D, W_D.replace("bottleneck, C", "C, bottleneck")),
                (W_U, W_U.replace("C, bottleneck", "bottleneck, C")),
                (NARROW, NARROW.replace("self.W_d", "self.W_d.T")),
                (RETURN, RETURN.replace("self.W_u", "self.W_u.T"))),
    ),
    imports=("import math",),
    variants=(
        Variant("einsum", "Letters say which dimension is summed.", {FORWARD: """
            z = self.base(x)
            narrow = F.gelu(torch.einsum("...c,mc->...m", z, self.W_d) + self.b_d)
            return z + torch.einsum("...m,cm->...c", narrow, self.W_u) + self.b_u
            """}),
        Variant("a loop over the bottleneck", "One number of the bottleneck after the other, as a "
                "sum of m detours; slow.", {FORWARD: """
            z = self.base(x)
            out = z + self.b_u
            for k in range(len(self.W_d)):
                narrow = F.gelu((z * self.W_d[k]).sum(-1, keepdim=True) + self.b_d[k])
                out = out + narrow * self.W_u[:, k]
            return out
            """}),
        Variant("in place, GELU by its formula", "z times the normal distribution function; adds "
                "into a new tensor, never into z, which autograd still needs.", {FORWARD: """
            z = self.base(x)
            narrow = z @ self.W_d.T + self.b_d
            narrow = narrow * (1 + torch.erf(narrow / math.sqrt(2))) / 2
            out = narrow @ self.W_u.T
            out += self.b_u
            out += z
            return out
            """}),
    ),
)
