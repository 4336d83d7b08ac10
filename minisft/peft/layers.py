"""Finding layers by name, and putting others in their place."""


LINEAR_LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def check_targets(targets):
    unknown = [target for target in targets if target not in LINEAR_LAYERS]
    if unknown or not targets:
        raise ValueError(f"targets must be some of {', '.join(LINEAR_LAYERS)}; got {', '.join(targets) or 'none'}")


def wrap_layers(model, ends, wrap):
    """Replace each layer whose name ends with one of `ends` by wrap(layer)."""
    names = [name for name, _ in model.named_modules() if f".{name}".endswith(tuple(f".{end}" for end in ends))]
    for name in names:
        model.set_submodule(name, wrap(model.get_submodule(name)))


def unwrap_layers(model, kinds):
    """Put back what the wrappers of these classes hold as `.base`."""
    for name, module in list(model.named_modules()):
        if isinstance(module, kinds):
            model.set_submodule(name, module.base)
