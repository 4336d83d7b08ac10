"""AdamW: Adam with weight decay that does not pass through the gradient.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    m_hat = m / (1 - beta1^t)          v_hat = v / (1 - beta2^t)
    theta <- theta (1 - lr lambda) - lr m_hat / (sqrt(v_hat) + eps)

Write `step`, which updates each parameter that has a gradient, and `_update`, which does one step
of one parameter in place. `self.state[index]` holds t, m and v of the parameter that is at place
`index` among all of them. A parameter whose `.grad` is None is skipped, and its state stays as it
is.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal

STEP, UPDATE = "minisft.optim.adamw:AdamW.step", "minisft.optim.adamw:AdamW._update"
UPDATES = "change of [step][parameter] "


def cases(rng):
    """From one number to three parameters in two groups; large eps and decay, so that both show."""
    def case(shapes, steps, gaps=(), decays=(0.3,)):
        return {
            "groups": [[normal(rng, *shape) for shape in group] for group in shapes],
            "decays": list(decays),
            "grads": [[[None if (step, place) in gaps else normal(rng, *shape)
                        for place, shape in enumerate(group)] for group in shapes]
                      for step in range(steps)],
            "rates": [rng.uniform(0.05, 0.2) for _ in range(steps)],
            "betas": [rng.uniform(0.5, 0.8), rng.uniform(0.9, 0.97)], "eps": 1e-2}

    return [case([[(1,)]], steps=1), case([[(1,)]], steps=2), case([[(2, 3)]], steps=5),
            case([[(2,), (3, 2)], [(2, 2)]], steps=5, decays=(0.3, 0.0)),
            case([[(2,), (2,), (3,)]], steps=5, gaps={(0, 0), (1, 1), (3, 1), (3, 2)})]


def run(code, groups, decays, grads, rates, betas, eps):
    """The change of every parameter in every step."""
    groups = [[theta.clone().requires_grad_() for theta in group] for group in groups]
    optimizer = code.AdamW([{"params": group, "weight_decay": decay}
                            for group, decay in zip(groups, decays)], betas=tuple(betas), eps=eps)
    thetas = [theta for group in groups for theta in group]
    updates = []
    for rate, given in zip(rates, grads):
        for theta, grad in zip(thetas, [grad for group in given for grad in group]):
            theta.grad = None if grad is None else grad.clone()
        optimizer.lr = rate
        before = [theta.detach().clone() for theta in thetas]
        optimizer.step()
        updates.append([theta.detach() - old for theta, old in zip(thetas, before)])
    return {UPDATES: updates}


def oracle(groups, decays, grads, rates, betas, eps):
    """The formula, for one number after the other."""
    updates = [[] for _ in rates]
    for place, (group, decay) in enumerate(zip(groups, decays)):
        for i, theta in enumerate(group):
            moves = [torch.zeros_like(theta) for _ in rates]
            for n in range(theta.numel()):
                given = [None if step[place][i] is None else step[place][i].flatten()[n].item()
                         for step in grads]
                one = moves_of_one(theta.flatten()[n].item(), given, rates, decay, betas, eps)
                for step, move in enumerate(one):
                    moves[step].view(-1)[n] = move
            for step, move in enumerate(moves):
                updates[step].append(move)
    return {UPDATES: updates}


def moves_of_one(theta, grads, rates, decay, betas, eps):
    """What is added to one number in each step."""
    m = v = t = 0
    moves = []
    for g, rate in zip(grads, rates):
        if g is None:
            moves.append(0.0)
            continue
        t += 1
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        moves.append(-rate * decay * theta - rate * m_hat / (v_hat ** 0.5 + eps))
        theta += moves[-1]
    return moves


DECAY = """            if weight_decay:
                theta.mul_(1 - self.lr * weight_decay)
