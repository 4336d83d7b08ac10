"""Parameter-efficient tuning, put into a model and taken out again.

    model = add_peft(model, config)          freeze the model and add what the method trains
    model = remove_peft(model)               the model as it was before
    merge(model), unmerge(model)             LoRA: put its change into the weights; take it out
                                             again, to the bit
    config, weights = export_state(model)    what to save

Every added layer holds the layer that it wraps as `.base`, so nothing of the model is lost. What
`add_peft` returns is trained, evaluated and used to generate like the model itself.

Notes: 参数高效的模型微调 (parameter-efficient tuning).
"""

import copy
from dataclasses import replace

import torch

from minisft.checks import check_tensors, check_weights
from minisft.peft.adapter import Adapted, AdapterConfig, TunedLayerNorm
from minisft.peft.layers import unwrap_layers
from minisft.peft.lora import LoRAConfig, LoRALinear
from minisft.peft.prefix import Prefix, PrefixConfig
from minisft.peft.prompt import Prompt, PromptConfig
from minisft.peft.virtual import Virtual

METHODS = {"lora": LoRAConfig, "adapter": AdapterConfig, "prefix": PrefixConfig,
           "prompt": PromptConfig}


def add_peft(model, config, tokenizer=None):
    """The model with what `config` trains; all of its own parameters are frozen.

    config: LoRAConfig, AdapterConfig, PrefixConfig or PromptConfig. tokenizer: needed to start from
    a text. ValueError if the model has a method already.
    """
    if has_peft(model):
        raise ValueError("this model has a tuning method already; take it off first: "
                         "remove_peft(model)")
    training = model.training
    model.requires_grad_(False)
    model = config.wrap_model(model, tokenizer)
    model.added = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.peft_config = config
    return model.train(training)


def has_peft(model):
    return getattr(model, "peft_config", None) is not None


def remove_peft(model, keep_merged=False):
    """The model without any method, its parameters trainable again.

    keep_merged: a merged LoRA stays in the weights.
    """
    model.peft_config = None
    if isinstance(model, Virtual):
        model = model.base
    if is_merged(model) and not keep_merged:
        unmerge(model)
    unwrap_layers(model, (LoRALinear, Adapted, TunedLayerNorm))
    model.peft_config = model.merged = None
    return model.requires_grad_(True)


@torch.no_grad()
def export_state(model):
    """(config, {name: tensor}) of what was added, as it is saved or exported.

    What only training needs is left out: the network of a prefix, the text of a start. The model
    stays as it is. ValueError if nothing was added, or if it is merged into the weights.
    """
    if not has_peft(model):
        raise ValueError("nothing was added to this model, so there is no delta to save; save the "
                         "model itself")
    if is_merged(model):
        raise ValueError("what was added is merged into the weights; unmerge(model) first")
    if isinstance(model, Prefix):
        config = replace(model.peft_config, hidden=0, text="")
        return config, {"keys_values": model.flat()}
    if isinstance(model, Prompt):
        return replace(model.peft_config, start="random", text=""), delta(model)
    return model.peft_config, delta(model)


@torch.no_grad()
def put_peft(model, config, weights, path):
    """A model with this method and these tensors instead of any method that `model` has.

    The new model is built and checked separately, and `model` stays as it is. Both share the base's
    weights in memory: to merge or to train one of them in full changes the other. path: for
    messages. ValueError if config and tensors do not fit.
    """
    try:
        check_tensors(weights)
        check_claims(config, weights)
        changed = add_peft(remove_peft(copy_sharing_weights(model)), config)
        check_weights(expected=delta(changed), found=weights)
    except ValueError as error:
        raise ValueError(f"{path} does not fit its settings: {error}") from None
    for name, weight in delta(changed).items():
        weight.copy_(weights[name])
    return changed.eval()


def copy_sharing_weights(model):
    """A copy of a model that holds the same numbers in the same memory.

    Layers can be replaced in it, and parameters frozen, while `model` does not notice.
    """
    shared = {id(p): torch.nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo=shared)


def check_claims(config, weights):
    """ValueError if a setting is larger than any tensor, before memory is taken for it."""
    largest = max(size for weight in weights.values() for size in (0, *weight.shape))
    for name, value in vars(config).items():
        if isinstance(value, int) and value > largest:
            raise ValueError(f"{name} is {value}, but no tensor has a side longer than {largest}")


def is_merged(model):
    return getattr(model, "merged", None) is not None


@torch.no_grad()
def merge(model):
    """Put LoRA's change into the weights; the model then costs no more than its base.

    ValueError if it is merged already, or if there is no LoRA.
    """
    if is_merged(model):
        raise ValueError("this model is merged already; a second merge would add its change twice")
    layers = [(name, layer) for name, layer in model.named_modules()
              if isinstance(layer, LoRALinear)]
    if not layers:
        raise ValueError("there is nothing to merge: only LoRA changes weights, and this model has "
                         "none")
    model.merged = [(name, layer, layer.base.weight.clone()) for name, layer in layers]
    for name, layer in layers:
        layer.base.weight.copy_(layer.merged_weight())
        model.set_submodule(name, layer.base)
    return model


@torch.no_grad()
def unmerge(model):
    """Restore the weights from before `merge`, to the bit, with LoRA beside them.

    ValueError if the model is not merged.
    """
    if not is_merged(model):
        raise ValueError("this model is not merged")
    for name, layer, before in model.merged:
        W = layer.base.weight
        W.copy_(before)
        model.set_submodule(name, layer.to(W.device, W.dtype))  # the model may have moved meanwhile
    model.merged = None
    return model


def delta(model):
    """{name: tensor} of what a method has added, and nothing of the base."""
    names = model.added if has_peft(model) else ()
    return {name: parameter.detach() for name, parameter in model.named_parameters()
            if name in names}


def describe_parameters(model):
    """A table: trainable and all parameters, their share, and the bytes of AdamW's state."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    trainable = sum(parameter.numel() for parameter in trained)
    everything = sum(parameter.numel() for parameter in model.parameters())
    state = sum(2 * parameter.numel() * parameter.element_size() for parameter in trained)
    return "\n".join([
        f"{'trainable parameters':24}{trainable:>14,}",
        f"{'all parameters':24}{everything:>14,}",
        f"{'share':24}{trainable / everything:>14.3%}",
        f"{'optimizer state, bytes':24}{state:>14,}"])
