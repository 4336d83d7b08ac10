"""Answers on disk: what a teacher has answered once is never asked for, or paid for, again.

    {"id": "9f2c...", "model": "...", "prompt": "...", "answer": "...", "tokens": 57, "cut": false}

One line for each answer (this one is a server's), appended and forced to the disk as soon as the
answer is there. A kill can tear only the last line; it is dropped when the file is opened again.

Notes: 合成数据 (synthetic data).
"""

import json
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from tqdm import tqdm

from minisft.lock import locked

FILE = "answers.jsonl"


class Answers:
    """{id: row} of a folder's answers.jsonl; without a folder, in memory only.

    One process at a time may use a folder. ValueError if another one does, or if a line that is
    not the last is damaged.
    """

    def __init__(self, folder=None):
        self._rows, self.path, self._lock = {}, None, ExitStack()
        if folder is None:
            return
        self._lock.enter_context(locked(folder))
        self.path = Path(folder) / FILE
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def get(self, id):
        """The row of an answer, or None."""
        return self._rows.get(id)

    def add(self, id, row):
        """Keep a row, {"answer": text, ...}; it is on the disk when this returns."""
        self._rows[id] = row
        if self.path is None:
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            self._append(json.dumps({"id": id, **row}).encode() + b"\n")
        except BaseException:  # half a line, from a full disk, would spoil the line after it
            with suppress(OSError):
                os.truncate(self.path, size)
            raise

    def close(self):
        """Let other processes use the folder."""
        self._lock.close()

    def _append(self, content):
        with open(self.path, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _read(self):
        if not self.path.exists():
            return
        *lines, last = self.path.read_bytes().split(b"\n")  # the last one has no line end
        for number, line in enumerate(lines, 1):
            if line.strip() and not self._take(line):
                raise ValueError(
                    f"{self.path}:{number}: no row of this file, which holds an object with id and "
                    "answer in each line; remove the line, and its answer is asked for again")
        if not last:
            return
        if self._take(last):
            self._append(b"\n")
        else:
            os.truncate(self.path, self.path.stat().st_size - len(last))
            tqdm.write(f"{self.path}: the last line is torn, as a run was stopped while writing it;"
                       " it was dropped, and its answer will be asked for again", file=sys.stderr)

    def _take(self, line):
        """Take the row of a line over; returns whether it is one."""
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(row, dict) or not all(
                isinstance(row.get(name), str) for name in ("id", "answer")):
            return False
        self._rows[row.pop("id")] = row
        return True