"""
STEP_LINE = "            theta.addcdiv_(m, sqrt_v_hat.add_(self.eps), value=-step_size)\n"
COUNT = '        state["t"] += 1\n'
M_HAT = "self.lr / (1 - beta1 ** t)"
V_HAT = "v.sqrt().div_(math.sqrt(1 - beta2 ** t))"
M_LINE, V_LINE = "m.lerp_(g, 1 - beta1)", "v.mul_(beta2).addcmul_(g, g, value=1 - beta2)"

EXERCISE = Exercise(
    name="adamw", doc=__doc__, targets=(STEP, UPDATE), minutes=25,
    read="Loshchilov and Hutter 2019, algorithm 2",
    call="optimizer = AdamW(groups, betas=betas, eps=eps); then for each step set every .grad and "
         "optimizer.lr, and call optimizer.step()",
    cases=cases, run=run, oracle=oracle,
    question="At the first step m is (1 - beta1) g. How large should it be, if it is to stand for "
             "the mean of all gradients so far?",
    pseudocode="""
        for each parameter with a gradient, by its place among all parameters:
            make t = 0, m = 0, v = 0 if it has no state yet
            t <- t + 1
            move m towards g, and v towards g squared
            correct both for their start at zero
            shrink theta by lr * lambda
            move theta by lr * m_hat / (sqrt(v_hat) + eps)
    """,
    mistakes=(
        Mistake("L2 instead of decay", "The decay is added to the gradient (L2), so it is divided "
                "by sqrt(v_hat) like a gradient; it must shrink theta directly.",
                ("            # m <- beta1 m + (1 - beta1) g\n",
                 "            g = g + weight_decay * theta\n"), (DECAY, "")),
        Mistake("no bias correction", "m and v start at zero and are not corrected for it; divide "
                "them by 1 - beta^t.", (M_HAT, "self.lr"), (V_HAT, "v.sqrt()")),
        Mistake("m not corrected", "v is corrected for its start at zero, m is not; divide m by "
                "1 - beta1^t.", (M_HAT, "self.lr")),
        Mistake("v not corrected", "m is corrected for its start at zero, v is not; divide v by "
                "1 - beta2^t.", (V_HAT, "v.sqrt()")),
        Mistake("eps inside the root", "eps stands inside the square root; it is added after it.",
                (V_HAT, "v.div(1 - beta2 ** t).add_(self.eps).sqrt_()"),
                ("sqrt_v_hat.add_(self.eps)", "sqrt_v_hat")),
        Mistake("eps before the correction", "eps is added to sqrt(v) before v is corrected, so it "
                "is too large in the first steps.",
                (V_HAT, "v.sqrt().add_(self.eps).div_(math.sqrt(1 - beta2 ** t))"),
                ("sqrt_v_hat.add_(self.eps)", "sqrt_v_hat")),
        Mistake("no eps", "eps is missing in the denominator.",
                ("sqrt_v_hat.add_(self.eps)", "sqrt_v_hat")),
        Mistake("decay without lr", "The decay is not multiplied by the learning rate.",
                ("1 - self.lr * weight_decay", "1 - weight_decay")),
        Mistake("no decay", "There is no weight decay at all.", (DECAY, "")),
        Mistake("decay after the step", "theta shrinks after its step, so the step shrinks too; "
                "the decay belongs to the old theta.",
                (DECAY, ""), (STEP_LINE, STEP_LINE + DECAY)),
        Mistake("decay grows", "The decay makes theta larger; its sign is wrong.",
                ("1 - self.lr * weight_decay", "1 + self.lr * weight_decay")),
        Mistake("betas swapped", "beta1 and beta2 have changed places.",
                ("beta1, beta2) = ", "beta2, beta1) = ")),
        Mistake("v without the square", "v follows |g| instead of g squared.",
                (V_LINE, "v.mul_(beta2).add_(g.abs(), alpha=1 - beta2)")),
        Mistake("m without 1 - beta1", "The new gradient is added to m with weight 1, not 1 - "
                "beta1.", (M_LINE, "m.mul_(beta1).add_(g)")),
        Mistake("no root", "The step is divided by v_hat, not by its square root.",
                (V_HAT, "v.div(1 - beta2 ** t)")),
        Mistake("t starts at 0", "t is still 0 at the first step, so 1 - beta^t is zero; count "
                "before you use it.",
                (COUNT, ""), (STEP_LINE, STEP_LINE + COUNT)),
        Mistake("uphill", "theta moves along the gradient; it must move against it.",
                ("value=-step_size", "value=step_size")),
        Mistake("grad None", "A parameter without a gradient (.grad is None) is not skipped.",
                ("if theta.grad is not None:", "if True:")),
        Mistake("place counted only with a gradient", "The place of a parameter is only counted "
                "where it has a gradient, so m and v of different parameters are mixed up.",
                ("                index += 1", "                    index += 1")),
    ),
    variants=(
        Variant("the formula, written out", "Easiest to read. Each line makes a new tensor, so a "
                "step needs about three times as much memory traffic.", {UPDATE: """
            zeros = torch.zeros_like(parameter)
            state = self.state.setdefault(index, {"t": 0, "m": zeros, "v": zeros})
            state["t"] += 1
            t, g, (beta1, beta2) = state["t"], parameter.grad, self.betas
            state["m"] = beta1 * state["m"] + (1 - beta1) * g
            state["v"] = beta2 * state["v"] + (1 - beta2) * g ** 2
            m_hat = state["m"] / (1 - beta1 ** t)
            v_hat = state["v"] / (1 - beta2 ** t)
            parameter -= self.lr * weight_decay * parameter + self.lr * m_hat / (
                v_hat.sqrt() + self.eps)
        """}),
        Variant("a loop over all numbers", "Shows that every number is treated alone. In Python "
                "about a thousand times as slow.", {UPDATE: """
            n = parameter.numel()
            state = self.state.setdefault(index, {"t": 0, "m": [0.0] * n, "v": [0.0] * n})
            state["t"] += 1
            t, (beta1, beta2) = state["t"], self.betas
            theta = parameter.flatten().tolist()
            for i, g in enumerate(parameter.grad.flatten().tolist()):
                state["m"][i] = beta1 * state["m"][i] + (1 - beta1) * g
                state["v"][i] = beta2 * state["v"][i] + (1 - beta2) * g * g
                m_hat = state["m"][i] / (1 - beta1 ** t)
                v_hat = state["v"][i] / (1 - beta2 ** t)
                theta[i] -= self.lr * (weight_decay * theta[i] + m_hat / (v_hat ** 0.5 + self.eps))
            parameter.copy_(torch.tensor(theta).view(parameter.shape))
        """}),
        Variant("the correction folded into the rate", "One scalar in place of two tensors, as in "
                "section 2 of Adam's paper; eps must be corrected along.", {UPDATE: """
            state = self.state.setdefault(index, {"t": 0, "m": torch.zeros_like(parameter),
                                                  "v": torch.zeros_like(parameter)})
            state["t"] += 1
            m, v, g = state["m"], state["v"], parameter.grad
            beta1, beta2 = self.betas
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g * g - v)
            root = math.sqrt(1 - beta2 ** state["t"])
            rate = self.lr * root / (1 - beta1 ** state["t"])
            parameter *= 1 - self.lr * weight_decay
            parameter -= rate * m / (v.sqrt() + self.eps * root)
        """}),
    ),
)
