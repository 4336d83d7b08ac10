"""Counts by reason: what a builder did to its rows, each reason with the first row that it met.

    tally = Tally("kept", "dropped: repeated")
    tally.add("dropped: repeated", "chats.jsonl:7")

A reason that is named at the beginning is reported even if it never occurs: a zero is news too.

Notes: 合成数据 (synthetic data): what is filtered out has to be known.
"""

from collections import Counter


class Tally:
    """counts: {reason: number}; first: {reason: the row where it was first met}."""

    def __init__(self, *reasons):
        self.counts = Counter(dict.fromkeys(reasons, 0))
        self.first = {}

    def add(self, reason, where, number=1):
        """Count something; where: "file:line", perhaps with what was found there."""
        if number:
            self.counts[reason] += number
            self.first.setdefault(reason, where)

    def lines(self):
        """One line for each reason.

        >>> tally = Tally("kept", "dropped: repeated")
        >>> tally.add("kept", "a.jsonl:1", 1200)
        >>> tally.lines()
        ['       1,200  kept (the first: a.jsonl:1)', '           0  dropped: repeated']
        """
        return [f"{number:>12,}  {reason}"
                + (f" (the first: {self.first[reason]})" if reason in self.first else "")
                for reason, number in self.counts.items()]

    def to_dict(self):
        """Plain values for a JSON file."""
        return {"counts": dict(self.counts), "first": dict(self.first)}
