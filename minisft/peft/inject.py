"""Parameter-efficient tuning, put into a model and taken out again.

    model = add_peft(model, config)   freezes the model and adds what the method trains
    model = remove_peft(model)        the model as it was
    merge(model), unmerge(model)      LoRA: put the change into the weights, and take it out to the bit
    config, weights = finished(model) what is worth keeping

Everything added holds what it wraps as `.base`, so nothing of the model is lost; who trains, generates or evaluates
uses what `add_peft` returns like the model itself.

Notes: 参数高效的模型微调 (parameter-efficient tuning).
"""

from dataclasses import replace

import torch

from minisft.peft.adapter import Adapted, AdapterConfig, TunedLayerNorm
from minisft.peft.layers import unwrap_layers
from minisft.peft.lora import LoRAConfig, LoRALinear
from minisft.peft.prefix import Prefix, PrefixConfig
from minisft.peft.prompt import Prompt, PromptConfig
from minisft.peft.virtual import Virtual

METHODS = {"lora": LoRAConfig, "adapter": AdapterConfig, "prefix": PrefixConfig, "prompt": PromptConfig}
WRAPPERS = (LoRALinear, Adapted, TunedLayerNorm)


def add_peft(model, config, tokenizer=None):
    """The model with what `config` trains; all of its own parameters are frozen.

    config: LoRAConfig, AdapterConfig, PrefixConfig or PromptConfig; tokenizer: needed to start from a text.
    ValueError if the model has been given a method already.
    """
    if has_peft(model):
        raise ValueError("this model has a tuning method already; take it off first: remove_peft(model)")
    training = model.training
    model.requires_grad_(False)
    model = config.wrap_model(model, tokenizer)
    model.added = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.peft_config = config
    return model.train(training)


def has_peft(model):
    return getattr(model, "peft_config", None) is not None


def remove_peft(model, keep_merged=False):
    """The model without any method, its parameters trainable again; keep_merged: what is merged stays in them."""
    model.peft_config = None
    if isinstance(model, Virtual):
        model = model.base
    if is_merged(model) and not keep_merged:
        unmerge(model)
    unwrap_layers(model, WRAPPERS)
    model.peft_config = model.merged = None
    return model.requires_grad_(True)


@torch.no_grad()
def finished(model):
    """(config, {name: tensor}) of what was added, without what only training needs: a prefix's network, a first text.

    The model stays as it is. ValueError if nothing was added, or if it is merged into the weights.
    """
    if not has_peft(model):
        raise ValueError("nothing was added to this model, so there is no delta to save; save the model itself")
    if is_merged(model):
        raise ValueError("what was added is merged into the weights; unmerge(model) first")
    if isinstance(model, Prefix):
        return replace(model.peft_config, hidden=0, text=""), {"keys_values": model.flat()}
    if isinstance(model, Prompt):
        return replace(model.peft_config, start="random", text=""), delta(model)
    return model.peft_config, delta(model)


@torch.no_grad()
def put_peft(model, config, weights, path):
    """The model with this method and these tensors instead of any method that it has; path: for messages.

    ValueError if they do not fit each other; the model then stays as it was.
    """
    wrapped = {name: module for name, module in model.named_modules() if isinstance(module, WRAPPERS)}
    before, added = getattr(model, "peft_config", None), delta(model)
    bare = remove_peft(model) if before else model
    try:
        changed = add_peft(bare, config)
        own = delta(changed)
        shapes, found = ({name: tuple(weight.shape) for name, weight in each.items()} for each in (own, weights))
        if shapes != found:
            wrong = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
            raise ValueError(f"{path} does not fit its settings: {wrong[0]} is {found.get(wrong[0], 'missing')}, "
                             f"expected {shapes.get(wrong[0], 'nothing of this name')}")
    except ValueError:
        remove_peft(bare)
        for name, module in wrapped.items():
            model.set_submodule(name, module)
        if before:
            model.requires_grad_(False)
            model.peft_config, model.added = before, list(added)
            for name in added:
                model.get_parameter(name).requires_grad_(True)
        raise
    for name, weight in own.items():
        weight.copy_(weights[name])
    return changed.eval()


def is_merged(model):
    return getattr(model, "merged", None) is not None


@torch.no_grad()
def merge(model):
    """Put LoRA's change into the weights it belongs to; the model then runs as if it had never been apart.

    ValueError if it is there already, or if there is no LoRA.
    """
    if is_merged(model):
        raise ValueError("this model is merged already; a second merge would add its change twice")
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, LoRALinear)]
    if not layers:
        raise ValueError("there is nothing to merge: only LoRA changes weights, and this model has none")
    model.merged = [(name, layer, layer.base.weight.clone()) for name, layer in layers]
    for name, layer in layers:
        layer.base.weight.copy_(layer.merged_weight())
        model.set_submodule(name, layer.base)
    return model


@torch.no_grad()
def unmerge(model):
    """The weights as they were before `merge`, to the bit, and LoRA beside them. ValueError if it is not merged."""
    if not is_merged(model):
        raise ValueError("this model is not merged")
    for name, layer, before in model.merged:
        W = layer.base.weight
        W.copy_(before)
        model.set_submodule(name, layer.to(W.device, W.dtype))  # the model may have moved in between
    model.merged = None
    return model


def delta(model):
    """{name: tensor} of what a method has added, and nothing of the base."""
    names = model.added if has_peft(model) else ()
    return {name: parameter.detach() for name, parameter in model.named_parameters() if name in names}


def describe_parameters(model):
    """A table: trainable and all parameters, their share, and the bytes that AdamW keeps for the trainable ones."""
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    everything = sum(parameter.numel() for parameter in model.parameters())
    state = sum(2 * parameter.numel() * parameter.element_size() for parameter in model.parameters()
                if parameter.requires_grad)
    return (f"{'trainable parameters':24}{trainable:>14,}\n{'all parameters':24}{everything:>14,}\n"
            f"{'share':24}{trainable / everything:>14.3%}\n{'optimizer state, bytes':24}{state:>14,}")
