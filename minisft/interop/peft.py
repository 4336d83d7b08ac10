"""PEFT folders as the library peft reads and writes them: adapter_config.json, and the weights in
adapter_model.bin or adapter_model.safetensors.

    LoRA     ...h.{i}.attn.c_attn.lora_A.weight (r, in) and lora_B.weight (out, r): our A and B;
             the adapter's name may stand in it too, as in lora_A.default.weight
    prefix   prompt_embeddings (P, 2 L C), a row holds keys and values of layer 0, of layer 1, ...:
             our keys_values
    prompt   prompt_embeddings (P, C): our rows

Bottleneck adapters have no such format. A folder that uses a feature of peft which minisft does not
have (DoRA, a different rank in each layer, ...) is refused.
"""

import re
from pathlib import Path

import torch

from minisft.interop.gpt2 import how_to_download, read_json, read_weights, write_json
from minisft.peft import LoRAConfig, PrefixConfig, PromptConfig, export_state
from minisft.peft.inject import put_peft

STEM = "base_model.model.transformer."
# Our names for the one tensor that peft calls prompt_embeddings.
SINGLE = {"PREFIX_TUNING": "keys_values", "PROMPT_TUNING": "rows"}
# Written out, so that peft does not use defaults of its own.
WRITTEN_LORA = {
    "fan_in_fan_out": True,
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
    "init_lora_weights": True,
}
# These settings are read below, or do not change what is computed. Any other setting that has a
# value is refused.
UNDERSTOOD = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "encoder_hidden_size",
    "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "init_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_alpha", "lora_dropout", "megatron_core", "num_attention_heads", "num_layers",
    "num_transformer_submodules", "num_virtual_tokens", "peft_type", "peft_version",
    "prefix_projection", "prompt_tuning_init", "prompt_tuning_init_text", "qalora_group_size", "r",
    "revision", "runtime_config", "target_modules", "task_type", "token_dim", "tokenizer_kwargs",
    "tokenizer_name_or_path", "use_rslora",
}
# Most values of init_lora_weights say only how A and B began. These begin with another base, on
# which the saved change is meant. peft can convert such a folder, and then writes True instead.
OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def is_peft(folder):
    """Whether this is a folder as peft writes them."""
    return (Path(folder) / "adapter_config.json").is_file()


def peft_base(folder):
    """Path of the base of a PEFT folder: the path it names, or a folder of that name inside it.

    ValueError if there is neither.
    """
    folder = Path(folder)
    name = str(read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "")
    for path in (Path(name), folder / Path(name).name):
        if name and path.is_dir():
            return path
    raise ValueError(
        f"{folder}/adapter_config.json: base_model_name_or_path is {name!r}, expected the path of "
        "a folder with the GPT-2 model it was trained on; write it there"
        + (f". {name} is no folder: {how_to_download(name)}" if name else ""))


