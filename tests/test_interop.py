"""GPT-2 folders in and out: transformers is the oracle, with random weights and a small vocabulary."""

import json
import random
import sys

import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from minisft.checkpoint import load_model
from minisft.config import shipped
from minisft.conversation import Conversation, render_prompt
from minisft.generate import generate
from minisft.interop import is_gpt2, load_gpt2, save_gpt2
from minisft.model import GPT, GPTConfig
from minisft.tokenizer import END_OF_TURN, Tokenizer

ALPHABET = "abcdeABC  don't we'll 12345 红色é😀\t\n.,;'<|end|>"


def random_texts(count, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, 40))) for _ in range(count)]


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    """A folder as transformers writes it, with vocab.json and merges.txt."""
    folder = tmp_path_factory.mktemp("gpt2")
    learnt = ByteLevelBPETokenizer()
    learnt.train_from_iterator(random_texts(2000, seed=1), vocab_size=400, show_progress=False)
    learnt.add_special_tokens(["<|endoftext|>"])
    learnt.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(vocabulary), n_positions=64, n_embd=24, n_layer=2, n_head=3)
    model = transformers.GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    model.save_pretrained(folder)
    return folder, model


def test_logits_of_a_gpt2_folder_equal_those_of_transformers(gpt2_folder):
    folder, theirs = gpt2_folder
    model, tokenizer = load_gpt2(folder)
    ids = torch.randint(theirs.config.vocab_size, (3, 20))
    expected, logits = theirs(ids).logits, model(ids)
    assert is_gpt2(folder) and tokenizer.vocab_size == theirs.config.vocab_size + 4 == logits.shape[-1]
    assert (logits[..., :-4] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(load_gpt2(folder)[0].wte.weight, model.wte.weight), "the new rows are the same each time"


def test_a_published_file_without_prefix_and_with_its_mask_loads_too(gpt2_folder, tmp_path):
    folder, theirs = gpt2_folder
    weights = {name.removeprefix("transformer."): weight for name, weight in theirs.state_dict().items()}
    weights["h.0.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
    weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(weights, tmp_path / "pytorch_model.bin")
    for name in ("config.json", "vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    ids = torch.randint(300, (2, 9))
    assert torch.equal(load_gpt2(tmp_path)[0](ids), load_gpt2(folder)[0](ids))
    del weights["h.1.attn.c_attn.bias"]
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="c_attn.bias"):
        load_gpt2(tmp_path)


def test_text_encodes_as_transformers_gpt2_tokenizer_does(gpt2_folder):
    folder, _ = gpt2_folder
    theirs, ours = transformers.GPT2TokenizerFast.from_pretrained(folder), load_gpt2(folder)[1]
    for text in random_texts(2000):
        assert ours.encode(text) == theirs.encode(text), text


@pytest.mark.parametrize("change, message", [
    ({"model_type": "llama"}, "model_type is 'llama', expected 'gpt2'"), ({"activation_function": "relu"}, "gelu_new"),
    ({"n_inner": 7}, "n_inner is 7"), ({"n_layer": 3}, "do not fit the config")])
def test_another_kind_of_model_is_refused(gpt2_folder, tmp_path, change, message):
    for path in gpt2_folder[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_gpt2(tmp_path)


def test_a_damaged_folder_is_refused(tmp_path):
    model, tokenizer = GPT(GPTConfig(261, 8, 1, 1, 4)), Tokenizer([bytes([byte]) for byte in range(256)])
    for name, content, message in (
            ("config.json", '{"model_type": "gpt2"}', "vocab_size is None, expected a number"),
            ("config.json", "{", "cannot be read as JSON"), ("pytorch_model.bin", "", "the weights cannot be read"),
            ("tokenizer.json", '{"model": {"vocab": {"▁": 0, "<|endoftext|>": 1}}, "added_tokens": [], '
                               '"pre_tokenizer": {"type": "ByteLevel"}}', "not a vocabulary of GPT-2")):
        save_gpt2(tmp_path, model, tokenizer)
        load_gpt2(tmp_path)
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_gpt2(tmp_path)
    save_gpt2(tmp_path / "whole", model, tokenizer)
    (tmp_path / "whole" / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        load_gpt2(tmp_path / "whole")


@pytest.mark.parametrize("of", ["the town's tokenizer", "GPT-2's"])
def test_what_is_exported_transformers_loads_and_says_the_same(of, gpt2_folder, tmp_path):
    if of == "GPT-2's":
        model, tokenizer = load_gpt2(gpt2_folder[0])
    else:
        tokenizer = Tokenizer.load(shipped("data/tokenizer.json"))
        torch.manual_seed(0)
        model = GPT(GPTConfig(tokenizer.vocab_size, 64, 2, 3, 24)).eval()
    save_gpt2(tmp_path, model, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    coder = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in random_texts(1000):
        if "<|" not in text:
            assert coder.encode(text, add_special_tokens=False) == tokenizer.encode(text), text
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Say 红色."},
                {"role": "assistant", "content": "a"}, {"role": "user", "content": "Once more"}]
    prompt = render_prompt(Conversation.from_messages(messages), tokenizer)
    given = coder.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert given["input_ids"][0].tolist() == prompt
    assert (theirs(given["input_ids"]).logits - model(torch.tensor([prompt]))).abs().max() < 1e-5
    expected = theirs.generate(**given, max_new_tokens=12)[0, len(prompt):].tolist()
    assert generate(model, [prompt], 12, stop=(tokenizer.special(END_OF_TURN), tokenizer.special("<|endoftext|>")))[0] \
        == expected


def test_a_model_comes_back_from_its_own_export(tmp_path):
    model, tokenizer = load_model(shipped("checkpoints/base.pt"))
    save_gpt2(tmp_path, model, tokenizer)
    ids = torch.randint(tokenizer.vocab_size, (2, 30))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (theirs(ids).logits - model(ids)).abs().max() < 1e-4
    again, its_tokenizer = load_gpt2(tmp_path)
    assert torch.equal(again(ids), model(ids)) and its_tokenizer.to_dict() == tokenizer.to_dict()


def test_without_the_package_safetensors_its_files_ask_for_it(gpt2_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ValueError, match=r"model\.safetensors needs the package safetensors: pip install safetensors"):
        load_gpt2(gpt2_folder[0])
