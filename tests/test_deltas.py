"""Deltas on disk: small, bound to their base, several on one; and the commands that use them."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from conftest import difference, random_ids, snapshot, tiny_model

from minisft import chat, evaluate, train
from minisft.checkpoint import load_model, save_model
from minisft.config import from_assignments
from minisft.interop import save_gpt2, save_peft
from minisft.models import open_model
from minisft.peft import (
    METHODS,
    AdapterConfig,
    LoRAConfig,
    PrefixConfig,
    PromptConfig,
    add_peft,
    delta,
    export_state,
    load_delta,
    merge,
    remove_peft,
    save_delta,
)
from minisft.peft.files import base_fingerprint
from minisft.peft.inject import put_peft
from minisft.run import read_log
from minisft.shipped import BASE
from minisft.tokenizer import Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
CONFIGS = [
    LoRAConfig(("mlp.c_fc",), r=2, sqrt_r=True),
    AdapterConfig(3, layer_norms=True),
    PrefixConfig(3),
    PrefixConfig(3, hidden=5),
    PromptConfig(3),
    PromptConfig(3, "text", "abc"),
    PrefixConfig(3, text="abc"),
]


def small_model(seed=0):
    return tiny_model(seed, torch.float32, vocab_size=TOKENIZER.vocab_size)


@pytest.fixture
def base(tmp_path):
    """Path of a base on disk."""
    save_model(tmp_path / "base.pt", small_model(), TOKENIZER)
    return tmp_path / "base.pt"


def tuned(config, seed=1):
    """A small model with a method whose weights are random."""
    torch.manual_seed(seed)
    model = add_peft(small_model(), config, TOKENIZER).eval()
    for weight in delta(model).values():
        weight.add_(torch.randn_like(weight))
    return model


def save_tuned_delta(folder, config, base):
    """Path of the delta of a tuned model."""
    save_delta(folder / "delta.pt", tuned(config), base)
    return folder / "delta.pt"


def change_file(path, edit):
    """Write a delta again after edit(content)."""
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_delta_loads_as_it_was_saved_and_holds_nothing_of_the_base(config, base, tmp_path):
    model, ids = tuned(config), random_ids(2, 9, vocab_size=200)
    expected = model(ids)
    save_delta(tmp_path / "delta.pt", model, base)
    assert torch.equal(model(ids), expected), "saving does not change a model"
    again, tokenizer = open_model(tmp_path)
    assert torch.equal(again(ids), expected)
    assert tokenizer.to_dict() == TOKENIZER.to_dict()

    weights = torch.load(tmp_path / "delta.pt", weights_only=True)["weights"]
    assert set(weights) == set(delta(again))
    assert not any("base" in name for name in weights)
    assert sum(weight.numel() for weight in weights.values()) < 2000


def test_several_deltas_take_turns_on_one_base(base, tmp_path):
    model, ids = small_model(), random_ids(2, 9, vocab_size=200)
    before, expected = snapshot(model), {}
    for i, config in enumerate(CONFIGS):
        other = tuned(config, seed=i)
        save_delta(tmp_path / f"{i}.pt", other, base)
        expected[i] = other(ids)
    for i in [0, 3, 1, 6, 2, 5, 4, 0]:
        model = load_delta(tmp_path / f"{i}.pt", model)
        assert torch.equal(model(ids), expected[i]), CONFIGS[i]
    assert difference(snapshot(remove_peft(model)), before) == 0


def test_a_delta_of_another_base_is_refused(base, tmp_path):
    path, other = save_tuned_delta(tmp_path, CONFIGS[0], base), small_model()
    with torch.no_grad():
        other.h[0].mlp.c_fc.bias[0] += 1e-3
    with pytest.raises(ValueError, match="was trained on another base"):
        load_delta(path, other)
    with torch.no_grad():
        other.h[0].mlp.c_fc.bias.copy_(small_model().h[0].mlp.c_fc.bias)
    load_delta(path, other)


def test_a_delta_whose_base_has_changed_or_is_missing_cannot_be_opened(base, tmp_path):
    save_tuned_delta(tmp_path, CONFIGS[0], base)
    save_model(base, small_model(seed=7), TOKENIZER)
    with pytest.raises(ValueError, match="was trained on another base"):
        open_model(tmp_path)
    base.unlink()
    message = r"the base of .*delta\.pt cannot be opened: .*base\.pt does not exist"
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path)


def test_the_fingerprint_depends_on_the_sizes_too_and_not_on_a_method():
    one_head, two_heads = tiny_model(n_head=1), tiny_model(n_head=2)
    assert difference(snapshot(one_head), snapshot(two_heads)) == 0
    first, second = base_fingerprint(one_head), base_fingerprint(two_heads)
    assert first != second
    assert base_fingerprint(add_peft(one_head, LoRAConfig(r=1))) == first
    assert base_fingerprint(add_peft(two_heads, PrefixConfig(2))) == second


def test_a_base_that_ships_is_found_from_any_folder(tmp_path, monkeypatch):
    model, _ = load_model(BASE)
    save_delta(tmp_path / "delta.pt", add_peft(model, LoRAConfig(r=1)), BASE)
    assert torch.load(tmp_path / "delta.pt", weights_only=True)["base"] == "checkpoints/base.pt"
    monkeypatch.chdir(tmp_path)
    assert open_model("delta.pt")[0].peft_config == LoRAConfig(r=1)


DAMAGED, FOREIGN, UNFIT = (
    "is a damaged delta", "was trained on another base", "does not fit its settings")
FIRST = "h.0.mlp.c_fc.A"  # a tensor of CONFIGS[0]
A = (2, 8)  # and its shape


def put(tensor):
    """A damage that puts another tensor in the place of FIRST."""
    return lambda content: content["weights"].update({FIRST: tensor})


def set_to(**settings):
    return lambda content: content["config"].update(settings)


DAMAGES = {  # what is done to the content of a delta, and the message
    "an unknown method": (lambda content: content.update(method="other"), DAMAGED),
    "an unknown setting": (lambda content: content.update(config={"rank": 3}), DAMAGED),
    "a wrong setting": (lambda content: content.update(config={"r": 0}), DAMAGED),
    "another fingerprint": (lambda content: content.update(fingerprint="0" * 16), FOREIGN),
    "no base": (lambda content: content.pop("base"), DAMAGED),
    "no fingerprint": (lambda content: content.pop("fingerprint"), DAMAGED),
    "no weights": (lambda content: content.pop("weights"), DAMAGED),
    "a tensor missing": (lambda content: content["weights"].pop(FIRST), f"{UNFIT}: {FIRST} is"),
    "a tensor more": (
        lambda content: content["weights"].update(more=torch.zeros(1)), f"{UNFIT}: more is"),
    "a tensor of another shape": (put(torch.zeros(3, 8)), f"{UNFIT}: {FIRST} is"),
    "a number for a tensor": (put(3.0), f"{UNFIT}: the weights hold '{FIRST}', a float"),
    "a tensor without a side": (put(torch.tensor(1.0)), rf"{UNFIT}: {FIRST} is \(\), expected"),
    "NaN": (put(torch.full(A, math.nan)), f"{UNFIT}: {FIRST} holds NaN"),
    "infinity": (put(torch.full(A, -math.inf)), f"{UNFIT}: {FIRST} holds NaN or infinite"),
    "whole numbers": (put(torch.zeros(A, dtype=torch.int64)), f"{FIRST} holds torch.int64"),
    "complex numbers": (put(torch.zeros(A, dtype=torch.complex64)), f"{FIRST} holds torch.compl"),
    "a sparse tensor": (put(torch.zeros(A).to_sparse()), f"{FIRST} holds .*expected floating"),
    "a name that is no text": (
        lambda content: content["weights"].update({3: torch.zeros(1)}), "the weights hold 3, a T"),
    "a list of weights": (
        lambda content: content.update(weights=[torch.zeros(1)]), "the weights are a list"),
    "no tensors": (lambda content: content["weights"].clear(), "there are no tensors in it"),
    "half a rank": (set_to(r=2.5), f"{DAMAGED}: r must be a whole number, got 2.5"),
    "a rank that no memory holds": (set_to(r=10 ** 15), f"{UNFIT}: r is 1000000000000000, but"),
    "targets that are no texts": (set_to(targets=(1, 2)), f"{DAMAGED}: targets must be a tuple"),
    "targets in no tuple": (set_to(targets="mlp.c_fc"), f"{DAMAGED}: targets must be a tuple"),
    "a text for a number": (set_to(alpha="x"), f"{DAMAGED}: alpha must be a finite number"),
    "an infinite scale": (set_to(alpha=math.inf), f"{DAMAGED}: alpha must be a finite number"),
    "a scale beyond all floats": (set_to(alpha=10 ** 400), f"{DAMAGED}: alpha must be a finite"),
    "a number for yes or no": (set_to(sqrt_r=1), f"{DAMAGED}: sqrt_r must be True or False"),
    "no settings": (lambda content: content.update(config=None), DAMAGED),
    "settings that are a list": (lambda content: content.update(config=[1]), DAMAGED),
    "a method that is a list": (lambda content: content.update(method=["lora"]), DAMAGED),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_delta_cannot_be_opened(damage, base, tmp_path):
    edit, message = DAMAGES[damage]
    change_file(save_tuned_delta(tmp_path, CONFIGS[0], base), edit)
    if damage == "no base":
        message = "the base of .* cannot be opened"
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path)


@pytest.mark.parametrize("of", ["itself", "another delta", "each other", "a PEFT folder"])
def test_a_delta_of_a_delta_is_refused_by_name(of, base, tmp_path):
    first, second = tmp_path / "1.pt", tmp_path / "2.pt"
    save_delta(first, tuned(CONFIGS[0]), base)
    save_delta(second, tuned(CONFIGS[1]), first)
    wrong = first
    if of == "itself":
        wrong = second
    if of == "each other":
        change_file(first, lambda content: content.update(base=str(second)))
    if of == "a PEFT folder":
        wrong = tmp_path / "peft"
        save_peft(wrong, tuned(CONFIGS[0]), str(base))
    change_file(second, lambda content: content.update(base=str(wrong)))
    message = f"the base of {second} cannot be opened: {wrong} is only a change of a base"
    with pytest.raises(ValueError, match=re.escape(message)):
        open_model(second)


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2", "Qwen2.5-0.5B"])
def test_a_name_of_the_hub_is_answered_with_how_to_download_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = f"{name} does not exist; .*a GPT-2 or PEFT folder; .*snapshot_download.'{name}'"
    with pytest.raises(ValueError, match=message):
        open_model(name)
    (tmp_path / "openai").mkdir()
    for path in ("run.pt", "a/b/c", "openai/gpt2", str(tmp_path / "gpt2")):
        with pytest.raises(ValueError, match="does not exist; .*PEFT folder$"):
            open_model(path)


def everything_about(model):
    """Modules and parameters by identity, their flags, and the method: to be compared with ==."""
    return {
        "modules": {name: (id(module), module.training) for name, module in model.named_modules()},
        "parameters": {name: (id(parameter), parameter.data_ptr(), parameter.requires_grad)
                       for name, parameter in model.named_parameters()},
        "method": (getattr(model, "peft_config", None), list(delta(model)))}


def tuned_or_plain(config):
    return tuned(config) if config else small_model()


def check_untouched(model, call):
    """call() must leave every module, flag, number and output of a model as it is."""
    ids = random_ids(2, 5, vocab_size=200)
    before, numbers, expected = everything_about(model), snapshot(model), model(ids)
    call()
    assert everything_about(model) == before
    assert difference(snapshot(model), numbers) == 0
    assert torch.equal(model(ids), expected)


@pytest.mark.parametrize("old", [None, CONFIGS[0], CONFIGS[1], CONFIGS[3]], ids=str)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_delta_leaves_the_model_untouched(damage, old, base, tmp_path):
    path, model = save_tuned_delta(tmp_path, CONFIGS[0], base), tuned_or_plain(old)
    edit, message = DAMAGES[damage]
    change_file(path, edit)

    def load():
        with pytest.raises(ValueError, match=message):
            load_delta(path, model)

    check_untouched(model, load)


@pytest.mark.parametrize("old", [None, *CONFIGS], ids=str)
@pytest.mark.parametrize("new", [CONFIGS[1], PromptConfig(3)], ids=str)
def test_tensors_that_do_not_fit_leave_the_model_untouched(old, new, base, tmp_path):
    model = tuned_or_plain(old)
    config, weights = export_state(tuned(new))
    weights |= {"more": torch.zeros(1)}

    def load():
        with pytest.raises(ValueError, match="the file does not fit its settings: more is"):
            put_peft(model, config, weights, "the file")

    check_untouched(model, load)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("old", [None, CONFIGS[0], CONFIGS[1], CONFIGS[3]], ids=str)
@pytest.mark.parametrize("new", CONFIGS, ids=str)
def test_a_loaded_delta_shares_the_bases_memory_and_leaves_the_model_untouched(
        new, old, training, base, tmp_path):
    path, model = save_tuned_delta(tmp_path, new, base), tuned_or_plain(old).train(training)
    loaded = []
    check_untouched(model, lambda: loaded.append(load_delta(path, model)))
    other, = loaded

    def base_memory(model):
        added = delta(model)
        return [parameter.data_ptr() for name, parameter in model.named_parameters()
                if name not in added]

    assert base_memory(other) == base_memory(model), "the weights of the base are there once"
    added = {weight.data_ptr() for weight in delta(other).values()}
    assert added.isdisjoint(parameter.data_ptr() for parameter in model.parameters())
    trainable = [name for name, parameter in other.named_parameters() if parameter.requires_grad]
    assert trainable == list(delta(other)) and not other.training

    def train_what_was_added():
        for weight in delta(other).values():
            weight.add_(1.0)

    check_untouched(model, train_what_was_added)


def test_freezing_or_unfreezing_a_model_does_not_change_its_delta(base, tmp_path):
    model = tuned(CONFIGS[0])
    expected, fingerprint = delta(model).keys(), base_fingerprint(model)
    for trainable in (False, True):
        save_delta(tmp_path / "delta.pt", model.requires_grad_(trainable), base)
        saved = torch.load(tmp_path / "delta.pt", weights_only=True)
        assert saved["weights"].keys() == expected and saved["fingerprint"] == fingerprint


def test_a_delta_is_not_bound_to_embedding_rows_that_are_drawn_and_not_in_the_file(tmp_path):
    folder = tmp_path / "gpt2"
    save_gpt2(folder, small_model(), TOKENIZER)
    leave_one_special_token(folder)
    model, _ = open_model(folder)
    with torch.no_grad():
        model.wte.weight[257:] *= 1 + 1e-6  # as another machine may draw them
    save_delta(tmp_path / "delta.pt", add_peft(model, LoRAConfig(r=1)), folder)
    assert open_model(tmp_path)[0].peft_config == LoRAConfig(r=1)
    with torch.no_grad():
        model.wte.weight[256] += 1e-6
    with pytest.raises(ValueError, match="another base"):
        load_delta(tmp_path / "delta.pt", model)


def leave_one_special_token(folder):
    """Cut a GPT-2 folder down to a vocabulary of 257: the bytes and one special token."""
    def change_json(name, edit):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        edit(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    def cut_rows(weights):
        for name in ("transformer.wte.weight", "lm_head.weight"):
            weights[name] = weights[name][:257].clone()

    change_json("tokenizer.json",
                lambda content: content.update(added_tokens=content["added_tokens"][:1]))
    change_json("config.json", lambda content: content.update(vocab_size=257))
    change_file(folder / "pytorch_model.bin", cut_rows)


def test_what_cannot_be_saved_or_loaded_as_a_delta_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="nothing was added"):
        save_delta(tmp_path / "delta.pt", small_model(), base)
    with pytest.raises(ValueError, match="unmerge"):
        save_delta(tmp_path / "delta.pt", merge(tuned(CONFIGS[0])), base)
    path = save_tuned_delta(tmp_path, CONFIGS[0], base)
    with pytest.raises(ValueError, match="unmerge"):
        load_delta(path, merge(tuned(CONFIGS[0])))
    with pytest.raises(ValueError, match="save_delta keeps it"):
        save_model(tmp_path / "model.pt", tuned(CONFIGS[0]), TOKENIZER)
    with pytest.raises(ValueError, match=r"holds 'minisft model 1', expected 'minisft delta 1'"):
        load_delta(base, small_model())


# The commands


ROWS = [json.dumps({"prompt": f"{n}?", "completion": f"{n}"}) for n in range(10, 26)]
SETTINGS = {"lora": ["r=2"], "adapter": ["bottleneck=3", "layer_norms=yes"],
            "prefix": ["P=3", "hidden=4"], "prompt": ["P=3", "start=text", "text=abc"]}


def run(base, tmp_path, method, *flags, name="run"):
    """Run minisft.train with a method; returns the run folder."""
    data, folder = tmp_path / "rows.jsonl", tmp_path / name
    data.write_text("\n".join(ROWS), encoding="utf-8")
    train.main(["--base", str(base), "--data", str(data), "--device", "cpu", "--batch-size", "4",
                "--out", str(folder), "--method", method, *flags])
    return folder


def ask(folder):
    chat.main(["--model", str(folder), "--prompt", "10?", "--max-new-tokens", "3",
               "--device", "cpu"])


def stop_after(monkeypatch, steps):
    """Let minisft.train stop after so many steps, as after Ctrl-C, until monkeypatch.undo()."""
    original = train.train_in

    def stop_early(folder, training, *rest):
        original(folder, replace(training, steps=steps), *rest)
        return False

    monkeypatch.setattr(train, "train_in", stop_early)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pack", [[], ["--pack"]])
def test_train_evaluate_and_chat_work_with_every_method(method, pack, base, tmp_path, capsys):
    base_bytes = base.read_bytes()
    folder = run(base, tmp_path, method, "--steps", "4", "--settings", *SETTINGS[method], *pack)
    shown = capsys.readouterr().out
    assert "trainable parameters" in shown and "optimizer state, bytes" in shown
    assert base.read_bytes() == base_bytes
    assert (folder / "delta.pt").stat().st_size < 50_000 and not (folder / "model.pt").exists()
    with pytest.raises(SystemExit, match="already holds a run"):
        run(base, tmp_path, method)

    data = str(tmp_path / "rows.jsonl")
    evaluate.main(["--model", str(folder), "--data", data, "--device", "cpu"])
    assert "of 16" in capsys.readouterr().out
    ask(folder)
    with pytest.raises(SystemExit, match="A LoRA delta can be merged into one model first"):
        run(folder, tmp_path, "full", name="more")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pack", [[], ["--pack"]])
def test_a_stopped_run_continues_to_the_same_bits(method, pack, base, tmp_path, monkeypatch):
    flags = ["--steps", "6", *pack, "--settings", *SETTINGS[method]]
    whole = run(base, tmp_path, method, *flags, name="whole")
    stop_after(monkeypatch, 3)
    stopped = run(base, tmp_path, method, *flags, name="stopped")
    monkeypatch.undo()
    with pytest.raises(SystemExit, match=f"--settings x=1 differs from the {SETTINGS[method][0]}"):
        train.main(["--resume", "--out", str(stopped), "--settings", "x=1"])
    train.main(["--resume", "--out", str(stopped), "--device", "cpu"])
    expected, found = (torch.load(folder / "delta.pt", weights_only=True)["weights"]
                       for folder in (whole, stopped))
    assert difference(found, expected) == 0


def test_a_gpt2_folder_is_a_base_to_train_resume_and_chat_on(tmp_path, capsys, monkeypatch):
    save_gpt2(tmp_path / "gpt2", small_model(), TOKENIZER)
    stop_after(monkeypatch, 2)
    folder = run(tmp_path / "gpt2", tmp_path, "lora", "--steps", "4")
    monkeypatch.undo()
    train.main(["--resume", "--out", str(folder), "--device", "cpu"])
    assert "changed" not in capsys.readouterr().err
    assert (folder / "delta.pt").stat().st_size < 50_000
    ask(folder)
    assert open_model(folder)[0].peft_config == LoRAConfig()


def test_a_run_whose_base_has_changed_is_not_resumed(base, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    stopped = run(base, tmp_path, "lora", "--steps", "2")
    message = "holds no model: .*not finished, continue it with --resume --out"
    with pytest.raises(ValueError, match=message):
        open_model(stopped)
    save_model(base, small_model(seed=7), TOKENIZER)
    with pytest.raises(SystemExit, match="base, tokenizer or data differ from those"):
        train.main(["--resume", "--out", str(stopped), "--device", "cpu"])


@pytest.mark.parametrize("method", METHODS)
def test_what_a_report_calls_before_is_the_base(method, base, tmp_path):
    (tmp_path / "asked.jsonl").write_text("\n".join(ROWS[:2]), encoding="utf-8")
    asked = ["--steps", "1", "--eval", str(tmp_path / "asked.jsonl")]
    full = run(base, tmp_path, "full", *asked, name="full")
    other = run(base, tmp_path, method, *asked, "--settings", *SETTINGS[method], name=method)
    expected, found = (
        json.loads((folder / "results.json").read_text(encoding="utf-8"))["before"]
        for folder in (full, other))
    assert found == expected and found["loss"]


@pytest.mark.parametrize("method", ["full", *METHODS])
def test_each_method_has_a_learning_rate_of_its_own(method, base, tmp_path):
    settings = ["--settings", "P=2"] if method in ("prefix", "prompt") else []
    folder = run(base, tmp_path, method, "--steps", "4", *settings)
    highest = max(row["lr"] for row in read_log(folder))
    assert highest == pytest.approx(METHODS[method].lr if method in METHODS else 1e-3)


def test_full_tuning_writes_a_whole_model(base, tmp_path):
    folder = run(base, tmp_path, "full", "--steps", "2")
    assert load_model(folder)[0].config == small_model().config
    assert not (folder / "delta.pt").exists()


@pytest.mark.parametrize("method, words, message", [
    ("lora", ["rank=4"], r"'rank=4' is none of the settings: targets=.*r=8, alpha=16"),
    ("lora", ["r=many"], "r cannot be 'many'; a setting looks like r=8"),
    ("lora", ["r=4", "r=8"], "r is set twice, to 4 and to 8"),
    ("lora", ["r"], "'r' is none of the settings"),
    ("adapter", ["layer_norms=perhaps"], "layer_norms=no"),
    ("prefix", ["P=0"], "P must be at least 1"),
    ("lora", ["targets=mlp.c_proj,ln_1"], "targets must be some of"),
])
def test_a_wrong_setting_is_answered_with_what_is_possible(method, words, message):
    with pytest.raises(ValueError, match=message):
        from_assignments(METHODS[method], words)


def test_settings_without_a_method_are_refused(capsys):
    with pytest.raises(SystemExit):
        train.main(["--settings", "r=4"])
    assert "name one with --method (lora, adapter, prefix, prompt)" in capsys.readouterr().err
