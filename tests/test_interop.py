"""GPT-2 folders in and out, against transformers, with random weights and a small vocabulary."""

import json
import os
import random
import sys

import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from minisft import chat
from minisft.checkpoint import load_model
from minisft.conversation import Conversation, Message, render_prompt
from minisft.generate import generate
from minisft.interop import gpt2, is_gpt2, load_gpt2, save_gpt2
from minisft.model import GPT, GPTConfig
from minisft.shipped import shipped
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
    config = transformers.GPT2Config(
        vocab_size=len(vocabulary), n_positions=64, n_embd=24, n_layer=2, n_head=3)
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
    assert is_gpt2(folder)
    assert tokenizer.vocab_size == theirs.config.vocab_size + 4 == logits.shape[-1]
    assert (logits[..., :-4] - expected).abs().max() < 1e-5 * expected.abs().max()
    # The new rows are the same each time, and differ, so that a frozen head can tell them apart.
    assert torch.equal(load_gpt2(folder)[0].wte.weight, model.wte.weight)
    old, new = model.wte.weight[:-4], model.wte.weight[-4:]
    assert torch.pdist(new).min() > 0.2 * old.std(0).norm()
    assert (new - old.mean(0)).norm(dim=1).max() < 1.5 * old.std(0).norm()


def test_a_published_file_without_prefix_and_with_its_mask_loads_too(gpt2_folder, tmp_path):
    folder, theirs = gpt2_folder
    weights = {
        name.removeprefix("transformer."): weight for name, weight in theirs.state_dict().items()}
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
    ({"model_type": "llama"}, "model_type is 'llama', expected 'gpt2'"),
    ({"activation_function": "relu"}, "gelu_new"),
    ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
    ({"scale_attn_weights": False}, "scale_attn"),
    ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
    ({"attn_pdrop": 0.3}, "expected one number"),
    ({"n_inner": 7}, "n_inner is 7"),
    ({"n_layer": 3}, "do not fit the config"),
])
def test_another_kind_of_model_is_refused(gpt2_folder, tmp_path, change, message):
    for path in gpt2_folder[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_gpt2(tmp_path)


def tokenizer_file(vocabulary):
    """The text of a tokenizer.json with this vocabulary."""
    return json.dumps({
        "model": {"vocab": vocabulary},
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel"},
    })


def test_a_damaged_folder_is_refused(tmp_path):
    model = GPT(GPTConfig(261, 8, 1, 1, 4))
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    for name, content, message in (
            ("config.json", '{"model_type": "gpt2"}', "vocab_size is None, expected a number"),
            ("config.json", "{", "cannot be read as JSON"),
            ("pytorch_model.bin", "", "the weights cannot be read"),
            ("tokenizer.json", tokenizer_file({"▁": 0, "<|endoftext|>": 1}),
             "not a vocabulary of GPT-2"),
            ("tokenizer.json", tokenizer_file({"a": 0}),
             "json: <|endoftext|> is not among its tokens"),
            ("tokenizer.json", tokenizer_file({"<|endoftext|>": 0, "a": 1}),
             "json: <|endoftext|> has id 0, expected")):
        save_gpt2(tmp_path, model, tokenizer)
        load_gpt2(tmp_path)
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message.replace("|", r"\|")):
            load_gpt2(tmp_path)
    save_gpt2(tmp_path / "whole", model, tokenizer)
    (tmp_path / "whole" / "pytorch_model.bin").unlink()
    message = r"holds neither model\.safetensors nor pytorch_model\.bin"
    with pytest.raises(ValueError, match=message):
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
    assert theirs.config.eos_token_id == tokenizer.special(END_OF_TURN)
    assert theirs.config.bos_token_id == tokenizer.special("<|endoftext|>")
    for place in ("attn", "embd", "resid"):
        assert getattr(theirs.config, f"{place}_pdrop") == model.config.dropout
    coder = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in random_texts(1000):
        if "<|" not in text:
            assert coder.encode(text, add_special_tokens=False) == tokenizer.encode(text), text
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Say 红色."},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "Once more"},
    ]
    prompt = render_prompt(Conversation.from_messages(messages), tokenizer)
    given = coder.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert given["input_ids"][0].tolist() == prompt
    assert (theirs(given["input_ids"]).logits - model(torch.tensor([prompt]))).abs().max() < 1e-5
    expected = theirs.generate(**given, max_new_tokens=12)[0, len(prompt):].tolist()
    stop = tokenizer.special(END_OF_TURN), tokenizer.special("<|endoftext|>")
    assert generate(model, [prompt], 12, stop)[0] == expected
    talk = [Message(**message) for message in messages]
    shown = chat.respond(model, tokenizer, talk, chat.ChatConfig(max_new_tokens=12), None)
    assert shown == coder.decode(expected, skip_special_tokens=True)


