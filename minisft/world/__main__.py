"""Write the town's files: `python -m minisft.world` makes data/ again, byte for byte."""

from dataclasses import dataclass

from minisft.config import at_least, option, parse, shipped
from minisft.world.corpus import write


@dataclass(frozen=True)
class WorldConfig:
    out: str = option(shipped("data"), "folder to write into")
    seed: int = option(0, "random seed of all texts")
    vocab_size: int = option(2048, "tokens of the tokenizer, special ones included")

    def __post_init__(self):
        at_least(self, vocab_size=300)


def main(argv=None):
    config = parse(WorldConfig, argv, "world", "Write the instruction data, the held-out prose and the tokenizer.")
    for name, count in write(config.out, config.seed, config.vocab_size).items():
        print(f"{config.out}/{name}: {count:,} {'tokens' if name == 'tokenizer.json' else 'rows'}")


if __name__ == "__main__":
    main()
