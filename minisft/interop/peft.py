"""PEFT folders as the library peft reads and writes them: adapter_config.json and adapter_model.bin or .safetensors.

    LoRA      ...h.{i}.attn.c_attn.lora_A.weight (r, in), lora_B.weight (out, r): our A and B
    prefix    prompt_embeddings (P, 2 L C), in each row keys and values of layer 0, of layer 1, ...: our keys_values
    prompt    prompt_embeddings (P, C): our rows

Bottleneck adapters have no such format. What peft can do and we cannot (DoRA, a rank for each layer, ...) is refused.
"""

from pathlib import Path

import torch

from minisft.interop.gpt2 import read_json, read_weights, write_json
from minisft.peft import LoRAConfig, PrefixConfig, PromptConfig, finished
from minisft.peft.inject import put_peft

STEM = "base_model.model.transformer."
SINGLE = {"PREFIX_TUNING": "keys_values", "PROMPT_TUNING": "rows"}  # our name of what peft calls prompt_embeddings
WRITTEN_LORA = {  # what peft would else take from its own defaults
    "fan_in_fan_out": True, "bias": "none", "use_dora": False, "modules_to_save": None, "init_lora_weights": True}
# Settings that say nothing about what is computed, or that are read below. Any other that is set is refused.
UNDERSTOOD = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "encoder_hidden_size", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_core", "num_attention_heads",
    "num_layers", "num_transformer_submodules", "num_virtual_tokens", "peft_type", "peft_version", "prefix_projection",
    "prompt_tuning_init", "prompt_tuning_init_text", "qalora_group_size", "r", "revision", "runtime_config",
    "target_modules", "task_type", "token_dim", "tokenizer_kwargs", "tokenizer_name_or_path", "use_rslora"}
PLAIN = {"bias": "none", "init_lora_weights": (True, False, None, "gaussian")}  # of these, only such values


def is_peft(folder):
    """Whether this is a folder as peft writes them."""
    return (Path(folder) / "adapter_config.json").is_file()


def peft_base(folder):
    """Path of the base of a PEFT folder: as it is written there, or beside the delta. ValueError if in neither."""
    folder = Path(folder)
    name = str(read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "")
    for path in (Path(name), folder / Path(name).name):
        if name and path.is_dir():
            return path
    raise ValueError(f"{folder}/adapter_config.json: base_model_name_or_path is {name!r}, expected the path of a "
                     "folder with the GPT-2 model it was trained on; write it there")


def load_peft(folder, model):
    """The model with what a PEFT folder adds, in evaluation mode. ValueError if we cannot compute what it says."""
    path = Path(folder) / "adapter_config.json"
    config = read_json(path)
    for name, value in config.items():
        if value not in PLAIN[name] if name in PLAIN else value and name not in UNDERSTOOD:
            raise ValueError(f"{path}: {name} is {value!r}, which cannot be computed here")
    kind, weights = config.get("peft_type"), read_weights(
        folder, "adapter_model.safetensors", "adapter_model.bin")
    try:
        if kind == "LORA":
            weights, targets = _our_lora(weights, path, model.config.n_layer)
            method = LoRAConfig(targets, config["r"], config["lora_alpha"], config.get("lora_dropout", 0.0),
                                config.get("use_rslora", False))
        elif kind == "PREFIX_TUNING":
            method = PrefixConfig(config["num_virtual_tokens"])
        elif kind == "PROMPT_TUNING":
            method = PromptConfig(config["num_virtual_tokens"])
        else:
            raise ValueError(f"{path}: peft_type is {kind!r}, expected LORA, PREFIX_TUNING or PROMPT_TUNING")
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a setting is missing or no number: {error}") from None
    if kind in SINGLE:
        weights = {SINGLE[kind] if name == "prompt_embeddings" else name: weight for name, weight in weights.items()}
    return put_peft(model, method, weights, folder)


def _our_lora(weights, path, n_layer):
    """peft's tensors under our names, and the layers they change. ValueError for any that is not LoRA's."""
    renamed, targets = {}, {}
    for name, weight in weights.items():
        layer, _, letter = name.removeprefix(STEM).partition(".lora_")
        if not name.startswith(STEM) or letter not in ("A.weight", "B.weight"):
            raise ValueError(f"{path.parent}: {name} is no part of LoRA on GPT-2's linear layers")
        renamed[f"{layer}.{letter[0]}"] = weight
        targets.setdefault(layer.split(".", 2)[-1], set()).add(layer)  # h.0.attn.c_attn -> attn.c_attn
    return renamed, tuple(name for end, layers in targets.items()
                          for name in ([end] if len(layers) == n_layer else sorted(layers)))


def save_peft(folder, model, base_name):
    """Write what was added to a model as a PEFT folder; base_name: path of the folder of its base, as peft finds it.

    ValueError for an adapter, and for a model to which nothing was added or into which it is merged.
    """
    (config, added), size = finished(model), model.config
    virtual = {"num_virtual_tokens": getattr(config, "P", 0), "token_dim": size.n_embd, "num_layers": size.n_layer,
               "num_attention_heads": size.n_head, "num_transformer_submodules": 1}
    if isinstance(config, LoRAConfig):
        kind, settings = "LORA", WRITTEN_LORA | {
            "r": config.r, "lora_alpha": config.alpha, "lora_dropout": config.dropout, "use_rslora": config.sqrt_r,
            "target_modules": list(config.targets)}
    elif isinstance(config, PrefixConfig):
        kind, settings = "PREFIX_TUNING", virtual | {"prefix_projection": False, "encoder_hidden_size": size.n_embd}
    elif isinstance(config, PromptConfig):
        kind, settings = "PROMPT_TUNING", virtual | {"prompt_tuning_init": "RANDOM"}
    else:
        raise ValueError("PEFT has no format for bottleneck adapters: its methods change weights or add virtual "
                         "tokens, while an adapter adds layers; keep it in its own delta.pt")
    weights = {}
    for name, weight in added.items():
        layer, _, letter = name.rpartition(".")
        theirs = f"{STEM}{layer}.lora_{letter}.weight" if kind == "LORA" else "prompt_embeddings"
        weights[theirs] = weight.cpu().contiguous().clone()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights, folder / "adapter_model.bin")
    write_json(folder / "adapter_config.json", {
        "peft_type": kind, "task_type": "CAUSAL_LM", "inference_mode": True, "base_model_name_or_path": base_name,
        **settings})
