"""Write a tuned model in the formats that people use: a GPT-2 folder, or a PEFT folder and a base.

    python -m minisft.export --model checkpoints/run-1 --out mine
        a model tuned in full -> a GPT-2 folder
    python -m minisft.export --model checkpoints/run-2 --out mine
        a delta -> a PEFT folder, with its base in mine/base
    python -m minisft.export --model checkpoints/run-2 --out mine --merge
        LoRA, merged into its base -> a GPT-2 folder
    python -m minisft.export --model checkpoints/run-1 --out checkpoints/tuned --half
        a run -> tuned.pt in half precision, and tuned.json, which says how it was made

transformers and peft load the folders, with the tokenizer and the chat template. A merged LoRA can
also be tuned further, as `--base`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from minisft.checkpoint import save_model, write_atomically
from minisft.config import option, parse
from minisft.interop import save_gpt2, save_peft
from minisft.models import chosen_path, open_model
from minisft.peft import has_peft, merge, remove_peft
from minisft.report import counts_of
from minisft.run import read_log, read_results, run_of

LOAD_MODEL = "transformers.AutoModelForCausalLM.from_pretrained"
LOAD_TOKENIZER = "transformers.AutoTokenizer.from_pretrained"


@dataclass(frozen=True)
class ExportConfig:
    model: str = option(
        "", "run folder or file, or PEFT folder; by default the newest run in checkpoints/, or "
        "else the tuned model that ships")
    out: str = option("", "folder to write; it must be new or empty")
    merge: bool = option(False, "put LoRA's change into the weights and write one model")
    half: bool = option(False, "write no folder but the file OUT.pt, a model of our own format in "
                               "half precision, and its card OUT.json")

    def __post_init__(self):
        if not self.out:
            raise ValueError("--out is missing: name the folder to write")


def export(config):
    """Write folder or files; returns the lines to print, among them Python that loads a folder."""
    path = chosen_path(config.model)
    model, tokenizer = open_model(path)
    out = Path(config.out)
    if not config.half and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; name another folder with --out")

    if config.merge:
        model = remove_peft(merge(model), keep_merged=True)
    if config.half:
        return export_half(model, tokenizer, path, config.out.removesuffix(".pt"))
    if has_peft(model):
        return export_delta(model, tokenizer, out)
    return export_whole(model, tokenizer, out)


def export_whole(model, tokenizer, out):
    """Write a GPT-2 folder; returns the lines to print."""
    save_gpt2(out, model, tokenizer)
    return [
        f"wrote a GPT-2 folder: {out}; <|user|>, <|assistant|> and <|end|> are among its tokens",
        f'    model = {LOAD_MODEL}("{out.as_posix()}")',
        *ask(out),
    ]


def export_delta(model, tokenizer, out):
    """Write a PEFT folder with its base beside it; returns the lines to print."""
    base = out / "base"
    # The delta goes first: `save_peft` refuses what PEFT cannot hold, and then nothing is written.
    save_peft(out, model, base.resolve().as_posix())
    save_gpt2(base, remove_peft(model), tokenizer)
    return [
        f"wrote a PEFT folder: {out}, with its base in {base}",
        f'    base = {LOAD_MODEL}("{base.as_posix()}")',
        f'    model = peft.PeftModel.from_pretrained(base, "{out.as_posix()}")',
        *ask(base),
    ]


def export_half(model, tokenizer, path, out):
    """Write out.pt in half precision and out.json; returns the lines to print.

    path: of the model, which must be that of a whole run.
    """
    for file in (f"{out}.pt", f"{out}.json"):
        if Path(file).exists():
            raise ValueError(f"{file} already exists; name another with --out")
    if has_peft(model):
        raise ValueError(f"{path} is a base with a delta, and --half writes whole models only; add "
                         "--merge for LoRA, or leave --half out")
    card = card_of(path)
    save_model(f"{out}.pt", model, tokenizer, torch.float16)
    write_atomically(f"{out}.json", (json.dumps(card, indent=2) + "\n").encode())
    return [f"wrote {out}.pt in half precision, and {out}.json, which says how it was made"]


def card_of(path):
    """How the model of a path was made, and its exact match in its own run, as plain values.

    The exact match was measured before halving.
    """
    folder = run_of(path)
    results = read_results(folder) if folder else {}
    if "settings" not in results:
        raise ValueError(f"{path} is not a whole run that says how it was made; name the folder of "
                         "one with --model")
    log, settings = read_log(folder), results["settings"]
    old, new = counts_of(results["before"]), counts_of(results["after"])
    return {
        "command": settings["command"], "seed": settings["seed"], "steps": len(log),
        "seconds": round(sum(row["seconds"] for row in log)), "machine": settings["machine"],
        "exact_match": {
            split: {"before": round(old[split, task][0] / n, 4), "after": round(right / n, 4),
                    "questions": n}
            for (split, task), (right, n) in new.items() if task == "all"},
    }


def ask(folder):
    """Lines of Python that ask the loaded model a question, with the chat template of a folder."""
    return [
        f'    tokenizer = {LOAD_TOKENIZER}("{folder.as_posix()}")',
        '    asked = tokenizer.apply_chat_template('
        '[{"role": "user", "content": "What is 3 plus 4?"}], '
        'add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        "    print(tokenizer.decode(model.generate(**asked, max_new_tokens=50)[0]))",
    ]


def main(argv=None):
    description = "Write a tuned model as a GPT-2 or PEFT folder, or as one file."
    config = parse(ExportConfig, argv, "python -m minisft.export", description)
    try:
        print("\n".join(export(config)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.export: {error}") from None


if __name__ == "__main__":
    main()
