"""Write a tuned model in the formats that people use: a GPT-2 folder, or a PEFT folder with its base beside it.

    python -m minisft.export --model checkpoints/run-1 --out mine            whole model -> GPT-2 folder
    python -m minisft.export --model checkpoints/run-2 --out mine            delta -> PEFT folder, its base in mine/base
    python -m minisft.export --model checkpoints/run-2 --out mine --merge    LoRA merged -> GPT-2 folder

Both load in transformers and peft, tokenizer and chat template included; a merged LoRA can be tuned on as `--base`.
"""

from dataclasses import dataclass
from pathlib import Path

from minisft.config import option, parse
from minisft.interop import save_gpt2, save_peft
from minisft.models import open_chosen
from minisft.peft import has_peft, merge, remove_peft


@dataclass(frozen=True)
class ExportConfig:
    model: str = option("", "run folder or file, or PEFT folder; by default the newest run in checkpoints/")
    out: str = option("", "folder to write, which must not exist or be empty")
    merge: bool = option(False, "put LoRA's change into the weights and write one model")

    def __post_init__(self):
        if not self.out:
            raise ValueError("--out is missing: name the folder to write")


def export(config):
    """Write the folder; returns the lines to print."""
    model, tokenizer = open_chosen(config.model)
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; name another folder with --out")
    if config.merge:
        model = remove_peft(merge(model), keep_merged=True)
    if not has_peft(model):
        save_gpt2(out, model, tokenizer)
        return [f"wrote a GPT-2 folder: {out}; <|user|>, <|assistant|> and <|end|> are among its tokens",
                f'    model = transformers.AutoModelForCausalLM.from_pretrained("{out.as_posix()}")', *ask(out)]
    base = out / "base"
    save_peft(out, model, base.resolve().as_posix())  # first, as it may be refused
    save_gpt2(base, remove_peft(model), tokenizer)
    return [f"wrote a PEFT folder: {out}, with its base in {base}",
            f'    base = transformers.AutoModelForCausalLM.from_pretrained("{base.as_posix()}")',
            f'    model = peft.PeftModel.from_pretrained(base, "{out.as_posix()}")', *ask(base)]


def ask(folder):
    """Lines that ask a model with the chat template of a folder."""
    return [f'    tokenizer = transformers.AutoTokenizer.from_pretrained("{folder.as_posix()}")',
            '    asked = tokenizer.apply_chat_template([{"role": "user", "content": "What is 3 plus 4?"}], '
            'add_generation_prompt=True, return_tensors="pt", return_dict=True)',
            "    print(tokenizer.decode(model.generate(**asked, max_new_tokens=50)[0]))"]


def main(argv=None):
    config = parse(ExportConfig, argv, "export", "Write a tuned model as a GPT-2 or PEFT folder.")
    try:
        print("\n".join(export(config)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.export: {error}") from None


if __name__ == "__main__":
    main()
