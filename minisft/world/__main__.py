"""Write the town's files and say what is in them.

    python -m minisft.world                                  writes data/ again, byte for byte
    python -m minisft.world --out harbor --domain harbor     the same tasks about ships
    python -m minisft.world --out noisy --noise wrong --noise-rate 0.2
    python -m minisft.world --check data                     finds test questions that were tuned on
    python -m minisft.world --teacher teacher.jsonl          rows that make a tuned model a teacher
"""

from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

from minisft.config import at_least, option, parse
from minisft.shipped import TEST_FILES, shipped
from minisft.tokenizer import Tokenizer
from minisft.world.corpus import SIZES, Asked, read_rows, train_rows, write, write_rows
from minisft.world.describe import check, describe
from minisft.world.facts import DOMAINS
from minisft.world.noise import KINDS
from minisft.world.teaching import teaching


@dataclass(frozen=True)
class WorldConfig:
    out: str = option(shipped("data"), "folder to write into")
    seed: int = option(0, "random seed of all texts")
    vocab_size: int = option(2560, "number of tokens of the tokenizer, special tokens included")
    size: str = option(
        "middle", "rows to tune on: a quarter, the usual number, or four times as many",
        choices=tuple(SIZES))
    domain: str = option("town", "what the texts are about", choices=tuple(DOMAINS))
    difficulty: int | None = option(
        None, "2 to 8: the number of facts in a text (at most the number of attributes), hops, "
              "steps, operations, words in a list, or turns; by default each task's own range")
    wordings: int | None = option(
        None, "number of wordings in which the training rows ask for each task, the plainest first "
              "(sums and differences count apart), without courtesies and mistakes, with the "
              "other turns of conversations in their plainest words; by default all wordings, as "
              "users type them")
    noise: str = option(
        "", "what is wrong with a part of the training rows: nothing, or one of "
            + ", ".join(KINDS))
    noise_rate: float = option(0.2, "share of the training rows that --noise spoils")
    check: str = option(
        "", "write nothing; find the test questions of this folder that were tuned on")
    teacher: str = option(
        "", "write only this file: rows that show how to write new tasks and how to evolve them, "
            "to tune on besides the training rows")

    def __post_init__(self):
        at_least(self, vocab_size=300, difficulty=2, wordings=1)
        if self.difficulty and self.difficulty > 8:
            raise ValueError(f"--difficulty must be 2 to 8, got {self.difficulty}")

        given = {each.name for each in fields(self) if getattr(self, each.name) != each.default}
        if self.teacher and given - {"teacher", "seed"}:
            raise ValueError("--teacher writes rows about the town as it ships; leave the other "
                             "flags out, but for --seed")
        if self.teacher and Path(self.teacher).exists():
            raise ValueError(f"{self.teacher} is there already; name another file, or remove it")
        knobs = (self.size, self.domain, self.difficulty, self.wordings, self.noise)
        if self.out == shipped("data") and knobs != ("middle", "town", None, None, ""):
            raise ValueError("this would write another corpus over the shipped one; "
                             "name a folder for it with --out")


def main(argv=None):
    config = parse(WorldConfig, argv, "world",
                   "Write the instruction data, the held-out prose and the tokenizer.")
    try:
        if config.check:
            lines, leaks = check(config.check)
            print("\n".join(lines))
            raise SystemExit(1 if leaks else 0)
        if config.teacher:
            tests = [row for path in TEST_FILES for row in read_rows(path)]
            rows = teaching(config.seed, Asked.by(tests))
            write_rows(config.teacher, rows)
            print(f"{len(rows):,} rows are in {config.teacher}")
            return

        rows_of = write(config.out, config.seed, config.vocab_size,
                        size=config.size, domain=config.domain, difficulty=config.difficulty,
                        noise=config.noise, noise_rate=config.noise_rate,
                        wordings=config.wordings)
        tokenizer = Tokenizer.load(f"{config.out}/tokenizer.json")
        lines = describe(config.out, rows_of, tokenizer)
        print("\n".join([*lines, *_remarks(config, rows_of["train"])]))
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.world: {error}") from None


def _remarks(config, train):
    """Lines that name tasks with too few rows, the number of spoilt rows, and the folder."""
    lines = []
    rows_of_task = Counter(row["task"] for row in train)
    for task, wanted in train_rows(config.size, config.domain).items():
        if rows_of_task[task] < wanted:
            lines.append(f"{task}: {rows_of_task[task]:,} of {wanted:,} rows to tune on; "
                         "there are no more different questions")

    if config.noise:
        spoilt = sum("noise" in row for row in train)
        lines.append(f"{spoilt:,} of {len(train):,} rows to tune on were spoilt: {config.noise}")

    lines.append("files, ten examples of each task (about.md) and a figure (about.png) "
                 f"are in {config.out}")
    return lines


if __name__ == "__main__":
    main()
