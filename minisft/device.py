"""The device on which a command computes."""

import platform

import torch

from minisft.config import option


def device_option():
    """The settings field that every command with a model has: --device."""
    return option("auto", "where to compute: auto, cpu, cuda, mps, ...; auto takes CUDA where "
                          "there is a GPU")


def pick_device(name):
    """A torch.device; "auto" is CUDA if there is one, else the CPU.

    ValueError for a device that cannot be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        made = torch.zeros(1, device=name)
        made.item()  # a device without memory of its own, such as meta, fails here
        return made.device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0][:100]
        raise ValueError(f"--device {name} cannot be used here ({reason}); "
                         "try --device cpu") from None


def describe_machine(device):
    """What computes here, as text: processor or GPU, threads, and torch's version."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{kind}, {torch.get_num_threads()} threads, torch {torch.__version__}"
