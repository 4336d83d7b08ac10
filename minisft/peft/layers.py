"""Finding layers by name, and putting others in their place."""

import re

LINEAR_LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def check_targets(targets):
    """ValueError unless each names linear layers: attn.c_attn, or in one block h.0.attn.c_attn."""
    known = rf"(h\.\d+\.)?({'|'.join(LINEAR_LAYERS)})"
    if not targets or not all(re.fullmatch(known, target) for target in targets):
        raise ValueError(f"targets must be some of {', '.join(LINEAR_LAYERS)}, of all blocks, or "
                         f"of one, as in h.0.{LINEAR_LAYERS[0]}; "
                         f"got {', '.join(targets) or 'none'}")


def wrap_layers(model, ends, wrap):
    """Replace each layer whose name ends with one of `ends` by wrap(layer).

    ValueError for an end that no layer has.
    """
    def has_end(name, end):
        return f".{name}".endswith(f".{end}")  # whole words only

    names = [name for name, _ in model.named_modules()]
    for end in ends:
        if not any(has_end(name, end) for name in names):
            raise ValueError(f"the model has no layer {end}; it has {model.config.n_layer} blocks, "
                             "from h.0 on")
    names = [name for name in names if any(has_end(name, end) for end in ends)]
    for name in names:
        model.set_submodule(name, wrap(model.get_submodule(name)))


def unwrap_layers(model, kinds):
    """Replace each wrapper of these classes by the layer that it holds as `.base`."""
    for name, module in list(model.named_modules()):
        if isinstance(module, kinds):
            model.set_submodule(name, module.base)
