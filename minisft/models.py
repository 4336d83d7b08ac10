"""Any model that a path can name, opened; a tuned one, kept.

    run folder or file of ours      model.pt, or delta.pt with the base it was trained on
    GPT-2 folder                    config.json and weights, as transformers writes them
    PEFT folder                     adapter_config.json and weights, as the library peft writes them
"""

import sys
from os.path import relpath
from pathlib import Path
from shlex import quote

from minisft.checkpoint import MODEL, model_in, read_file, save_model
from minisft.config import ROOT
from minisft.interop import is_gpt2, is_peft, load_gpt2, load_peft, peft_base
from minisft.peft import has_peft, save_delta
from minisft.peft.files import DELTA, base_of, put_delta
from minisft.run import TUNED, newest_model


def open_model(path):
    """(model in evaluation mode, tokenizer) of a path. ValueError says what is wrong with it."""
    path = Path(path)
    if path.is_dir() and is_peft(path):
        base = peft_base(path)
        model, tokenizer = load_gpt2(path) if base.samefile(path) else open_model(base)
        return load_peft(path, model), tokenizer
    if path.is_dir() and is_gpt2(path):
        return load_gpt2(path)
    if path.is_dir():
        if not any((path / name).is_file() for name in TUNED):
            unfinished = f"; its training is not finished, go on with --resume --out {quote(str(path))}"
            raise ValueError(f"{path} holds no model: no {' or '.join(TUNED)}, and it is no GPT-2 or PEFT folder"
                             f"{unfinished if (path / 'state.pt').is_file() else ''}")
        path = path / next(name for name in TUNED if (path / name).is_file())
    content = read_file(path, MODEL, DELTA)
    if content["kind"] == MODEL:
        return model_in(content, path)
    try:
        model, tokenizer = open_model(base_of(content))
    except ValueError as error:
        raise ValueError(f"the base of {path} cannot be opened: {error}") from None
    return put_delta(content, path, model), tokenizer


def open_chosen(path):
    """As `open_model`; if the path is empty, the newest finished run, which is named on the standard error stream."""
    if not path:
        path = newest_model(ROOT / "checkpoints", "run")
        print(f"model: {relpath(path)}", file=sys.stderr)
    return open_model(path)


def save_tuned(folder, model, tokenizer, base):
    """Write model.pt, or the delta alone if a method was added to the model of the path `base`."""
    if has_peft(model):
        save_delta(f"{folder}/{TUNED[1]}", model, base)
    else:
        save_model(f"{folder}/{TUNED[0]}", model, tokenizer)