def test_where_our_answer_ends_that_of_transformers_does_too(tmp_path):
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    model = GPT(GPTConfig(tokenizer.vocab_size, 32, 1, 1, 8)).eval()
    end = tokenizer.special(END_OF_TURN)
    with torch.no_grad():  # to every prompt the model answers with the end of its turn
        model.wte.weight[end] *= 100
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(model.wte.weight[end])
    save_gpt2(tmp_path, model, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    coder = transformers.AutoTokenizer.from_pretrained(tmp_path)
    given = coder.apply_chat_template(
        [{"role": "user", "content": "Hi"}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = theirs.generate(**given, max_new_tokens=9)[0, given["input_ids"].shape[1]:]
    assert answer.tolist() == [end]
    assert coder.decode([end], skip_special_tokens=True) == ""


def test_a_model_comes_back_from_its_own_export(tmp_path):
    model, tokenizer = load_model(shipped("checkpoints/base.pt"))
    save_gpt2(tmp_path, model, tokenizer)
    ids = torch.randint(tokenizer.vocab_size, (2, 30))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (theirs(ids).logits - model(ids)).abs().max() < 1e-4
    again, its_tokenizer = load_gpt2(tmp_path)
    assert torch.equal(again(ids), model(ids)) and its_tokenizer.to_dict() == tokenizer.to_dict()


def test_the_dropout_of_a_folder_is_kept(tmp_path):
    model = GPT(GPTConfig(261, 8, 1, 1, 4, dropout=0.3))
    save_gpt2(tmp_path, model, Tokenizer([bytes([byte]) for byte in range(256)]))
    assert load_gpt2(tmp_path)[0].config == model.config


class Code:
    """What a file would run if it were read without care."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_weights_that_hold_code_are_refused_and_the_code_is_not_run(tmp_path):
    save_gpt2(tmp_path, GPT(GPTConfig(261, 8, 1, 1, 4)),
              Tokenizer([bytes([byte]) for byte in range(256)]))
    torch.save({"wte.weight": Code(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="the weights cannot be read"):
        load_gpt2(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("chat_tokens", [False, True])
def test_added_tokens_keep_their_rows_and_rows_without_a_token_get_one(
        chat_tokens, gpt2_folder, tmp_path):
    folder, theirs = gpt2_folder
    size = theirs.config.vocab_size
    added = {"<|user|>": size, "<|end|>": size + 1} if chat_tokens else {"<pad>": size}
    grown = transformers.GPT2LMHeadModel.from_pretrained(folder)
    grown.resize_token_embeddings(size + 8, mean_resizing=False)
    grown.save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    model, tokenizer = load_gpt2(tmp_path)
    assert {name: tokenizer.special(name) for name in added} == added
    assert tokenizer.special(f"<|unused {size + len(added)}|>") == size + len(added)
    missing = {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"} - added.keys()
    ids = {tokenizer.special(name) for name in missing}
    assert ids == set(range(size + 8, size + 8 + len(missing)))
    assert torch.equal(model.wte.weight[:size + 8], grown.transformer.wte.weight)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<pad>": size + 3}), encoding="utf-8")
    message = f"{size + 1} tokens, up to id {size + 3}, do not fit the model's {size + 8}"
    with pytest.raises(ValueError, match=message):
        load_gpt2(tmp_path)


def test_without_the_package_safetensors_its_files_ask_for_it(gpt2_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    message = r"model\.safetensors needs the package safetensors: pip install safetensors"
    with pytest.raises(ValueError, match=message):
        load_gpt2(gpt2_folder[0])


def test_without_the_package_safetensors_the_other_file_is_read(gpt2_folder, tmp_path, monkeypatch):
    for path in gpt2_folder[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(gpt2_folder[1].state_dict(), tmp_path / "pytorch_model.bin")
    expected = load_gpt2(tmp_path)[0].state_dict()
    monkeypatch.setattr(gpt2, "find_spec", lambda name: None)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    for name, weight in load_gpt2(tmp_path)[0].state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_a_run_of_white_space_that_is_too_long_is_refused(gpt2_folder, capfd):
    tokenizer = load_gpt2(gpt2_folder[0])[1]
    assert tokenizer.decode(tokenizer.encode(" " * 100_000)) == " " * 100_000
    with pytest.raises(ValueError, match="run of white space"):
        tokenizer.encode("a" + " " * 3_000_000)
