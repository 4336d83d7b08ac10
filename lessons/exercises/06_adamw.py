"""AdamW: Adam with weight decay that does not pass through the gradient.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    m_hat = m / (1 - beta1^t)          v_hat = v / (1 - beta2^t)
    theta <- theta (1 - lr lambda) - lr m_hat / (sqrt(v_hat) + eps)

Write `step`, which updates each parameter that has a gradient, and `_update`, which does one step
of one parameter in place. `self.state[index]` holds t, m and v of the parameter that is at place
`index` among all of them. A parameter whose `.grad` is None is skipped, and its state stays as it
is.

Check it: python lessons/check.py 6
"""

import math

import torch

from minisft.optim.adamw import pieces


class AdamW:
    """groups: list of {"params": [...], "weight_decay": lambda}, or an iterable of parameters.

    lr: the learning rate, which the training loop sets at each step; betas, eps: as in the formula.
    A parameter whose `.grad` is None is skipped, and its state stays as it is. The optimizer state
    holds two numbers, m and v, for each parameter.
    """

    def __init__(self, groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0):
        valid_betas = all(0 <= beta < 1 for beta in betas)
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0 and valid_betas):
            raise ValueError(
                "lr, eps and weight_decay must not be negative, betas in [0, 1); "
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
        raise NotImplementedError

    def _update(self, index, parameter, weight_decay):
        """One step of one parameter, by the formula at the top of this file, line by line."""
        # m <- beta1 m + (1 - beta1) g
        # v <- beta2 v + (1 - beta2) g^2
        # m_hat = m / (1 - beta1^t), so lr m_hat = m (lr / (1 - beta1^t)) = m step_size
        # v_hat = v / (1 - beta2^t), so sqrt(v_hat) = sqrt(v) / sqrt(1 - beta2^t)
        # theta <- theta (1 - lr lambda) - lr m_hat / (sqrt(v_hat) + eps)
        raise NotImplementedError

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self):
        """All that `load_state_dict` needs to continue exactly where this optimizer stands."""
        shapes = [list(parameter.shape) for parameter in self.parameters]
        return {"state": self.state, "shapes": shapes}

    def load_state_dict(self, saved):
        shapes = [list(parameter.shape) for parameter in self.parameters]
        if saved["shapes"] != shapes:
            raise ValueError(
                "this optimizer state belongs to other parameters: their number or shapes differ")
        self.state = {}
        for index, state in saved["state"].items():
            device = self.parameters[index].device
            self.state[index] = {
                "t": state["t"],
                "m": state["m"].to(device, copy=True),
                "v": state["v"].to(device, copy=True),
            }
