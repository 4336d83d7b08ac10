"""Build instruction data: one command, a builder for each way.

    python -m minisft.build dialogue chats.jsonl --out dialogue.jsonl

    dialogue.jsonl            rows that `python -m minisft.train --data` reads
    dialogue.json             how they were made: builder, settings, counts by reason
    dialogue.queries.jsonl    what the builder has found besides, here the users' first questions

    python -m minisft.build evol-instruct rows.jsonl --teacher checkpoints/run-1 --out evolved.jsonl
    python -m minisft.build self-instruct --teacher checkpoints/run-1 --out made.jsonl

A builder is one entry in BUILDERS: the dataclass of its settings, which has a field `out`, and a
function that takes them and returns (rows, Tally, {name of a file beside: its rows, or bytes}). All
else is done here: flags, checks of the output's place, writing.

Files are written whole or not at all. What is there already is replaced only by the same command.
Where no row is kept, what stands beside is written all the same, as it says why, unless the rows
of an earlier run are there: then all stays as it is.

Notes: 基于现有的 NLP 任务数据集构建 (building from NLP task data), 基于日常对话数据构建
(building from daily conversations), 合成数据 (synthetic data).
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from minisft.checkpoint import write_atomically
from minisft.config import parse
from minisft.instruct import dialogue, evol_instruct, self_instruct, tasks
from minisft.screen import visible


class Builder(NamedTuple):
    """settings: a dataclass; build: a function of it; help: one line.

    positional: names of the settings that stand without a flag; beside: names of the files that it
    writes besides OUT.jsonl and OUT.json, such as "queries.jsonl" for OUT.queries.jsonl.
    """

    settings: type
    build: Callable
    help: str
    positional: tuple = ()
    beside: tuple = ()


BUILDERS = {
    "dialogue": Builder(dialogue.DialogueConfig, dialogue.build,
                        "Clean chat logs: conversations of several turns, and what users ask",
                        positional=("files",), beside=("queries.jsonl",)),
    "evol-instruct": Builder(
        evol_instruct.EvolConfig, evol_instruct.build,
        "Evol-Instruct: a teacher makes instructions harder or rarer, and what fails is eliminated",
        positional=("files",), beside=("eliminated.jsonl", "trees.txt", "trees.png")),
    "self-instruct": Builder(self_instruct.SelfInstructConfig, self_instruct.build,
                             "Self-Instruct: a teacher makes new tasks from 175 written by hand",
                             beside=("rejected.jsonl", "funnel.png")),
    "tasks": Builder(tasks.TasksConfig, tasks.build,
                     "NLP task data: pairs of input and output become instructions",
                     positional=("pairs",), beside=("test.jsonl", "conflicts.jsonl")),
}


def run(name, config):
    """Build, write and report; returns the lines to print."""
    builder = BUILDERS[name]
    made_by = json.loads(json.dumps({"builder": name, "settings": asdict(config)}))
    out, summary, others = places(config.out, builder)
    check_free([out, summary, *others.values()], summary, made_by)
    rows, tally, beside = builder.build(config)

    files = {}
    if rows or any(beside.values()) and not out.exists():
        files = {others[other]: content for other, content in beside.items()}
    if rows:
        files[out] = rows
    if files:  # the summary comes first: so the same command goes on after a crash between two
        write_atomically(summary, encoded(made_by | tally.to_dict(), indent=2))
    for path, content in files.items():
        is_bytes = isinstance(content, bytes)
        write_atomically(path, content if is_bytes else b"".join(map(encoded, content)))
    wrote = ", ".join(map(str, [*files, summary])) if files else "nothing"
    report = [*tally.lines(), f"wrote {wrote}"]
    if not rows:
        stays = "stays as it is" if out.exists() else "is not written"
        raise ValueError("\n".join([f"no row was kept, so {out} {stays}:", *report]))
    return report


def places(text, builder):
    """(OUT.jsonl, OUT.json, {name: path of a file beside}); ValueError for another --out."""
    out = Path(text)
    if out.suffix != ".jsonl":
        found = f"got {text}" if text else "it is missing"
        raise ValueError(f"--out must name a file that ends with .jsonl; {found}")
    return out, out.with_suffix(".json"), {
        other: out.with_suffix(f".{other}") for other in builder.beside}


def check_free(paths, summary, made_by):
    """ValueError if one of the files to write is there and not by the same command.

    So a file that is read is never written.
    """
    there = [path for path in paths if path.exists()]
    if there and not is_made_by(summary, made_by):
        raise ValueError(f"{there[0]} already exists, and not by this command, which would write "
                         "it; remove it or name another file with --out")


def is_made_by(summary, made_by):
    """Whether a summary is there that says that the same command made it."""
    try:
        found = json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {key: found.get(key) for key in made_by} == made_by


def encoded(value, indent=None):
    """A value as JSON that ends with a line end."""
    return (json.dumps(value, ensure_ascii=False, indent=indent) + "\n").encode()


def usage():
    return "\n".join(["usage: python -m minisft.build BUILDER ... --out OUT.jsonl", "", "builders:",
                      *(f"  {name:<14} {builder.help}" for name, builder in BUILDERS.items()), "",
                      "python -m minisft.build BUILDER --help lists its flags"])


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv in (["-h"], ["--help"]):
        print(usage())
        return
    name = argv[0] if argv else ""
    if name not in BUILDERS:
        found = f"there is no builder {name!r}" if name else "no builder is named"
        raise SystemExit(visible(f"minisft.build: {found}\n{usage()}"))
    builder = BUILDERS[name]
    config = parse(builder.settings, argv[1:], f"python -m minisft.build {name}",
                   f"{builder.help}.", builder.positional)
    try:
        print(visible("\n".join(run(name, config))))
    except (ValueError, OSError) as error:
        raise SystemExit(visible(f"minisft.build: {error}")) from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.build: stopped, and no rows are written; give the same command "
                         "again, and what a teacher has answered is not asked again") from None


if __name__ == "__main__":
    main()