def load_peft(folder, model):
    """The model with what a PEFT folder adds, in evaluation mode.

    ValueError if the folder asks for something that minisft does not compute.
    """
    path = Path(folder) / "adapter_config.json"
    config = read_json(path)
    for name, value in config.items():
        if name == "init_lora_weights" and str(value).lower().startswith(OTHER_BASE):
            raise ValueError(
                f"{path}: {name} is {value!r}, which changed the base's own weights at the start; "
                "save it with peft's save_pretrained(path_initial_model_for_weight_conversion=...) "
                "as a change of the base that you have")
        if not _is_supported(name, value):
            raise ValueError(f"{path}: {name} is {value!r}, which cannot be computed here")

    weights = read_weights(folder, "adapter_model.safetensors", "adapter_model.bin")
    kind = config.get("peft_type")
    try:
        if kind == "LORA":
            weights, targets = _our_lora(weights, model.config.n_layer)
            method = LoRAConfig(
                targets,
                config["r"],
                config["lora_alpha"],
                config.get("lora_dropout") or 0.0,
                config.get("use_rslora") or False,
            )
        elif kind == "PREFIX_TUNING":
            method = PrefixConfig(config["num_virtual_tokens"])
        elif kind == "PROMPT_TUNING":
            method = PromptConfig(config["num_virtual_tokens"])
        else:
            raise ValueError(
                f"peft_type is {kind!r}, expected LORA, PREFIX_TUNING or PROMPT_TUNING")
    except KeyError as error:
        raise ValueError(f"{path}: the setting {error} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

    if kind in SINGLE and "prompt_embeddings" in weights:
        weights[SINGLE[kind]] = weights.pop("prompt_embeddings")
    return put_peft(model, method, weights, folder)


def _is_supported(name, value):
    """Whether minisft computes the same as peft under this setting of an adapter_config.json."""
    return name in UNDERSTOOD or not value or (name, value) == ("bias", "none")


def _our_lora(weights, n_layer):
    """peft's tensors under our names, and the targets of LoRA.

    A target names a linear layer in all blocks (attn.c_attn) or in one block (h.0.attn.c_attn).
    ValueError for a tensor that does not belong to LoRA.
    """
    renamed = {}
    layers_of = {}  # attn.c_attn -> {h.0.attn.c_attn, h.1.attn.c_attn, ...}
    for name, weight in weights.items():
        found = re.fullmatch(rf"{re.escape(STEM)}(.+)\.lora_([AB])(\.[^.]+)?\.weight", name)
        if not found:
            raise ValueError(f"its tensor {name} is not part of LoRA on GPT-2's linear layers")
        layer, letter, _ = found.groups()
        if f"{layer}.{letter}" in renamed:
            raise ValueError(f"its weights hold several adapters, {name} is the second of its "
                             "layer; save one adapter alone")
        renamed[f"{layer}.{letter}"] = weight
        in_block = layer.split(".", 2)[-1]
        layers_of.setdefault(in_block, set()).add(layer)

    targets = []
    for in_block, layers in layers_of.items():
        if len(layers) == n_layer:
            targets.append(in_block)
        else:
            targets += sorted(layers)
    return renamed, tuple(targets)


def save_peft(folder, model, base_name):
    """Write what was added to a model as a PEFT folder.

    base_name: path of the folder of its base, where peft will look for it. ValueError for an
    adapter, for a model to which nothing was added, and for a merged model.
    """
    config, added = export_state(model)
    kind, settings = _peft_settings(config, model.config)
    weights = {}
    for name, weight in added.items():
        layer, _, letter = name.rpartition(".")
        theirs = f"{STEM}{layer}.lora_{letter}.weight" if kind == "LORA" else "prompt_embeddings"
        weights[theirs] = weight.cpu().contiguous().clone()

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights, folder / "adapter_model.bin")
    write_json(folder / "adapter_config.json", {
        "peft_type": kind,
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "base_model_name_or_path": base_name,
        **settings,
    })


def _peft_settings(config, model_config):
    """(peft_type, other settings) of a method as adapter_config.json has them."""
    if isinstance(config, LoRAConfig):
        return "LORA", {
            **WRITTEN_LORA,
            "r": config.r,
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "use_rslora": config.sqrt_r,
            "target_modules": list(config.targets),
        }
    if not isinstance(config, PrefixConfig | PromptConfig):
        raise ValueError(
            "PEFT has no format for bottleneck adapters: its methods change weights or add virtual "
            "tokens, while an adapter adds layers; keep it in its own delta.pt")
    virtual = {
        "num_virtual_tokens": config.P,
        "token_dim": model_config.n_embd,
        "num_layers": model_config.n_layer,
        "num_attention_heads": model_config.n_head,
        "num_transformer_submodules": 1,
    }
    if isinstance(config, PrefixConfig):
        return "PREFIX_TUNING", {
            **virtual,
            "prefix_projection": False,
            "encoder_hidden_size": model_config.n_embd,
        }
    return "PROMPT_TUNING", {**virtual, "prompt_tuning_init": "RANDOM"}
