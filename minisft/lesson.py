"""What every lesson needs beside its experiment: a fast mode, and a place for its figure and numbers.

    python lessons/03_first_sft.py           the published experiment; writes lessons/results/03_first_sft.{png,json}
    python lessons/03_first_sft.py --fast    the same code on a small scale, to see it run; writes to a temporary folder
"""

import json
import sys
import tempfile
from pathlib import Path

from minisft.checkpoint import write_atomically
from minisft.config import ROOT

if Path(sys.argv[0]).resolve().parent == ROOT / "lessons" and sys.argv[1:] not in ([], ["--fast"]):
    raise SystemExit(f"{sys.argv[0]}: unknown argument {' '.join(sys.argv[1:])}; a lesson takes --fast, or nothing")
FAST = "--fast" in sys.argv
FOLDER = Path(tempfile.mkdtemp(prefix="minisft-fast-")) if FAST else ROOT / "lessons" / "results"


def result_path(name):
    """Path of a result file: in lessons/results, or in a temporary folder in fast mode."""
    return FOLDER / name


def write_results(name, results):
    """Write a lesson's numbers as JSON and say where."""
    path = result_path(name)
    write_atomically(path, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"numbers: {path}")


def verdict(claim, difference, low, high, holds):
    """Print and return one outcome: the claim, the effect with its 95% interval, and whether it holds."""
    print(f"{'HOLDS' if holds else 'FAILS'}: {claim}: {difference:+.1%} [{low:+.1%}, {high:+.1%}]")
    return {"claim": claim, "difference": difference, "low": low, "high": high, "holds": bool(holds)}
