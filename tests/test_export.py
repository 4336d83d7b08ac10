"""PEFT folders in and out, and the export command, against the libraries peft and transformers."""

import json
import shlex
import warnings
from dataclasses import asdict

import peft
import pytest
import torch
import transformers
from conftest import random_ids, tiny_model, to_transformers

from minisft import export, models, train
from minisft.checkpoint import read_state, save_model
from minisft.config import parse
from minisft.device import describe_machine
from minisft.generate import generate
from minisft.interop import load_gpt2, load_peft, save_gpt2
from minisft.models import open_model
from minisft.peft import (
    AdapterConfig,
    LoRAConfig,
    PrefixConfig,
    PromptConfig,
    add_peft,
    delta,
    save_delta,
)
from minisft.tokenizer import Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
IDS = random_ids(2, 9, vocab_size=200)
CONFIGS = [
    LoRAConfig(r=3, alpha=5.0),
    LoRAConfig(("attn.c_proj",), r=2, sqrt_r=True, dropout=0.1),
    LoRAConfig(("h.1.attn.c_proj", "mlp.c_fc"), r=2),
    PrefixConfig(3),
    PrefixConfig(3, hidden=4),
    PromptConfig(3),
]


@pytest.fixture
def run(tmp_path):
    """run(config): folder of a base and a delta on it; random numbers are added to the delta."""
    def make(config):
        save_model(tmp_path / "base.pt", small_model(), TOKENIZER)
        torch.manual_seed(0)
        model = add_peft(small_model(), config)
        for weight in delta(model).values():
            weight.add_(torch.randn_like(weight) * 0.3)
        save_delta(tmp_path / "delta.pt", model, tmp_path / "base.pt")
        return str(tmp_path)
    return make


def small_model():
    return tiny_model(0, torch.float32, vocab_size=TOKENIZER.vocab_size)


def change_base(folder, name):
    """Let the adapter_config.json of a PEFT folder name another base."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": name}))


def logits(model):
    """The logits of IDS; those of a soft prompt's rows, which peft gives too, are cut off."""
    found = model(IDS)
    found = getattr(found, "logits", found)
    return found[:, -IDS.shape[1]:]


