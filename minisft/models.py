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
from minisft.interop import how_to_download, is_gpt2, is_peft, load_gpt2, load_peft, peft_base
from minisft.peft import has_peft, save_delta
from minisft.peft.files import DELTA, base_of, put_delta
from minisft.run import MODEL_FILES, RUNS, newest_model, read_results, run_of
from minisft.shipped import TUNED, are_of_town

NOT_WHOLE = ("{} is only a change of a base, so it cannot be a base itself; name the whole model "
             "under it")


def open_model(path, whole=False):
    """(model in evaluation mode, tokenizer) of a path. ValueError says what is wrong with it.

    whole: the path must not name a delta or a PEFT folder, as that of a base must not.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected a model file, a run folder, or a GPT-2 "
                         f"or PEFT folder{hub_hint(path)}")
    if path.is_dir() and is_peft(path):
        if whole:
            raise ValueError(NOT_WHOLE.format(path))
        base = peft_base(path)
        in_one = base.samefile(path) and is_gpt2(path)
        model, tokenizer = load_gpt2(path) if in_one else open_model(base, whole=True)
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
    if whole:
        raise ValueError(NOT_WHOLE.format(path))
    try:
        model, tokenizer = open_model(base_of(content), whole=True)
    except ValueError as error:
        raise ValueError(f"the base of {path} cannot be opened: {error}") from None
    return put_delta(content, path, model), tokenizer


def hub_hint(path):
    """How to download a model, if this may be its name on the hub: "gpt2", "owner/name"."""
    is_ours = path.suffix == ".pt" or len(path.parts) == 2 and path.parent.exists()
    if is_ours or path.is_absolute() or len(path.parts) > 2:
        return ""
    return f"; {how_to_download(path.as_posix())}"


def chosen_path(path):
    """The path of --model; for an empty one the newest run that is done, or else what ships.

    Which one that is goes to standard error.
    """
    if path:
        return path
    newest = newest_model(RUNS, "run")
    if newest:
        path, what = relpath(newest), "the newest run"
    else:
        path, what = TUNED, "which ships with minisft: it was tuned on the town's data"
    print(f"model: {path}, {what}; name another with --model", file=sys.stderr)
    return path


def open_chosen(path):
    """As `open_model`, of the `chosen_path`."""
    return open_model(chosen_path(path))


def is_of_shipped_data(path):
    """Whether a model is the tuned one that ships, or was made by a run on the shipped data.

    A run notes its files as they are seen from the folder in which it began. From elsewhere this
    answers no.
    """
    if Path(TUNED).exists() and Path(path).samefile(TUNED):
        return True
    folder = run_of(path)
    settings = read_results(folder).get("settings", {}) if folder else {}
    return are_of_town(settings.get("data", ()))


def save_tuned(folder, model, tokenizer, base):
    """Write model.pt, or the delta alone if a method was added to the model of the path `base`."""
    if has_peft(model):
        save_delta(f"{folder}/{MODEL_FILES[1]}", model, base)
    else:
        save_model(f"{folder}/{MODEL_FILES[0]}", model, tokenizer)
