"""A process of its own for code that cannot be trusted to end, to stay small or to stay quiet.

    parent    knows the oracle, sends inputs, compares, watches the time and what is printed
    worker    gets inputs only, runs the code, writes one line of JSON for each case

The worker's folder is an empty temporary one, removed afterwards. A worker that hangs, dies, takes
too much memory or prints too much is stopped with all that it has started, and the code that it ran
then has an outcome that says so. On Linux each job has a copy of the worker, so no job sees what
another has changed. This stops accidents. It does not stop an attacker, who can read and change
what the user can.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = 120  # seconds for Python and torch to start, which takes long on a cold or busy machine
MOST_PRINTED = 1_000_000  # bytes
SHOWN = 2_000  # characters of what was printed
READ_AT_ONCE = 10_000_000  # characters


@dataclass
class Job:
    """Code to try: the exercise's name, the code's text and path, packed cases.

    Afterwards outcomes has one outcome for each case, seconds the time of all, peak_mb the most
    memory that its process ever held, None where the system does not tell, and tried what was
    refused to the code or what it changed in minisft, in words.
    """

    exercise: str
    text: str
    path: str
    cases: list
    outcomes: list = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float | None = None
    printed: str = ""
    tried: list = field(default_factory=list)


def run_apart(jobs, seconds=10, megabytes=2048):
    """Do all jobs in worker processes, and fill in what came out. Each job has `seconds`.

    megabytes: how much more than torch itself a worker may take, where the system can limit it.
    One worker does the jobs one after the other; after one that stops it, another takes the rest.
    """
    left = list(jobs)
    while left:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            done, why = _run(left, Path(folder), seconds, megabytes)
        for job in left[done:done + 1]:  # the one that stopped it
            job.outcomes += [why] * (len(job.cases) - len(job.outcomes))
        left = left[done + 1:]


def _run(jobs, folder, seconds, megabytes):
    """Let one worker do jobs as far as it comes; (how many are done, what stopped it or None)."""
    request, answer, inside = folder / "request.json", folder / "answer.jsonl", folder / "inside"
    inside.mkdir()
    answer.touch()
    cpu_seconds = START + seconds * len(jobs)
    request.write_text(json.dumps({"limits": [megabytes, cpu_seconds], "jobs": [
        {"exercise": job.exercise, "text": job.text, "path": str(job.path), "cases": job.cases}
        for job in jobs]}), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-u", str(Path(__file__).resolve()), str(request), str(answer)],
        cwd=inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1",
                          "PYTHONDONTWRITEBYTECODE": "1"}
        | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(inside)),
        start_new_session=os.name != "nt")
    printed = Printed(process.stdout)
    try:
        return watch(process, answer, jobs, seconds, printed)
    finally:
        stop(process)


def watch(process, answer, jobs, seconds, printed):
    """Read a worker's lines while they come; (how many jobs are done, what stopped it or None).

    ValueError if the worker does not start.
    """
    number, began = 0, None  # of the job; when it began, None until the worker is ready
    started = time.monotonic()
    with open(answer, encoding="utf-8") as lines:
        rest = ""
        while True:
            ended = process.poll() is not None  # before reading, so that its last lines are read
            new = lines.read(READ_AT_ONCE)
            *whole, rest = (rest + new).split("\n")
            for line in whole:
                found = json.loads(line)
                if "ready" in found:
                    began = time.monotonic()
                elif "outcome" in found:
                    jobs[number].outcomes.append(found["outcome"])
                else:  # the job is done
                    jobs[number].seconds, jobs[number].peak_mb = found["seconds"], found["peak_mb"]
                    jobs[number].printed, jobs[number].tried = printed.take(), found["tried"]
                    number, began = number + 1, time.monotonic()
            if number == len(jobs):
                return number, None
            if not began and (ended or time.monotonic() - started > START):
                raise ValueError("the process in which code is tried does not start: "
                                 f"{printed.last_line()}")
            why = None
            if printed.is_too_much:
                why = stopped("TooMuchPrinted", f"it printed more than {MOST_PRINTED:,} bytes")
            elif ended:
                why = stopped("Died", "the process that ran it ended (exit status "
                                      f"{process.returncode}): {printed.last_line()}")
            elif began and time.monotonic() - began > seconds:
                why = stopped("TimeLimit", f"it was still running after {seconds} s; does a loop "
                                           "never end?")
            if why:
                jobs[number].seconds = time.monotonic() - (began or started)
                jobs[number].printed = printed.take()
                return number, why
            if not new:
                time.sleep(0.01)


def stopped(error, message):
    return {"error": error, "message": message, "line": None}


class Printed:
    """What a process prints: the end of it is kept, the rest is counted."""

    def __init__(self, stream):
        self.kept, self.bytes = "", 0
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream):
        while part := stream.read1(65536):
            self.bytes += len(part)
            if not self.is_too_much:
                self.kept = (self.kept + part.decode("utf-8", "replace"))[-SHOWN:]

    @property
    def is_too_much(self):
        return self.bytes > MOST_PRINTED

    def take(self):
        """What has been kept, once; the count starts again."""
        kept, self.kept, self.bytes = self.kept, "", 0
        return kept

    def last_line(self):
        self.thread.join(1)
        return (self.kept.strip().splitlines() or ["nothing was printed"])[-1]


def stop(process):
    """End a process and all that it has started."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
    else:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# The worker itself


def main(request, answer):
    sys.path[0] = str(ROOT)  # instead of this file's folder
    from lessons.checking.exercise import exercise, split_target
    from lessons.checking.guard import in_a_copy

    with open(request, encoding="utf-8") as file:
        asked = json.load(file)
    exercises = [exercise(job["exercise"]) for job in asked["jobs"]]
    for target in (target for each in exercises for target in each.targets):
        importlib.import_module(split_target(target)[0])  # once, for all copies
    with open(answer, "a", encoding="utf-8") as file:
        file.write(json.dumps({"ready": True}) + "\n")
        file.flush()
        for each, job in zip(exercises, asked["jobs"]):
            in_a_copy(partial(do, each, job, file, asked["limits"]))
    os._exit(0)  # not waiting for threads that the code may have left


def do(exercise, job, file, limits):
    """Do one job in a folder of its own, and write its lines into a file."""
    from lessons.checking.guard import changes, limit, reference
    from lessons.checking.trial import outcomes

    def write(line):
        file.write(json.dumps(line) + "\n")
        file.flush()

    os.chdir(tempfile.mkdtemp())
    tempfile.tempdir = os.getcwd()
    before, began = reference(), time.perf_counter()
    limit(*limits)
    for outcome in outcomes(exercise, job["text"], job["path"], job["cases"]):
        write({"outcome": outcome})
    write({"seconds": time.perf_counter() - began, "peak_mb": peak_mb(), "tried": changes(before)})


def peak_mb():
    """The most memory that this process has held, or None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(*sys.argv[1:])
