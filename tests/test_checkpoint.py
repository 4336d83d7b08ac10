"""Files of models and trainings: written whole or not at all, read exactly, refused if damaged."""

import builtins
import itertools
import os
import pickle
import random
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from kill_and_resume import CONTEXT

from minisft import checkpoint
from minisft.checkpoint import (
    load_model,
    read_state,
    remove_leftovers,
    restore,
    save_model,
    save_state,
    write_atomically,
)
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW, parameter_groups
from minisft.tokenizer import Tokenizer, train_bpe

OLD, NEW = b"old" * 1000, b"the new content" * 2000


def make_model(seed=0, **sizes):
    torch.manual_seed(seed)
    usual = {"vocab_size": 267, "block_size": 12, "n_layer": 2, "n_head": 2, "n_embd": 8,
             "dropout": 0.1}
    return GPT(GPTConfig(**usual | sizes))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_bpe(["banana bandana 香蕉香蕉 banana"], 262))


@pytest.fixture
def saved(tmp_path, tokenizer):
    save_model(tmp_path / "model.pt", make_model(), tokenizer)
    return tmp_path / "model.pt"


@pytest.fixture
def saved_state(tmp_path):
    model = make_model()
    save_state(tmp_path / "state.pt", model, AdamW(model.parameters()), 0, {})
    return tmp_path / "state.pt"


# Models


@pytest.mark.parametrize("by_folder", [False, True])
def test_a_model_is_loaded_to_the_bit_with_its_config_and_tokenizer(saved, tokenizer, by_folder):
    model = make_model()
    found, its_tokenizer = load_model(str(saved.parent if by_folder else saved))
    assert found.config == model.config and not found.training
    weights = found.state_dict()
    assert weights.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weights[name].view(torch.int32), weight.view(torch.int32)), name
    assert its_tokenizer.to_dict() == tokenizer.to_dict()
    assert its_tokenizer.encode("banana 香蕉!") == tokenizer.encode("banana 香蕉!")
    assert its_tokenizer.special("<|end|>") == 266


def test_unusual_numbers_are_loaded_to_the_bit(tmp_path, tokenizer):
    model = make_model()
    odd = torch.tensor([-0.0, 0.0, -3.4e38, -1e-45, 1e-45, 3.4e38, 1 / 3, -1.0])
    with torch.no_grad():
        model.ln_f.weight.copy_(odd)
    save_model(tmp_path / "model.pt", model, tokenizer)
    found = load_model(tmp_path)[0].ln_f.weight
    assert torch.equal(found.view(torch.int32), odd.view(torch.int32))


def test_two_saves_have_the_same_bytes_whatever_the_file_is_called(tmp_path, tokenizer):
    names = ("a.pt", "a longer name.pt", "folder/that/is/new/model.pt")
    paths = [tmp_path / name for name in names]
    for path in paths:
        save_model(path, make_model(), tokenizer)
    assert len({path.read_bytes() for path in paths}) == 1
    save_model(paths[0], make_model(seed=1), tokenizer)
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_a_model_that_is_loaded_and_saved_again_has_the_same_bytes(saved):
    before = saved.read_bytes()
    save_model(saved, *load_model(saved))
    assert saved.read_bytes() == before


# Writing


def test_writing_makes_the_folders_and_leaves_nothing_beside_the_file(tmp_path):
    write_atomically(tmp_path / "a/b/file", OLD)
    write_atomically(str(tmp_path / "a/b/file"), NEW)
    assert (tmp_path / "a/b/file").read_bytes() == NEW
    assert os.listdir(tmp_path / "a/b") == ["file"]


