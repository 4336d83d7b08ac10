"""AdamW: Adam with weight decay that does not pass through the gradient.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    m_hat = m / (1 - beta1^t)          v_hat = v / (1 - beta2^t)
    theta <- theta (1 - lr lambda) - lr m_hat / (sqrt(v_hat) + eps)

Decay shrinks every weight by the same factor, whatever its gradient; biases and LayerNorms are not decayed.

Notes: 优化设置 (optimization settings). Source: Loshchilov and Hutter 2019, algorithm 2 (the schedule multiplier is
part of lr).
"""

import math

import torch


def parameter_groups(model, weight_decay):
    """Two groups of the trainable parameters: matrices, which decay, and vectors (biases, LayerNorms), which do not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]


class AdamW:
    """groups: list of {"params": [...], "weight_decay": lambda}, or an iterable of parameters.

    lr: step size, which the loop sets anew at each step; betas, eps as above. A parameter whose `.grad` is None is
    passed over, its state and count of steps untouched. Optimizer state: two numbers for each parameter.
    """

    def __init__(self, groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0):
        if not lr >= 0 or not eps >= 0 or not weight_decay >= 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr, eps and weight_decay must not be negative, betas in [0, 1); "
                             f"got lr={lr}, eps={eps}, weight_decay={weight_decay}, betas={betas}")
        groups = list(groups)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups, "weight_decay": weight_decay}]
        self.groups, self.lr, self.betas, self.eps = groups, lr, betas, eps
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        if not self.parameters:
            raise ValueError("the optimizer was given no parameters to train")
        self.state = {}  # index of the parameter -> {"t", "m", "v"}

    @torch.no_grad()
    def step(self):
        beta1, beta2 = self.betas
        index = -1
        for group in self.groups:
            for theta in group["params"]:
                index += 1
                if (g := theta.grad) is None:
                    continue
                state = self.state.get(index)
                if state is None:
                    state = self.state[index] = {"t": 0, "m": torch.zeros_like(theta), "v": torch.zeros_like(theta)}
                state["t"] += 1
                t, m, v = state["t"], state["m"], state["v"]
                m.lerp_(g, 1 - beta1)
                v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                # sqrt(v_hat) + eps, with the correction of v taken out of the root
                denominator = v.sqrt().div_(math.sqrt(1 - beta2 ** t)).add_(self.eps)
                if group["weight_decay"]:
                    theta.mul_(1 - self.lr * group["weight_decay"])
                theta.addcdiv_(m, denominator, value=-self.lr / (1 - beta1 ** t))

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self):
        """All that `load_state_dict` needs to go on as if nothing had happened."""
        return {"state": self.state, "shapes": [list(parameter.shape) for parameter in self.parameters]}

    def load_state_dict(self, saved):
        shapes = [list(parameter.shape) for parameter in self.parameters]
        if saved["shapes"] != shapes:
            raise ValueError("this optimizer state belongs to other parameters: their number or shapes differ")
        self.state = {
            index: {"t": state["t"], "m": state["m"].to(self.parameters[index].device, copy=True),
                    "v": state["v"].to(self.parameters[index].device, copy=True)}
            for index, state in saved["state"].items()}
