"""Write a tuned model in the formats that people use: a GPT-2 folder, or a PEFT folder and a base.

    python -m minisft.export --model checkpoints/run-1 --out mine
        a model tuned in full -> a GPT-2 folder
    python -m minisft.export --model checkpoints/run-2 --out mine
        a delta -> a PEFT folder, with its base in mine/base
    python -m minisft.export --model checkpoints/run-2 --out mine --merge
        LoRA, merged into its base -> a GPT-2 folder

transformers and peft load both, with the tokenizer and the chat template. A merged LoRA can also be
tuned further, as `--base`.
"""

from dataclasses import dataclass
from pathlib import Path

from minisft.config import option, parse
from minisft.interop import save_gpt2, save_peft
from minisft.models import open_chosen
from minisft.peft import has_peft, merge, remove_peft

LOAD_MODEL = "transformers.AutoModelForCausalLM.from_pretrained"
LOAD_TOKENIZER = "transformers.AutoTokenizer.from_pretrained"


@dataclass(frozen=True)
class ExportConfig:
    model: str = option(
        "", "run folder or file, or PEFT folder; by default the newest run in checkpoints/")
    out: str = option("", "folder to write; it must be new or empty")
    merge: bool = option(False, "put LoRA's change into the weights and write one model")

    def __post_init__(self):
        if not self.out:
            raise ValueError("--out is missing: name the folder to write")


def export(config):
    """Write the folder; returns the lines to print, among them Python that loads the model."""
    model, tokenizer = open_chosen(config.model)
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; name another folder with --out")

    if config.merge:
        model = remove_peft(merge(model), keep_merged=True)
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
    description = "Write a tuned model as a GPT-2 or PEFT folder."
    config = parse(ExportConfig, argv, "python -m minisft.export", description)
    try:
        print("\n".join(export(config)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.export: {error}") from None


if __name__ == "__main__":
    main()
