"""How much memory a call takes."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch


def peak_bytes(call):
    """Most bytes that torch holds at once during a call, beyond what it held before.

    The call is made twice, and only the second one counts: what is made once and kept, such as an
    optimizer's state, is held before it.
    """
    call()
    with quiet_stderr(), torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"])
                     for event in events if event.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


@contextmanager
def quiet_stderr():
    """Drop what is written to file descriptor 2: the profiler's library prints notes of its own."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
