"""GPT-2 folders as transformers reads and writes them: config.json, weights, and the tokenizer.

Their four linear weights are stored [in, out], ours [out, in]; everything else has the same name and shape. Their
vocabulary ends with <|endoftext|>, our first special token; the chat's others come after it, and the embedding grows
by rows drawn around the mean of all others.

Source: Radford et al. 2019, and the files published with it.
"""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from minisft.model import GPT, GPTConfig
from minisft.peft.inject import has_peft, is_merged
from minisft.tokenizer import END_OF_TEXT, END_OF_TURN, SPECIAL_TOKENS, Tokenizer, encode_piece

TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
BUFFERS = (".attn.bias", ".attn.masked_bias")  # old files hold the causal mask too
SIZES = {"vocab_size": "vocab_size", "block_size": "n_positions", "n_layer": "n_layer", "n_head": "n_head",
         "n_embd": "n_embd"}
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
EXPECTED = {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
            "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
            "add_cross_attention": False}


def is_gpt2(folder):
    """Whether this is a folder with a config.json, as transformers writes them."""
    return (Path(folder) / "config.json").is_file()


def byte_characters():
    """GPT-2's printable stand-ins: {character: byte}. Bytes that print stand for themselves, others for U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def read_json(path):
    """The object in a JSON file; ValueError if it is missing, damaged, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); the folder is not whole without it") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object, {{...}}")
    return content


def read_weights(folder, safe, pickled):
    """Tensors of one of two files in a folder, a .safetensors and a .bin; ValueError if there is neither."""
    safe, pickled = Path(folder) / safe, Path(folder) / pickled
    if not safe.is_file() and not pickled.is_file():
        raise ValueError(f"{folder} holds neither {safe.name} nor {pickled.name}")
    try:
        if safe.is_file() and not (pickled.is_file() and find_spec("safetensors") is None):
            from safetensors.torch import load_file
            return load_file(safe)
        return torch.load(pickled, map_location="cpu", weights_only=True)
    except ImportError:
        raise ValueError(f"{safe} needs the package safetensors: pip install safetensors") from None
    except Exception as error:  # both libraries answer damage with almost any
        reason = str(error).split("\n")[0][:120]
        raise ValueError(f"{folder}: the weights cannot be read ({reason})") from None


def load_gpt2(folder):
    """(model in evaluation mode, tokenizer) of a GPT-2 folder, the chat's special tokens added.

    ValueError for a model of another kind, for missing or unknown weights, and for a vocabulary that does not fit.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    for name, expected in EXPECTED.items():
        if config.get(name, expected) != expected or name == "model_type" and name not in config:
            raise ValueError(f"{folder}/config.json: {name} is {config.get(name)!r}, expected {expected!r}; "
                             "only GPT-2 models can be read")
    missing = [name for name in SIZES.values() if not isinstance(config.get(name), int)]
    if missing:
        raise ValueError(f"{folder}/config.json: {missing[0]} is {config.get(missing[0])!r}, expected a number")
    if config.get("n_inner") not in (None, 4 * config["n_embd"]):
        raise ValueError(f"{folder}/config.json: n_inner is {config['n_inner']}, expected 4 n_embd")
    rates = {name: config.get(name, 0.1) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}  # GPT-2's default
    if len(set(rates.values())) > 1 or not isinstance(rates["resid_pdrop"], int | float):
        raise ValueError(f"{folder}/config.json: the dropout rates are {rates}, expected one number for all three")
    tokenizer = read_tokenizer(folder, config["vocab_size"])
    model = GPT(GPTConfig(**{ours: config[theirs] for ours, theirs in SIZES.items()}, dropout=rates["resid_pdrop"]))
    weights = {name.removeprefix("transformer."): weight for name, weight in read_weights(
        folder, "model.safetensors", "pytorch_model.bin").items()
        if not name.endswith(BUFFERS) and name != "lm_head.weight"}
    weights = {name: weight.T if name.endswith(TRANSPOSED) else weight for name, weight in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder}: the weights do not fit the config: {error}") from None
    return grow_embedding(model, tokenizer.vocab_size).eval(), tokenizer


def read_tokenizer(folder, vocab_size):
    """The tokenizer of vocab.json (and added_tokens.json), or of tokenizer.json.

    What follows <|endoftext|> becomes special tokens of the same ids: tokens that were added, and one for each row of
    the embedding (vocab_size) that belongs to none. Then come those of the chat that are not there. Merges follow the
    order of ids, as they do in GPT-2's files. ValueError for a vocabulary of another kind.
    """
    path, pattern = Path(folder) / "vocab.json", PATTERN
    try:
        if path.is_file() or not path.with_name("tokenizer.json").is_file():
            vocabulary, added = read_json(path), path.with_name("added_tokens.json")
            vocabulary |= read_json(added) if added.is_file() else {}
        else:
            path = path.with_name("tokenizer.json")
            content = read_json(path)
            added = {token["content"]: token["id"] for token in content["added_tokens"]}
            vocabulary, pattern = content["model"]["vocab"] | added, _pattern(content, path)
        names = sorted(vocabulary, key=vocabulary.get)
        ordinary = names.index(END_OF_TEXT)
        if [vocabulary[name] for name in names] != list(range(len(names))) or len(names) > vocab_size:
            raise ValueError(f"{len(names)} tokens, up to id {vocabulary[names[-1]]}, do not fit the model's "
                             f"{vocab_size}")
        special = names[ordinary:] + [f"<|unused {i}|>" for i in range(len(names), vocab_size)]
        special += [token for token in SPECIAL_TOKENS if token not in special]
        byte_of = byte_characters()
        ranked = [bytes(byte_of[character] for character in name) for name in names[:ordinary]]
        if not ranked:
            raise ValueError(f"{END_OF_TEXT} has id 0, expected it after all ordinary tokens, as in GPT-2's own files")
        return Tokenizer(ranked, pattern, special)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a vocabulary of GPT-2's byte-level tokens ({error})") from None
    except ValueError as error:
        reason = f"{END_OF_TEXT} is not among its tokens" if "is not in list" in str(error) else error
        raise ValueError(f"{path}: {reason}") from None


def _pattern(content, path):
    """The expression that cuts text into pieces, out of a tokenizer.json; GPT-2's own, if it names none."""
    step = content["pre_tokenizer"]
    steps = step.get("pretokenizers", [step])
    if content.get("normalizer") or any(each.get("add_prefix_space") for each in steps):
        raise ValueError("it changes text before it is cut (normalizer, add_prefix_space), which cannot be done here")
    return next((each["pattern"]["Regex"] for each in steps if each["type"] == "Split"), PATTERN)


