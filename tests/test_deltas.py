"""Deltas on disk: kilobytes, strict, bound to their base, several on one; and the commands that use them."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import random_ids, snapshot, tiny_model

from minisft import chat, evaluate, train
from minisft.checkpoint import load_model, save_model
from minisft.config import from_assignments
from minisft.interop import save_gpt2
from minisft.models import open_model
from minisft.peft import (
    METHODS,
    AdapterConfig,
    LoRAConfig,
    PrefixConfig,
    PromptConfig,
    add_peft,
    delta,
    load_delta,
    merge,
    remove_peft,
    save_delta,
)
from minisft.peft.files import base_fingerprint
from minisft.shipped import ROOT, shipped
from minisft.tokenizer import Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
CONFIGS = [LoRAConfig(("mlp.c_fc",), r=2, sqrt_r=True), AdapterConfig(3, layer_norms=True), PrefixConfig(3),
           PrefixConfig(3, hidden=5), PromptConfig(3), PromptConfig(3, "text", "abc"), PrefixConfig(3, text="abc")]


def small_model(seed=0):
    return tiny_model(seed, torch.float32, vocab_size=TOKENIZER.vocab_size)


@pytest.fixture
def base(tmp_path):
    """Path of a base on disk."""
    save_model(tmp_path / "base.pt", small_model(), TOKENIZER)
    return tmp_path / "base.pt"


def changed(config, seed=1):
    """A small model with a method whose weights were drawn anew."""
    torch.manual_seed(seed)
    model = add_peft(small_model(), config, TOKENIZER).eval()
    for weight in delta(model).values():
        weight.add_(torch.randn_like(weight))
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_delta_comes_back_and_holds_nothing_of_the_base(config, base, tmp_path):
    model, ids = changed(config), random_ids(2, 9, vocab_size=200)
    expected = model(ids)
    save_delta(tmp_path / "delta.pt", model, base)
    assert torch.equal(model(ids), expected), "saving leaves a model as it is"
    again, tokenizer = open_model(tmp_path)
    assert torch.equal(again(ids), expected) and tokenizer.to_dict() == TOKENIZER.to_dict()
    content = torch.load(tmp_path / "delta.pt", weights_only=True)
    assert set(content["weights"]) == set(delta(again)) and not any("base" in name for name in content["weights"])
    assert sum(weight.numel() for weight in content["weights"].values()) < 2000


def test_several_deltas_take_turns_on_one_base(base, tmp_path):
    model, ids = small_model(), random_ids(2, 9, vocab_size=200)
    before, expected = snapshot(model), {}
    for i, config in enumerate(CONFIGS):
        other = changed(config, seed=i)
        save_delta(tmp_path / f"{i}.pt", other, base)
        expected[i] = other(ids)
    for i in [0, 3, 1, 6, 2, 5, 4, 0]:
        model = load_delta(tmp_path / f"{i}.pt", model)
        assert torch.equal(model(ids), expected[i]), CONFIGS[i]
    after = snapshot(remove_peft(model))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_another_base_is_refused(base, tmp_path):
    save_delta(tmp_path / "delta.pt", changed(CONFIGS[0]), base)
    other = small_model()
    with torch.no_grad():
        other.h[0].mlp.c_fc.bias[0] += 1e-3
    with pytest.raises(ValueError, match="was trained on another base"):
        load_delta(tmp_path / "delta.pt", other)
    own, ids = add_peft(other, LoRAConfig(r=1)), random_ids(1, 5)
    before, expected = delta(own), own(ids)
    with pytest.raises(ValueError, match="was trained on another base"):
        load_delta(tmp_path / "delta.pt", own)
    assert torch.equal(own(ids), expected) and delta(own).keys() == before.keys(), "what was there stays"
    other = remove_peft(own)
    with torch.no_grad():
        other.h[0].mlp.c_fc.bias.copy_(small_model().h[0].mlp.c_fc.bias)
    load_delta(tmp_path / "delta.pt", other)
    save_model(base, small_model(seed=7), TOKENIZER)
    with pytest.raises(ValueError, match="was trained on another base"):
        open_model(tmp_path)
    base.unlink()
    with pytest.raises(ValueError, match=r"the base of .*delta\.pt cannot be opened: .*base\.pt does not exist"):
        open_model(tmp_path)


def test_the_fingerprint_tells_sizes_apart_that_have_the_same_weights():
    models = [tiny_model(0, n_head=heads) for heads in (1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in models)))
    assert len({base_fingerprint(model) for model in models}) == 2
    assert base_fingerprint(models[0]) == base_fingerprint(add_peft(models[0], LoRAConfig(r=1)))
    assert base_fingerprint(models[1]) == base_fingerprint(add_peft(models[1], PrefixConfig(2)))


def test_a_base_that_ships_is_found_wherever_the_project_lies(tmp_path, monkeypatch):
    model, _ = load_model(ROOT / "checkpoints" / "base.pt")
    save_delta(tmp_path / "delta.pt", add_peft(model, LoRAConfig(r=1)), shipped("checkpoints/base.pt"))
    assert torch.load(tmp_path / "delta.pt", weights_only=True)["base"] == "checkpoints/base.pt"
    monkeypatch.chdir(tmp_path)
    assert open_model("delta.pt")[0].peft_config == LoRAConfig(r=1)


def test_a_damaged_delta_is_refused(base, tmp_path):
    save_delta(tmp_path / "delta.pt", changed(CONFIGS[0]), base)
    whole = torch.load(tmp_path / "delta.pt", weights_only=True)
    for name, value in (("method", "other"), ("config", {"rank": 3}), ("config", {"r": 0})):
        torch.save(whole | {name: value}, tmp_path / "delta.pt")
        with pytest.raises(ValueError, match="is a damaged delta"):
            open_model(tmp_path)
    for name in ("base", "fingerprint", "weights"):
        torch.save({key: value for key, value in whole.items() if key != name}, tmp_path / "delta.pt")
        with pytest.raises(ValueError, match="is a damaged delta|the base of .* cannot be opened"):
            open_model(tmp_path)


@pytest.mark.parametrize("change", [
    lambda weights: weights.pop("h.0.mlp.c_fc.A"), lambda weights: weights.update(more=torch.zeros(1)),
    lambda weights: weights.update({"h.0.mlp.c_fc.A": torch.zeros(3, 8)})])
def test_a_delta_with_other_tensors_is_refused(change, base, tmp_path):
    save_delta(tmp_path / "delta.pt", changed(CONFIGS[0]), base)
    content = torch.load(tmp_path / "delta.pt", weights_only=True)
    change(content["weights"])
    torch.save(content, tmp_path / "delta.pt")
    with pytest.raises(ValueError, match=r"delta\.pt does not fit its settings: (h\.0\.mlp\.c_fc\.A|more) is"):
        open_model(tmp_path)


@pytest.mark.parametrize("old", [None, *CONFIGS], ids=str)
@pytest.mark.parametrize("new", [CONFIGS[1], PromptConfig(3)], ids=str)
def test_a_delta_that_does_not_fit_leaves_the_model_as_it_was(old, new, base, tmp_path):
    save_delta(tmp_path / "delta.pt", changed(new), base)
    content = torch.load(tmp_path / "delta.pt", weights_only=True)
    content["weights"]["more"] = torch.zeros(1)
    torch.save(content, tmp_path / "delta.pt")
    model, ids = changed(old) if old else small_model(), random_ids(2, 5, vocab_size=200)
    expected, before = model(ids), snapshot(model)
    added, trainable = list(delta(model)), [name for name, p in model.named_parameters() if p.requires_grad]
    with pytest.raises(ValueError, match="does not fit its settings: more is"):
        load_delta(tmp_path / "delta.pt", model)
    after = snapshot(model)
    assert torch.equal(model(ids), expected)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert trainable == [name for name, p in model.named_parameters() if p.requires_grad]
    assert added == list(delta(model)) and bool(added) == bool(old)


def test_what_was_added_does_not_hang_on_what_is_trainable(base, tmp_path):
    model = changed(CONFIGS[0])
    expected, fingerprint = delta(model).keys(), base_fingerprint(model)
    for trainable in (False, True):
        save_delta(tmp_path / "delta.pt", model.requires_grad_(trainable), base)
        saved = torch.load(tmp_path / "delta.pt", weights_only=True)
        assert saved["weights"].keys() == expected and saved["fingerprint"] == fingerprint


def test_rows_that_were_drawn_do_not_bind_a_delta(tmp_path):
    save_gpt2(tmp_path / "gpt2", small_model(), TOKENIZER)
    config = json.loads((tmp_path / "gpt2" / "tokenizer.json").read_text(encoding="utf-8"))
    config["added_tokens"] = config["added_tokens"][:1]
    (tmp_path / "gpt2" / "tokenizer.json").write_text(json.dumps(config), encoding="utf-8")
    weights = torch.load(tmp_path / "gpt2" / "pytorch_model.bin", weights_only=True)
    for name in ("transformer.wte.weight", "lm_head.weight"):
        weights[name] = weights[name][:257].clone()
    torch.save(weights, tmp_path / "gpt2" / "pytorch_model.bin")
    sizes = json.loads((tmp_path / "gpt2" / "config.json").read_text(encoding="utf-8")) | {"vocab_size": 257}
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    model, _ = open_model(tmp_path / "gpt2")
    with torch.no_grad():
        model.wte.weight[257:] *= 1 + 1e-6  # as another machine may draw them
    save_delta(tmp_path / "delta.pt", add_peft(model, LoRAConfig(r=1)), tmp_path / "gpt2")
    assert open_model(tmp_path)[0].peft_config == LoRAConfig(r=1)
    with torch.no_grad():
        model.wte.weight[256] += 1e-6
    with pytest.raises(ValueError, match="another base"):
        load_delta(tmp_path / "delta.pt", model)


def test_nothing_to_save_and_a_merged_change_are_refused(base, tmp_path):
    with pytest.raises(ValueError, match="nothing was added"):
        save_delta(tmp_path / "delta.pt", small_model(), base)
    with pytest.raises(ValueError, match="unmerge"):
        save_delta(tmp_path / "delta.pt", merge(changed(CONFIGS[0])), base)
    save_delta(tmp_path / "delta.pt", changed(CONFIGS[0]), base)
    with pytest.raises(ValueError, match="unmerge"):
        load_delta(tmp_path / "delta.pt", merge(changed(CONFIGS[0])))
    with pytest.raises(ValueError, match="save_delta keeps it"):
        save_model(tmp_path / "model.pt", changed(CONFIGS[0]), TOKENIZER)
    with pytest.raises(ValueError, match=r"holds 'minisft model 1', expected 'minisft delta 1'"):
        load_delta(base, small_model())


ROWS = [json.dumps({"prompt": f"{n}?", "completion": f"{n}"}) for n in range(10, 26)]
TRIED = {"lora": ["r=2"], "adapter": ["bottleneck=3", "layer_norms=yes"], "prefix": ["P=3", "hidden=4"],
         "prompt": ["P=3", "start=text", "text=abc"]}


def run(base, tmp_path, method, *flags, name="run"):
    (tmp_path / "rows.jsonl").write_text("\n".join(ROWS), encoding="utf-8")
    train.main(["--base", str(base), "--data", str(tmp_path / "rows.jsonl"), "--device", "cpu", "--batch-size", "4",
                "--out", str(tmp_path / name), "--method", method, *flags])
    return tmp_path / name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pack", [[], ["--pack"]])
def test_train_evaluate_and_chat_work_with_every_method(method, pack, base, tmp_path, capsys):
    kept = base.read_bytes()
    folder = run(base, tmp_path, method, "--steps", "4", "--settings", *TRIED[method], *pack)
    shown = capsys.readouterr().out
    assert "trainable parameters" in shown and "optimizer state, bytes" in shown
    assert base.read_bytes() == kept and (folder / "delta.pt").stat().st_size < 50_000
    assert not (folder / "model.pt").exists()
    with pytest.raises(SystemExit, match="already holds a run"):
        run(base, tmp_path, method)
    evaluate.main(["--model", str(folder), "--data", str(tmp_path / "rows.jsonl"), "--device", "cpu"])
    assert "of 16" in capsys.readouterr().out
    chat.main(["--model", str(folder), "--prompt", "10?", "--max-new-tokens", "3", "--device", "cpu"])
    with pytest.raises(SystemExit, match="A LoRA delta can be merged into one model first"):
        run(folder, tmp_path, "full", name="more")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pack", [[], ["--pack"]])
def test_a_stopped_run_goes_on_to_the_same_bits(method, pack, base, tmp_path, monkeypatch):
    flags = ["--steps", "6", *pack, "--settings", *TRIED[method]]
    whole = run(base, tmp_path, method, *flags, name="whole")
    original = train.train_in

    def stop_early(folder, training, *rest):
        original(folder, replace(training, steps=3), *rest)
        return False

    monkeypatch.setattr(train, "train_in", stop_early)
    stopped = run(base, tmp_path, method, *flags, name="stopped")
    monkeypatch.undo()
    with pytest.raises(SystemExit, match=f"--settings x=1 differs from the {TRIED[method][0]}"):
        train.main(["--resume", "--out", str(stopped), "--settings", "x=1"])
    train.main(["--resume", "--out", str(stopped), "--device", "cpu"])
    a, b = (torch.load(folder / "delta.pt", weights_only=True)["weights"] for folder in (whole, stopped))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_gpt2_folder_is_a_base_to_train_resume_and_chat_on(tmp_path, capsys, monkeypatch):
    save_gpt2(tmp_path / "gpt2", small_model(), TOKENIZER)
    original = train.train_in
    monkeypatch.setattr(train, "train_in", lambda folder, training, *rest: original(
        folder, replace(training, steps=2), *rest) and False)
    folder = run(tmp_path / "gpt2", tmp_path, "lora", "--steps", "4")
    monkeypatch.undo()
    train.main(["--resume", "--out", str(folder), "--device", "cpu"])
    assert "changed" not in capsys.readouterr().err and (folder / "delta.pt").stat().st_size < 50_000
    chat.main(["--model", str(folder), "--prompt", "10?", "--max-new-tokens", "3", "--device", "cpu"])
    assert open_model(folder)[0].peft_config == LoRAConfig()


def test_a_base_that_changed_since_is_not_gone_on_with(base, tmp_path, monkeypatch):
    original = train.train_in
    monkeypatch.setattr(train, "train_in", lambda *rest, **named: original(*rest, **named) and False)
    stopped = run(base, tmp_path, "lora", "--steps", "2")
    with pytest.raises(ValueError, match="holds no model: .*not finished, continue it with --resume --out"):
        open_model(stopped)
    save_model(base, small_model(seed=7), TOKENIZER)
    with pytest.raises(SystemExit, match="base, tokenizer or data differ from those"):
        train.main(["--resume", "--out", str(stopped), "--device", "cpu"])


@pytest.mark.parametrize("method", METHODS)
def test_what_a_report_calls_before_is_the_base(method, base, tmp_path):
    (tmp_path / "asked.jsonl").write_text("\n".join(ROWS[:2]), encoding="utf-8")
    asked = ["--steps", "1", "--eval", str(tmp_path / "asked.jsonl")]
    reports = [run(base, tmp_path, name, *asked, *flags, name=name) / "results.json"
               for name, flags in (("full", []), (method, ["--settings", *TRIED[method]]))]
    before = [json.loads(report.read_text(encoding="utf-8"))["before"] for report in reports]
    assert before[0] == before[1] and before[0]["loss"]


@pytest.mark.parametrize("method", ["full", *METHODS])
def test_each_method_has_a_rate_of_its_own(method, base, tmp_path):
    folder = run(base, tmp_path, method, "--steps", "4", *(["--settings", "P=2"] if method[0] == "p" else []))
    highest = max(json.loads(line)["lr"] for line in (folder / "log.jsonl").read_text().splitlines())
    assert highest == pytest.approx(METHODS[method].lr if method in METHODS else 5e-4)


def test_a_model_tuned_in_full_is_kept_whole(base, tmp_path):
    folder = run(base, tmp_path, "full", "--steps", "2")
    assert load_model(folder)[0].config == small_model().config and not (folder / "delta.pt").exists()


@pytest.mark.parametrize("method, words, message", [
    ("lora", ["rank=4"], r"'rank=4' is none of the settings: targets=.*r=8, alpha=16"),
    ("lora", ["r=many"], "r cannot be 'many'; a setting looks like r=8"),
    ("lora", ["r=4", "r=8"], "r is set twice, to 4 and to 8"),
    ("lora", ["r"], "'r' is none of the settings"), ("adapter", ["layer_norms=perhaps"], "layer_norms=no"),
    ("prefix", ["P=0"], "P must be at least 1"), ("lora", ["targets=mlp.c_proj,ln_1"], "targets must be some of"),
])
def test_a_wrong_setting_says_which_there_are(method, words, message):
    with pytest.raises(ValueError, match=message):
        from_assignments(METHODS[method], words)


def test_settings_without_a_method_are_refused(capsys):
    with pytest.raises(SystemExit):
        train.main(["--settings", "r=4"])
    assert "name one with --method (lora, adapter, prefix, prompt)" in capsys.readouterr().err
