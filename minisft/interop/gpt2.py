"""GPT-2 folders as transformers reads and writes them: config.json, weights, vocab.json and merges.txt.

Their four linear weights are stored [in, out], ours [out, in]; everything else has the same name and shape. Their
vocabulary ends with <|endoftext|>, our first special token; the chat's others come after it, and the embedding grows
by rows that begin as the mean of all others.

Source: Radford et al. 2019, and the files published with it.
"""

import json
from pathlib import Path

import torch

from minisft.model import GPT, GPTConfig
from minisft.tokenizer import END_OF_TEXT, SPECIAL_TOKENS, Tokenizer

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


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); a GPT-2 folder needs it") from None


def read_weights(folder, name):
    """Tensors of `name`.safetensors or `name`.bin in a folder; ValueError if there is neither."""
    folder = Path(folder)
    safe, pickled = folder / f"{name}.safetensors", folder / f"{name}.bin"
    if safe.is_file():
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise ValueError(f"{safe} needs the package safetensors: pip install safetensors") from None
        return load_file(safe)
    if not pickled.is_file():
        raise ValueError(f"{folder} holds neither {safe.name} nor {pickled.name}")
    return torch.load(pickled, map_location="cpu", weights_only=True)


def load_gpt2(folder):
    """(model in evaluation mode, tokenizer) of a GPT-2 folder, the chat's special tokens added.

    ValueError for a model of another kind, for missing or unknown weights, and for a vocabulary that does not fit.
    """
    folder = Path(folder)
    config = _read_json(folder / "config.json")
    for name, expected in EXPECTED.items():
        if config.get(name, expected) != expected or name == "model_type" and name not in config:
            raise ValueError(f"{folder}/config.json: {name} is {config.get(name)!r}, expected {expected!r}; "
                             "only GPT-2 models can be read")
    if config.get("n_inner") not in (None, 4 * config["n_embd"]):
        raise ValueError(f"{folder}/config.json: n_inner is {config['n_inner']}, expected 4 n_embd")
    tokenizer = read_tokenizer(folder)
    model = GPT(GPTConfig(**{ours: config[theirs] for ours, theirs in SIZES.items()},
                          dropout=config.get("resid_pdrop", 0.0)))
    weights = {name.removeprefix("transformer."): weight for name, weight in read_weights(
        folder, "model" if (folder / "model.safetensors").is_file() else "pytorch_model").items()
        if not name.endswith(BUFFERS) and name != "lm_head.weight"}
    weights = {name: weight.T if name.endswith(TRANSPOSED) else weight for name, weight in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder}: the weights do not fit the config: {error}") from None
    return grow_embedding(model, tokenizer.vocab_size).eval(), tokenizer


def read_tokenizer(folder):
    """The tokenizer of vocab.json and merges.txt, with the chat's special tokens after <|endoftext|>."""
    folder = Path(folder)
    vocabulary = _read_json(folder / "vocab.json")
    byte_of = byte_characters()
    ranked = sorted(vocabulary, key=vocabulary.get)
    added = [token for token in ranked if token in SPECIAL_TOKENS]
    ranked = [token for token in ranked if token not in SPECIAL_TOKENS]
    if added[:1] != [END_OF_TEXT] or vocabulary[END_OF_TEXT] != len(ranked):
        raise ValueError(f"{folder}/vocab.json: {END_OF_TEXT} must be the last of the tokens, and it is not")
    return Tokenizer([bytes(byte_of[character] for character in token) for token in ranked], PATTERN)


@torch.no_grad()
def grow_embedding(model, vocab_size):
    """The model with room for so many tokens; new rows begin as the mean of the others."""
    from dataclasses import replace

    old = model.wte.weight
    if vocab_size < len(old):
        raise ValueError(f"the vocabulary has {vocab_size} tokens, the model {len(old)}")
    grown = torch.nn.Embedding(vocab_size, old.shape[1])
    grown.weight.copy_(torch.cat([old, old.mean(0, keepdim=True).expand(vocab_size - len(old), -1)]))
    model.wte, model.config = grown, replace(model.config, vocab_size=vocab_size)
    return model
