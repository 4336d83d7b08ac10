"""Write the town's files and say what is in them.

    python -m minisft.world                                  makes data/ again, byte for byte
    python -m minisft.world --out harbor --domain harbor     the same of ships
    python -m minisft.world --out noisy --noise wrong --noise-rate 0.2
    python -m minisft.world --check data                     whether a test question was tuned on
"""

from collections import Counter
from dataclasses import dataclass

from minisft.config import at_least, option, parse, shipped
from minisft.tokenizer import Tokenizer
from minisft.world.corpus import SIZES, train_rows, write
from minisft.world.describe import check, describe
from minisft.world.facts import DOMAINS
from minisft.world.noise import KINDS


@dataclass(frozen=True)
class WorldConfig:
    out: str = option(shipped("data"), "folder to write into")
    seed: int = option(0, "random seed of all texts")
    vocab_size: int = option(2048, "tokens of the tokenizer, special ones included")
    size: str = option("middle", "rows to tune on: a quarter, the usual number, or four times as many",
                       choices=tuple(SIZES))
    domain: str = option("town", "what the texts are about", choices=tuple(DOMAINS))
    difficulty: int | None = option(None, "2 to 8: facts of a text (or as many as there are attributes), hops, steps, "
                                          "operations, words of a list, turns; by default each task's own range")
    noise: str = option("", "what is wrong with a part of the training rows: nothing, or one of " + ", ".join(KINDS))
    noise_rate: float = option(0.2, "share of the training rows that --noise spoils")
    check: str = option("", "write nothing; look for test questions of this folder that were tuned on")

    def __post_init__(self):
        at_least(self, vocab_size=300, difficulty=2)
        if self.difficulty and self.difficulty > 8:
            raise ValueError(f"--difficulty must be 2 to 8, got {self.difficulty}")
        shipped_corpus = (self.size, self.domain, self.difficulty, self.noise) == ("middle", "town", None, "")
        if not shipped_corpus and self.out == shipped("data"):
            raise ValueError("this would write another corpus over the shipped one; name a folder for it with --out")


def main(argv=None):
    config = parse(WorldConfig, argv, "world", "Write the instruction data, the held-out prose and the tokenizer.")
    try:
        if config.check:
            lines, leaks = check(config.check)
            print("\n".join(lines))
            raise SystemExit(1 if leaks else 0)
        made = write(config.out, config.seed, config.vocab_size, size=config.size, domain=config.domain,
                     difficulty=config.difficulty, noise=config.noise, noise_rate=config.noise_rate)
        print("\n".join(describe(config.out, made, Tokenizer.load(f"{config.out}/tokenizer.json"))))
        given = Counter(row["task"] for row in made["train"])
        for task, wanted in train_rows(config.size, config.domain).items():
            if given[task] < wanted:
                print(f"{task}: {given[task]:,} of {wanted:,} rows to tune on; there are no more different questions")
        if config.noise:
            spoilt = sum("noise" in row for row in made["train"])
            print(f"{spoilt:,} of {len(made['train']):,} rows to tune on were spoilt: {config.noise}")
        print(f"files, ten examples of each task (about.md) and a figure (about.png) are in {config.out}")
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.world: {error}") from None


if __name__ == "__main__":
    main()
