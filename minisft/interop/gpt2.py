"""GPT-2 folders as transformers reads and writes them: config.json, weights, and the tokenizer.

GPT-2's four linear weights are stored [in, out], ours [out, in]; all other weights have the same
names and shapes. Special tokens of the chat that GPT-2's vocabulary lacks are added at its end, and
the embedding gets a new row for each, drawn around the mean of all other rows.

Source: Radford et al. 2019, and the files published with it.
"""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from minisft.checkpoint import model_with
from minisft.checks import check_tensors
from minisft.interop.gpt2_tokenizer import from_tokenizer_json, from_vocabulary, tokenizer_json
from minisft.layers import Embedding
from minisft.model import GPTConfig
from minisft.peft.inject import has_peft, is_merged
from minisft.start import spread_rows
from minisft.tokenizer import END_OF_TEXT, END_OF_TURN

TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
BUFFERS = (".attn.bias", ".attn.masked_bias")  # old files hold the causal mask too
SIZES = {  # our name: GPT-2's name
    "vocab_size": "vocab_size",
    "block_size": "n_positions",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
}
DROPOUTS = ("attn_pdrop", "embd_pdrop", "resid_pdrop")
EXPECTED = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
    "add_cross_attention": False,
}
CHAT_TEMPLATE = (
    "{{ '<|endoftext|>' }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def is_gpt2(folder):
    """Whether this is a folder with a config.json, as transformers writes them."""
    return (Path(folder) / "config.json").is_file()


def load_gpt2(folder):
    """(model in evaluation mode, tokenizer) of a GPT-2 folder; the chat's special tokens are added.

    ValueError for another kind of model, for missing or unknown weights, and for a vocabulary that
    does not fit.
    """
    folder = Path(folder)
    config = read_config(folder / "config.json")
    tokenizer = read_tokenizer(folder, config.vocab_size)
    weights = read_weights(folder, "model.safetensors", "pytorch_model.bin")
    try:
        model = model_with(config, our_weights(weights))
    except ValueError as error:
        raise ValueError(f"{folder}: the weights do not fit the config: {error}") from None
    return grow_embedding(model, tokenizer.vocab_size).eval(), tokenizer


def read_config(path):
    """The GPTConfig of a config.json; ValueError if it is not GPT-2's architecture."""
    config = read_json(path)
    for name, expected in EXPECTED.items():
        default = None if name == "model_type" else expected  # only model_type must be in the file
        found = config.get(name, default)
        if found != expected:
            raise ValueError(f"{path}: {name} is {found!r}, expected {expected!r}; "
                             "only GPT-2 models can be read")
    for name in SIZES.values():
        if not isinstance(config.get(name), int):
            raise ValueError(f"{path}: {name} is {config.get(name)!r}, expected a number")
    if config.get("n_inner") not in (None, 4 * config["n_embd"]):
        raise ValueError(f"{path}: n_inner is {config['n_inner']}, expected 4 n_embd")

    rates = {name: config.get(name, 0.1) for name in DROPOUTS}  # 0.1 is GPT-2's default
    dropout = rates["resid_pdrop"]
    if len(set(rates.values())) > 1 or not isinstance(dropout, int | float):
        raise ValueError(
            f"{path}: the dropout rates are {rates}, expected one number for all three")
    sizes = {ours: config[theirs] for ours, theirs in SIZES.items()}
    try:
        return GPTConfig(**sizes, dropout=dropout)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def how_to_download(name):
    """What to do where `name` is a model of the Hugging Face hub and no folder."""
    return (
        "if it is a model of the Hugging Face hub, download it into a folder with Python: "
        f"from huggingface_hub import snapshot_download; snapshot_download({name!r}, "
        f"local_dir={name.rsplit('/')[-1]!r}, allow_patterns=['*.json', '*.safetensors'])")


def read_tokenizer(folder, vocab_size):
    """The tokenizer of tokenizer.json, or else of vocab.json and the tokens added to it.

    vocab_size: rows of the model's embedding. ValueError for a vocabulary of another kind.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        path = path.with_name("vocab.json")
    try:
        content = read_json(path)
        if path.name == "tokenizer.json":
            return from_tokenizer_json(content, vocab_size)
        return from_vocabulary(content, vocab_size, added=added_tokens(path.parent))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a vocabulary of GPT-2's byte-level tokens ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def added_tokens(folder):
    """The tokens added to the vocab.json of a folder, as a tokenizer.json lists them.

    Newer folders list them in tokenizer_config.json, older ones in added_tokens.json.
    """
    settings = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= read_json(folder / name)
    if "added_tokens_decoder" in settings:
        return [{**token, "id": int(number)}
                for number, token in settings["added_tokens_decoder"].items()]
    if not (folder / "added_tokens.json").is_file():
        return []

    special = set()  # the texts of pad_token, additional_special_tokens, ...
    for name, value in settings.items():
        if name.endswith(("_token", "_tokens")):
            for token in value if isinstance(value, list) else [value]:
                special.add(token["content"] if isinstance(token, dict) else token)
    return [{"content": text, "id": number, "special": text in special}
            for text, number in read_json(folder / "added_tokens.json").items()]


def read_weights(folder, safe, pickled):
    """The tensors in the .safetensors or .bin files of a folder; ValueError if it has neither."""
    safe_files, pickled_files = (files_of(Path(folder) / name) for name in (safe, pickled))
    if not safe_files and not pickled_files:
        raise ValueError(f"{folder} holds neither {safe} nor {pickled}")
    if pickled_files and find_spec("safetensors") is None:
        safe_files = []
    weights = {}
    for file in safe_files or pickled_files:
        weights |= read_tensors(file)
    return weights


def files_of(path):
    """The file itself, or those that its index names where it was cut into several, or none."""
    index = path.with_name(f"{path.name}.index.json")
    if path.is_file() or not index.is_file():
        return [path] if path.is_file() else []
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{index}: weight_map is {names!r}, expected the file of each tensor")
    files = [path.with_name(Path(str(name)).name) for name in sorted(set(names.values()), key=str)]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} is missing, and {index.name} names it; download it too")
    return files


def read_tensors(file):
    """{name: tensor} of a .safetensors or .bin file."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file
            weights = load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
        check_tensors(weights)
        return weights
    except ImportError:
        raise ValueError(f"{file} needs the package safetensors: pip install safetensors") from None
    except Exception as error:  # for a damaged file both libraries raise errors of many types
        reason = str(error).split("\n")[0][:120]
        raise ValueError(f"{file}: the weights cannot be read ({reason})") from None


def our_weights(weights):
    """The tensors of a GPT-2 file under our names and in our layout."""
    ours = {}
    for name, weight in weights.items():
        if name.endswith(BUFFERS) or name == "lm_head.weight":  # the head is tied to the embedding
            continue
        name = name.removeprefix("transformer.")
        ours[name] = weight.T if name.endswith(TRANSPOSED) else weight
    return ours


@torch.no_grad()
def grow_embedding(model, vocab_size):
    """The model with an embedding of `vocab_size` rows.

    New rows are the mean of the old ones, moved apart by `minisft.start.spread_rows`.
    """
    old = model.wte.weight
    rows = len(old)
    if vocab_size < rows:
        raise ValueError(f"the vocabulary has {vocab_size} tokens, the model {rows}")
    grown = Embedding(vocab_size, old.shape[1])
    grown.weight[:rows] = old
    grown.weight[rows:] = old.mean(0)
    model.wte = grown
    model.config = replace(model.config, vocab_size=vocab_size)
    # On another machine the new rows may differ in the last digit, so a delta recognises its base
    # by the old rows only.
    model.rows_in_file = rows
    spread_rows(model, list(range(rows, vocab_size)))
    return model


def save_gpt2(folder, model, tokenizer):
    """Write a model and its tokenizer as a folder that transformers loads, with the chat template.

    The embedding keeps the rows of the chat's special tokens. A tokenizer of transformers reads
    "<|end|>" in a text as the special token; our `encode` reads it as plain characters.
    """
    if has_peft(model) and not is_merged(model):
        raise ValueError(
            "something was added to this model that a GPT-2 folder cannot hold; merge it (LoRA), "
            "or write a PEFT folder")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    end, start = tokenizer.special(END_OF_TURN), tokenizer.special(END_OF_TEXT)

    torch.save(their_weights(model), folder / "pytorch_model.bin")
    write_json(folder / "config.json", {
        **EXPECTED,
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        **dict.fromkeys(DROPOUTS, config.dropout),
        "architectures": ["GPT2LMHeadModel"],
        "bos_token_id": start,
        "eos_token_id": end,
        "n_inner": None,
        "torch_dtype": str(model.wte.weight.dtype).removeprefix("torch."),
    })
    write_json(folder / "generation_config.json", {
        "bos_token_id": start,
        "do_sample": False,
        "eos_token_id": [end, start],
        "pad_token_id": start,
    })
    write_json(folder / "tokenizer.json", tokenizer_json(tokenizer))
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.block_size,
    })


def their_weights(model):
    """The model's tensors under GPT-2's names and in its layout, the head included."""
    theirs = {}
    for name, weight in model.state_dict().items():
        weight = weight.detach().cpu()
        if name.endswith(TRANSPOSED):
            weight = weight.T
        theirs[f"transformer.{name}"] = weight.contiguous().clone()
    theirs["lm_head.weight"] = theirs["transformer.wte.weight"]
    return theirs


def read_json(path):
    """The object in a JSON file; ValueError if it is missing, damaged, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON ({error}); the folder is not complete without it"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object, {{...}}")
    return content


def write_json(path, content):
    """Write a JSON file with line breaks and indents, so that people can read it."""
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
