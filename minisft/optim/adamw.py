"""AdamW: Adam with weight decay that does not pass through the gradient.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    m_hat = m / (1 - beta1^t)          v_hat = v / (1 - beta2^t)
    theta <- theta (1 - lr lambda) - lr m_hat / (sqrt(v_hat) + eps)

Weight decay shrinks every weight by the same factor, whatever its gradient. Biases and LayerNorms
are not decayed.

Notes: 优化设置 (optimization settings). Source: Loshchilov and Hutter 2019, algorithm 2; their
schedule multiplier is part of our lr.
"""

import math

import torch

PIECE = 2**17  # numbers of a parameter that are updated at once; see `pieces`


def parameter_groups(model, weight_decay, undecayed=None):
    """The trainable parameters in two groups: matrices decay; biases and LayerNorms do not.

    undecayed: a matrix that does not decay either, or None.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable
               if parameter is not undecayed and parameter.dim() >= 2]
    others = [parameter for parameter in trainable
              if parameter is undecayed or parameter.dim() < 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def pieces(theta, *others):
    """Views of theta and of tensors of its shape, all cut alike: a tuple for each piece.

    The formula reads and writes every number several times, which is fast as long as a piece stays
    in the processor's cache. On a GPU, where few large calls are faster, there is one piece.
    """
    tensors = (theta, *others)
    if theta.device.type != "cpu" or theta.numel() <= PIECE:
        return [tensors]
    slowest = max(range(theta.dim()), key=theta.stride)  # so that a piece is one stretch of memory
    length = max(1, PIECE * theta.shape[slowest] // theta.numel())
    return zip(*(tensor.split(length, dim=slowest) for tensor in tensors))


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
        index = 0
        for group in self.groups:
            for theta in group["params"]:
                if theta.grad is not None:
                    self._update(index, theta, group["weight_decay"])
                index += 1

    def _update(self, index, parameter, weight_decay):
        """One step of one parameter, by the formula at the top of this file, line by line."""
        state = self.state.get(index)
        if state is None:
            state = {"t": 0, "m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)}
            self.state[index] = state
        state["t"] += 1
        t, (beta1, beta2) = state["t"], self.betas

        for theta, m, v, g in pieces(parameter, state["m"], state["v"], parameter.grad):
            # m <- beta1 m + (1 - beta1) g
            m.lerp_(g, 1 - beta1)

            # v <- beta2 v + (1 - beta2) g^2
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)

            # m_hat = m / (1 - beta1^t), so lr m_hat = m (lr / (1 - beta1^t)) = m step_size
            step_size = self.lr / (1 - beta1 ** t)

            # v_hat = v / (1 - beta2^t), so sqrt(v_hat) = sqrt(v) / sqrt(1 - beta2^t)
            sqrt_v_hat = v.sqrt().div_(math.sqrt(1 - beta2 ** t))

            # theta <- theta (1 - lr lambda) - lr m_hat / (sqrt(v_hat) + eps)
            if weight_decay:
                theta.mul_(1 - self.lr * weight_decay)
            theta.addcdiv_(m, sqrt_v_hat.add_(self.eps), value=-step_size)

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