def test_content_is_forced_to_the_disk_before_the_file_is_renamed_and_the_name_after(
        tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace

    def recorded_fsync(descriptor):
        if os.path.exists("/proc/self/fd"):
            is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        else:
            is_folder = len(order) == 2
        order.append("folder" if is_folder else "content")
        fsync(descriptor)

    def recorded_replace(temporary, path):
        assert Path(temporary).read_bytes() == NEW
        order.append("rename")
        replace(temporary, path)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    write_atomically(tmp_path / "file", NEW)
    assert order == ["content", "rename", "folder"]


class HalfWriter:
    """A file on a disk that is full after half of what is written to it."""

    def __init__(self, path, mode):
        self.file = builtins.open(path, mode)

    def write(self, content):
        self.file.write(content[:len(content) // 2])
        self.file.flush()
        raise OSError(28, "No space left on device")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def fails(*arguments):
    raise OSError(5, "Input/output error")


def second_fsync_fails():
    calls, fsync = itertools.count(), os.fsync
    return lambda descriptor: fails() if next(calls) else fsync(descriptor)


POINTS = {  # where the write fails: (function to break, what makes the broken one, content then)
    "opening": ("open", lambda: fails, OLD),
    "half written": ("open", lambda: HalfWriter, OLD),
    "forcing the content": ("os.fsync", lambda: fails, OLD),
    "renaming": ("os.replace", lambda: fails, OLD),
    "forcing the folder": ("os.fsync", second_fsync_fails, NEW),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("leftover", [None, b"of a write that was killed" * 9000])
def test_a_write_that_fails_leaves_a_whole_file_and_does_not_disturb_the_next(
        tmp_path, monkeypatch, point, leftover):
    path = tmp_path / "file"
    write_atomically(path, OLD)
    if leftover:
        left = tmp_path / f".file.{'a' * 32}.writing"
        left.write_bytes(leftover)
        os.utime(left, (0, 0))
    name, broken, afterwards = POINTS[point]
    with monkeypatch.context() as patch:
        if name == "open":
            patch.setattr(checkpoint, "open", broken(), raising=False)
        else:
            patch.setattr(name, broken())
        with pytest.raises(OSError):
            write_atomically(path, NEW)
    assert path.read_bytes() == afterwards
    write_atomically(path, b"next")
    assert path.read_bytes() == b"next"
    assert os.listdir(tmp_path) == ["file"]


def test_a_model_that_cannot_be_written_leaves_the_one_before(saved, tokenizer, monkeypatch):
    before = saved.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr("os.replace", fails)
        save_model(saved, make_model(seed=1), tokenizer)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["model.pt"]


def test_what_killed_writers_left_is_removed_once_no_writer_can_still_have_it(tmp_path):
    left = {name: tmp_path / f".{name}.{letter * 32}.writing"
            for name, letter in (("file", "a"), ("other", "b"))}
    young = tmp_path / f".file.{'c' * 32}.writing"
    for path in (*left.values(), young):
        path.write_bytes(b"half")
    for path in left.values():
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "file", NEW)
    assert not left["file"].exists() and left["other"].exists() and young.exists()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "file", NEW)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("refusals, afterwards", [(3, NEW), (10**9, OLD)])
def test_a_rename_that_a_reader_prevents_is_tried_again_for_a_while(
        tmp_path, monkeypatch, refusals, afterwards):
    write_atomically(tmp_path / "file", OLD)
    replace, calls, clock = os.replace, itertools.count(), itertools.count()

    def refused_at_first(temporary, path):
        if next(calls) < refusals:
            raise PermissionError(13, "Access is denied")
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", refused_at_first)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(clock) / 10)
    monkeypatch.setattr(checkpoint.time, "sleep", lambda seconds: None)
    with suppress(PermissionError):
        write_atomically(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == afterwards
    assert os.listdir(tmp_path) == ["file"]


def write_for_ever(path):
    for number in itertools.count():
        write_atomically(path, bytes([number % 256]) * (100_000 + number % 256))


def is_whole(content):
    return len(set(content)) == 1 and len(content) == 100_000 + content[0]


def test_a_reader_finds_a_whole_file_however_often_its_writer_is_killed(tmp_path):
    path, rng = tmp_path / "file", random.Random(0)
    write_atomically(path, bytes(100_000))
    for _ in range(12):
        writer = CONTEXT.Process(target=write_for_ever, args=(path,))
        writer.start()
        found, wanted = set(), rng.randint(2, 8)
        while len(found) < wanted:  # it is killed after it has written a few times
            assert writer.is_alive()
            content = path.read_bytes()
            assert is_whole(content)
            found.add(content[0])
        writer.kill()
        writer.join()
        assert is_whole(path.read_bytes())


def test_two_writers_of_one_file_never_tear_it(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, bytes(100_000))
    writers = [CONTEXT.Process(target=write_for_ever, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        found = set()
        while len(found) < 100:
            content = path.read_bytes()
            assert is_whole(content)
            assert all(writer.is_alive() for writer in writers)
            found.add(content[0])
    finally:
        for writer in writers:
            writer.kill()
            writer.join()


# Foreign, wrong and damaged files


def refused(path, load=load_model):
    """The message of the error with which a file is refused; it must name the file."""
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("load", [load_model, read_state])
def test_an_empty_file_is_refused(tmp_path, load):
    (tmp_path / "file.pt").write_bytes(b"")
    assert "not a file that minisft wrote" in refused(tmp_path / "file.pt", load)


@pytest.mark.parametrize("load", [load_model, read_state])
def test_random_bytes_are_refused(tmp_path, load):
    rng = random.Random(0)
    for start in (b"", b"PK\x03\x04", b"\x80\x02", b"{", b"<!doctype html>"):
        for length in (1, 2, 10, 1000, 20_000):
            (tmp_path / "file.pt").write_bytes(start + rng.randbytes(length))
            assert "not a file that minisft wrote" in refused(tmp_path / "file.pt", load)


def refused_at_every_length(path, load):
    """Cut a file off at many lengths; each must be refused."""
    content = path.read_bytes()
    size = len(content)
    for length in {*range(0, size, 997), *range(40), *range(size - 40, size)}:
        path.write_bytes(content[:length])
        refused(path, load)


def test_a_model_that_is_cut_off_anywhere_is_refused(saved):
    refused_at_every_length(saved, load_model)


def test_a_state_that_is_cut_off_anywhere_is_refused(saved_state):
    refused_at_every_length(saved_state, read_state)


def test_a_model_with_overwritten_parts_is_refused_or_loaded_and_raises_no_other_error(saved):
    content, rng = saved.read_bytes(), random.Random(0)
    for _ in range(200):
        at, width = rng.randrange(len(content)), rng.choice((1, 4, 64))
        saved.write_bytes(content[:at] + rng.randbytes(width) + content[at + width:])
        try:
            load_model(saved)
        except ValueError as error:
            assert str(saved) in str(error)


@pytest.mark.parametrize("content, found", [
    (torch.zeros(3), "Tensor"), ([1, 2], "list"), ({}, "another program's file"),
    ({"transformer.wte.weight": torch.zeros(2, 2), "lm_head.weight": torch.zeros(2, 2)},
     "another program's file"),
    ({"kind": "something else"}, "something else"),
    ({"kind": torch.zeros(2)}, "tensor"),
    ({"kind": None}, "None"),
])
def test_other_torch_files_are_refused_with_what_they_hold(tmp_path, content, found):
    torch.save(content, tmp_path / "file.pt")
    assert found in refused(tmp_path / "file.pt")
    assert found in refused(tmp_path / "file.pt", read_state)


def test_a_state_is_not_loaded_as_a_model_nor_a_model_as_a_state(saved, saved_state):
    model, state = "'minisft model 1'", "'minisft training state 1'"
    assert f"holds {state}, expected {model}" in refused(saved_state)
    assert f"holds {model}, expected {state}" in refused(saved, read_state)


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("load", [load_model, read_state])
def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path, load):
    mark, path = tmp_path / "mark", tmp_path / "file.pt"
    pickle.loads(pickle.dumps(Malicious(mark)))
    mark.unlink()  # it was there, so unpickling does run the code
    torch.save({"kind": "minisft model 1", "config": Malicious(mark)}, path)
    refused(path, load)
    path.write_bytes(pickle.dumps(Malicious(mark), protocol=2))
    refused(path, load)
    assert not mark.exists()


def change(path, edit):
    """Save the content of a file again after edit(content)."""
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


@pytest.mark.parametrize("edit", [
    lambda content: content["weights"].pop("h.1.mlp.c_fc.bias"),
    lambda content: content["weights"].update({"h.2.ln_1.bias": torch.zeros(8)}),
    lambda content: content["weights"].update({"wpe.weight": torch.zeros(13, 8)}),
    lambda content: content["weights"].update({"wpe.weight": "text"}),
    lambda content: content.update(weights=[torch.zeros(2)]),
    lambda content: content["config"].update(n_layer=3),
    lambda content: content["config"].update(n_head=3),
    lambda content: content["config"].update(n_embd="eight"),
    lambda content: content["config"].update(new_setting=1),
    lambda content: content["config"].pop("vocab_size"),
    lambda content: content.update(config=None),
    lambda content: content["tokenizer"].pop("pattern"),
    lambda content: content["tokenizer"].update(tokens=[1, 2]),
    lambda content: content["tokenizer"].update(tokens=["not base64!"]),
    lambda content: content["tokenizer"].update(pattern="("),
    lambda content: content.pop("weights"), lambda content: content.pop("config"),
    lambda content: content.pop("tokenizer"),
])
def test_a_model_with_wrong_parts_is_refused(saved, edit):
    load_model(saved)
    change(saved, edit)
    assert "damaged model file" in refused(saved)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_with_a_number_that_is_none_is_refused_by_name(saved, number):
    change(saved, lambda content: content["weights"]["h.1.mlp.c_fc.bias"].fill_(number))
    assert "h.1.mlp.c_fc.bias holds NaN or infinite numbers" in refused(saved)


@pytest.mark.parametrize("size", ["vocab_size", "block_size", "n_layer", "n_embd"])
def test_a_small_file_that_claims_a_huge_model_is_refused_before_one_is_built(
        saved, size, monkeypatch):
    change(saved, lambda content: content["config"].update({size: 10 ** 8}))
    monkeypatch.setattr(checkpoint, "GPT", None)
    assert "the config is that of a model of " in refused(saved)


def test_a_folder_without_a_model_is_refused_with_the_file_that_is_missing(tmp_path):
    assert f"{tmp_path / 'model.pt'} does not exist" in refused(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "model.pt")
    assert "does not exist" in refused(tmp_path / "state.pt", read_state)


def test_a_folder_is_refused_as_a_state(tmp_path):
    assert "does not exist" in refused(tmp_path, read_state)


# Trainings


def steps(model, optimizer, number):
    """Train on random ids with dropout; returns the losses. Each step uses the random state."""
    losses = []
    model.train()
    for _ in range(number):
        loss = model(torch.randint(267, (2, 8))).logsumexp(-1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def new_training(seed):
    model = make_model(seed)
    return model, AdamW(parameter_groups(model, 0.1), lr=0.01)


def test_a_restored_training_continues_to_the_same_bits(tmp_path):
    settings = {"seed": 0, "names": ["a"], "before": None}
    model, optimizer = new_training(0)
    steps(model, optimizer, 4)
    save_state(tmp_path / "state.pt", model, optimizer, 4, settings)
    losses = steps(model, optimizer, 3)

    again, its_optimizer = new_training(1)
    steps(again, its_optimizer, 2)
    state = read_state(str(tmp_path / "state.pt"))
    assert state["settings"] == settings
    assert restore(state, again, its_optimizer) == 4
    assert steps(again, its_optimizer, 3) == losses
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


@pytest.mark.parametrize("forgotten", ["weights", "optimizer", "cpu_random"])
def test_each_part_of_a_state_matters(tmp_path, forgotten):
    model, optimizer = new_training(0)
    steps(model, optimizer, 4)
    save_state(tmp_path / "state.pt", model, optimizer, 4, {})
    steps(model, optimizer, 3)

    again, its_optimizer = new_training(1)
    save_state(tmp_path / "fresh.pt", again, its_optimizer, 0, {})
    state, fresh = read_state(tmp_path / "state.pt"), read_state(tmp_path / "fresh.pt")
    state[forgotten] = fresh[forgotten]
    restore(state, again, its_optimizer)
    steps(again, its_optimizer, 3)
    assert not torch.equal(again.wte.weight, model.wte.weight)


def test_two_saves_of_a_state_have_the_same_bytes(tmp_path):
    model, optimizer = new_training(0)
    steps(model, optimizer, 2)
    for name in ("a.pt", "b.pt"):
        save_state(tmp_path / name, model, optimizer, 2, {"x": 1})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_training_after_a_restore_does_not_change_the_state_that_was_read(tmp_path):
    model, optimizer = new_training(0)
    steps(model, optimizer, 2)
    save_state(tmp_path / "state.pt", model, optimizer, 2, {})
    state = read_state(tmp_path / "state.pt")
    ends = []
    for _ in range(2):
        restore(state, model, optimizer)
        steps(model, optimizer, 2)
        ends.append(model.wte.weight.detach().clone())
    assert torch.equal(*ends)


@pytest.mark.parametrize("sizes", [
    {"n_embd": 4}, {"n_layer": 1}, {"n_layer": 3}, {"block_size": 13}])
def test_a_state_of_another_model_is_refused(saved_state, sizes):
    model = make_model(**sizes)
    with pytest.raises(ValueError, match="belongs to another model"):
        restore(read_state(saved_state), model, AdamW(model.parameters()))


def test_an_optimizer_state_of_other_parameters_is_refused(saved_state):
    model = make_model()
    with pytest.raises(ValueError, match="belongs to other parameters"):
        restore(read_state(saved_state), model, AdamW(list(model.parameters())[1:]))