@torch.no_grad()
def grow_embedding(model, vocab_size):
    """The model with room for so many tokens; new rows are the mean of all, moved apart: see `GPT.spread_rows`."""
    old = model.wte.weight
    if vocab_size < len(old):
        raise ValueError(f"the vocabulary has {vocab_size} tokens, the model {len(old)}")
    grown = torch.nn.Embedding(vocab_size, old.shape[1])
    grown.weight[:len(old)], grown.weight[len(old):] = old, old.mean(0)
    model.wte, model.config = grown, replace(model.config, vocab_size=vocab_size)
    model.rows_in_file = len(old)  # what is drawn may differ in the last digit on another machine
    model.spread_rows(list(range(len(old), vocab_size)))
    return model


# Out

CHAT_TEMPLATE = (
    "{{ '<|endoftext|>' }}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def save_gpt2(folder, model, tokenizer):
    """Write a model and its tokenizer as a folder that transformers loads, chat template included.

    The embedding keeps the rows of the chat's special tokens. Read back, text that itself says "<|end|>" becomes the
    special token, as everywhere in transformers.
    """
    if has_peft(model) and not is_merged(model):
        raise ValueError("something was added to this model that a GPT-2 folder cannot hold; merge it (LoRA), or "
                         "write a PEFT folder")
    folder, config = Path(folder), model.config
    folder.mkdir(parents=True, exist_ok=True)
    end, start = tokenizer.special(END_OF_TURN), tokenizer.special(END_OF_TEXT)
    weights = {}
    for name, weight in model.state_dict().items():
        weight = weight.detach().cpu()
        weights[f"transformer.{name}"] = (weight.T if name.endswith(TRANSPOSED) else weight).contiguous().clone()
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    torch.save(weights, folder / "pytorch_model.bin")
    sizes = {theirs: getattr(config, ours) for ours, theirs in SIZES.items()}
    dropout = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), config.dropout)
    write_json(folder / "config.json", EXPECTED | sizes | dropout | {
        "architectures": ["GPT2LMHeadModel"], "bos_token_id": start, "eos_token_id": end, "n_inner": None,
        "torch_dtype": str(model.wte.weight.dtype).removeprefix("torch.")})
    write_json(folder / "generation_config.json", {
        "bos_token_id": start, "do_sample": False, "eos_token_id": [end, start], "pad_token_id": start})
    write_json(folder / "tokenizer.json", tokenizer_json(tokenizer))
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT, "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "model_max_length": config.block_size})


def write_json(path, content):
    """Write a JSON file as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def merges_of(tokenizer):
    """Pairs of tokens (bytes) that join to each longer token, in the order of ranks."""
    merges = []
    for rank, token in enumerate(tokenizer.ranked):
        if len(token) > 1:
            parts = encode_piece(token, tokenizer.ranks, below=rank)
            if len(parts) != 2:
                raise ValueError(f"the token {token!r} does not join from two older ones, so it cannot be exported")
            merges.append(tuple(tokenizer.ranked[part] for part in parts))
    return merges


def tokenizer_json(tokenizer):
    """The tokenizer in the format of the library tokenizers."""
    character_of = {byte: character for character, byte in byte_characters().items()}

    def printable(token):
        return "".join(character_of[byte] for byte in token)

    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [
            {"id": tokenizer.special(name), "content": name, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for name in tokenizer.special_tokens],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": tokenizer.pattern}, "behavior": "Isolated", "invert": False},
            bytes_only]},
        "decoder": bytes_only,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {printable(token): rank for rank, token in enumerate(tokenizer.ranked)},
            "merges": [[printable(left), printable(right)] for left, right in merges_of(tokenizer)]},
    }