def library_model(base, folder=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
        if folder:
            model = peft.PeftModel.from_pretrained(model, folder)
    return model.eval()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_what_is_exported_peft_loads_and_it_comes_back(config, run, tmp_path, capsys):
    source, out = run(config), tmp_path / "out"
    export.main(["--model", source, "--out", str(out)])
    expected = logits(open_model(source)[0])
    theirs = library_model(out / "base", out)
    assert (logits(theirs) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (logits(open_model(out)[0]) - expected).abs().max() < 1e-5
    shown = capsys.readouterr().out
    assert f'from_pretrained(base, "{out.as_posix()}")' in shown and "apply_chat_template" in shown
    written = json.loads((out / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(out / "base")
    change_base(out, "gone/base")
    assert (logits(open_model(out)[0]) - expected).abs().max() < 1e-5, "the base beside it is found"


@pytest.mark.parametrize("config", CONFIGS[:3], ids=str)
def test_a_merged_export_is_one_model_of_the_same_logits(config, run, tmp_path):
    source, out = run(config), tmp_path / "out"
    expected = logits(open_model(source)[0])
    export.main(["--model", source, "--out", str(out), "--merge"])
    assert (logits(library_model(out)) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (logits(open_model(out)[0]) - expected).abs().max() < 1e-5
    answers = library_model(out).generate(IDS, max_new_tokens=6, eos_token_id=None)
    assert generate(open_model(source)[0], IDS.tolist(), 6) == answers[:, IDS.shape[1]:].tolist()


def test_settings_that_further_training_needs_are_written_too(run, tmp_path):
    export.main(["--model", run(CONFIGS[1]), "--out", str(tmp_path / "out")])
    config = peft.PeftConfig.from_pretrained(tmp_path / "out")
    assert (config.r, config.lora_alpha, config.lora_dropout) == (2, 16.0, 0.1)
    assert config.use_rslora and config.fan_in_fan_out
    assert config.target_modules == {"attn.c_proj"} and config.task_type == "CAUSAL_LM"


def test_a_model_tuned_in_full_is_exported_as_it_is(tmp_path, capsys):
    save_model(tmp_path / "run" / "model.pt", small_model(), TOKENIZER)
    export.main(["--model", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    assert (logits(library_model(tmp_path / "out")) - logits(small_model())).abs().max() < 1e-5
    assert "AutoModelForCausalLM" in capsys.readouterr().out


LIBRARY = [
    peft.LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=7, target_modules=["c_attn", "c_fc"]),
    peft.LoraConfig(task_type="CAUSAL_LM", r=2, use_rslora=True, target_modules=["c_proj"]),
    peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["c_fc"], layers_to_transform=[1]),
    peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, prefix_projection=True,
                            encoder_hidden_size=6),
    peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
]


def library_folder(config, folder):
    """A folder that peft wrote, its base beside it, and the model."""
    base = small_model()
    save_gpt2(folder / "base", base, TOKENIZER)
    torch.manual_seed(0)
    theirs = peft.get_peft_model(to_transformers(base, "eager"), config)
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.3)
    theirs.peft_config["default"].base_model_name_or_path = str(folder / "base")
    theirs.save_pretrained(folder)
    return theirs.eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config", LIBRARY, ids=lambda config: config.peft_type.value)
def test_what_peft_wrote_comes_in(config, tmp_path):
    theirs = library_folder(config, tmp_path)
    expected = logits(theirs)
    assert (logits(open_model(tmp_path)[0]) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config, message", [
    (dict(use_dora=True), "use_dora is True"),
    (dict(bias="all"), "bias is 'all'"),
    (dict(init_lora_weights="pissa"), "is 'pissa', which changed the base's own weights"),
    (dict(init_lora_weights="pissa_niter_4"), "init_lora_weights is 'pissa_niter_4'"),
    (dict(init_lora_weights="olora"), "init_lora_weights is 'olora'"),
    (dict(rank_pattern={"c_fc": 5}), "rank_pattern is"),
    (dict(modules_to_save=["ln_f"]), "modules_to_save is"),
])
def test_what_we_cannot_compute_is_refused(config, message, tmp_path):
    lora = peft.LoraConfig(task_type="CAUSAL_LM", r=3, target_modules=["c_fc"], **config)
    library_folder(lora, tmp_path)
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_base_that_is_not_there_is_asked_for(tmp_path):
    library_folder(LIBRARY[0], tmp_path)
    change_base(tmp_path, "gpt2")
    message = "base_model_name_or_path is 'gpt2', expected the path of a folder"
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path)
    model = load_peft(tmp_path, load_gpt2(tmp_path / "base")[0])
    assert model.peft_config.r == 3


def test_an_adapter_is_refused_with_the_reason(run, tmp_path):
    source = run(AdapterConfig(3))
    for flags, message in (
            ([], "PEFT has no format for bottleneck adapters"),
            (["--merge"], "only LoRA changes")):
        with pytest.raises(SystemExit, match=message):
            export.main(["--model", source, "--out", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_without_a_name_the_newest_run_is_taken_and_named(tmp_path, monkeypatch, capsys):
    save_model(tmp_path / "checkpoints" / "run-3" / "model.pt", small_model(), TOKENIZER)
    monkeypatch.setattr(models, "RUNS", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    export.main(["--out", str(tmp_path / "out")])
    assert "model: checkpoints/run-3/model.pt" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    message = "empty holds no model: no model.pt or delta.pt, and it is no GPT-2 or PEFT"
    with pytest.raises(SystemExit, match=message):
        export.main(["--out", str(tmp_path / "more"), "--model", "empty"])


@pytest.fixture
def whole_run(tmp_path):
    """Flags that name a run of two steps, tuned in full."""
    save_model(tmp_path / "base.pt", small_model(), TOKENIZER)
    row = {"prompt": "a", "completion": "b", "split": "new"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    files = ["--base", str(tmp_path / "base.pt"), "--data", str(tmp_path / "rows.jsonl")]
    train.main([*files, "--eval", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "run-1"),
                "--steps", "2", "--seed", "7", "--train-unseen", "--device", "cpu"])
    return ["--model", str(tmp_path / "run-1")]


@pytest.mark.parametrize("out", ["tuned", "tuned.pt"])
def test_a_run_becomes_a_file_in_half_precision_with_its_card(whole_run, tmp_path, capsys, out):
    export.main([*whole_run, "--out", str(tmp_path / out), "--half"])
    assert f"wrote {tmp_path / 'tuned.pt'} in half precision" in capsys.readouterr().out
    stored = torch.load(tmp_path / "tuned.pt", weights_only=True)["weights"]
    tuned = open_model(whole_run[1])[0].state_dict()
    assert all(torch.equal(stored[name], weight.half()) for name, weight in tuned.items())
    assert open_model(tmp_path / "tuned.pt")[0].wte.weight.dtype == torch.float32

    card = json.loads((tmp_path / "tuned.json").read_text(encoding="utf-8"))
    results = json.loads((tmp_path / "run-1" / "results.json").read_text(encoding="utf-8"))
    (_, _, old, n), (_, _, new, _) = results["before"]["counts"][0], results["after"]["counts"][0]
    assert card["exact_match"] == {"new": {"before": old / n, "after": new / n, "questions": 1}}
    assert card["seed"] == 7 and card["steps"] == 2 and card["seconds"] >= 0
    assert card["machine"] == describe_machine(torch.device("cpu"))
    again = parse(train.TrainConfig, shlex.split(card["command"])[3:], "train", "")
    first = read_state(tmp_path / "run-1" / "state.pt")["settings"]["config"]
    assert asdict(again) | {"out": first["out"], "device": "cpu"} == first


def test_half_precision_is_for_whole_runs_and_writes_over_nothing(whole_run, run, tmp_path):
    for flags, message in (
            (["--model", str(tmp_path / "base.pt")], "base.pt is not a whole run that says how"),
            (["--model", run(CONFIGS[0]) + "/delta.pt"], "add --merge for LoRA"),
            ([*whole_run, "--out", str(tmp_path / "base")], "base.pt already exists")):
        with pytest.raises(SystemExit, match=message):
            export.main(["--out", str(tmp_path / "tuned"), *flags, "--half"])
    assert not list(tmp_path.glob("tuned*"))


def test_a_folder_with_something_in_it_is_not_written_over(run, tmp_path, capsys):
    source = run(CONFIGS[0])
    with pytest.raises(SystemExit, match="already exists"):
        export.main(["--model", source, "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        export.main(["--model", source])
    assert "--out is missing" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, change, message", [
    ("adapter_config.json", {"r": None}, "adapter_config.json: r must be a whole number, got None"),
    ("adapter_config.json", {"lora_alpha": "x"}, "alpha must be a finite number, got 'x'"),
    ("adapter_config.json", {"base_model_name_or_path": 3},
     "base_model_name_or_path is '3', expected the path"),
    ("adapter_config.json", [], "holds a list, expected an object"),
    ("base/config.json", [], "holds a list"),
    ("base/config.json", dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop")),
     "expected one number for all"),
])
def test_a_folder_changed_by_hand_is_refused(name, change, message, tmp_path):
    library_folder(LIBRARY[0], tmp_path)
    content = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps(content | change if change else []))
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_delta_in_the_folder_of_its_base_is_opened(tmp_path):
    expected = logits(library_folder(LIBRARY[0], tmp_path))
    for path in (tmp_path / "base").iterdir():
        path.rename(tmp_path / path.name)
    change_base(tmp_path, str(tmp_path))
    assert (logits(open_model(tmp_path)[0]) - expected).abs().max() < 1e-5 * expected.abs().max()
