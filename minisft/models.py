"""Open any model that a path can name, and keep a tuned one.

    run folder or file of ours      model.pt, or delta.pt with the base it was trained on
    GPT-2 folder                    config.json and weights, as transformers writes them
    PEFT folder                     adapter_config.json and weights, as the library peft writes them
"""

import sys
from os.path import relpath
from pathlib import Path
from shlex import quote

from minisft.checkpoint import MODEL, model_in, read_file, save_model
from minisft.interop import is_gpt2, is_peft, load_gpt2, load_peft, peft_base
from minisft.peft import has_peft, save_delta
from minisft.peft.files import DELTA, base_of, put_delta
from minisft.run import MODEL_FILES, RUNS, newest_model


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
        if not any((path / name).is_file() for name in MODEL_FILES):
            hint = ""
            if (path / "state.pt").is_file():
                hint = ("; its training is not finished, continue it with --resume --out "
                        f"{quote(str(path))}")
            raise ValueError(f"{path} holds no model: no {' or '.join(MODEL_FILES)}, and it is no "
                             f"GPT-2 or PEFT folder{hint}")
        path = path / next(name for name in MODEL_FILES if (path / name).is_file())
    content = read_file(path, MODEL, DELTA)
    if content["kind"] == MODEL:
        return model_in(content, path)
    try:
        model, tokenizer = open_model(base_of(content))
    except ValueError as error:
        raise ValueError(f"the base of {path} cannot be opened: {error}") from None
    return put_delta(content, path, model), tokenizer


def open_chosen(path):
    """As `open_model`; an empty path means the newest run that is done.

    Its path is printed to standard error.
    """
    if not path:
        path = newest_model(RUNS, "run")
        print(f"model: {relpath(path)}, the newest run; name another with --model", file=sys.stderr)
    return open_model(path)


def save_tuned(folder, model, tokenizer, base):
    """Write model.pt, or the delta alone if a method was added to the model of the path `base`."""
    if has_peft(model):
        save_delta(f"{folder}/{MODEL_FILES[1]}", model, base)
    else:
        save_model(f"{folder}/{MODEL_FILES[0]}", model, tokenizer)
