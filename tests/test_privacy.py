"""Personal data is masked and what only looks like it stays: two lists, and checksums by hand.

tests/personal.jsonl was written before the code and has not been changed since. The texts of
tests/personal_later.jsonl were written after it, in two rounds, to find what the code gets wrong.
Before the code was changed for them, the kind was found in 63 of 71 and 63 of 68, and 99 of 105 and
142 of 143 were kept. What they must become is the code's own answer, read over.
"""

import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from minisft.instruct.privacy import KINDS, iban_checksum, identity_checksum, luhn, mask


def texts(name):
    """[(text, what mask must make of it), ...] of a list, in two: to be masked, to be kept."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return ([(row["text"], row["masked"]) for row in rows if "masked" in row],
            [(row["text"], row["text"]) for row in rows if "masked" not in row])


@pytest.mark.parametrize("name, least", [("personal.jsonl", 200), ("personal_later.jsonl", 300)])
def test_at_least_98_percent_are_masked_as_they_must_be_and_98_percent_kept(name, least):
    masked, kept = texts(name)
    assert len(masked) + len(kept) >= least
    for pairs in masked, kept:
        wrong = [(mask(text)[0], expected) for text, expected in pairs if mask(text)[0] != expected]
        assert len(wrong) <= 0.02 * len(pairs), wrong


def test_each_kind_is_counted_as_often_as_it_stands_in_the_text():
    for text, _ in texts("personal.jsonl")[0]:
        marks = Counter(re.findall(r"\[([A-Z]+)\]", mask(text)[0]))
        assert mask(text)[1] == marks and set(marks) <= set(KINDS), text


def test_what_is_masked_is_not_masked_again():
    for name in ("personal.jsonl", "personal_later.jsonl"):
        for text, _ in sum(texts(name), []):
            once = mask(text)[0]
            assert mask(once) == (once, Counter())


def test_checksums_worked_by_hand():
    # 1 8 -> 2*1 + 8 = 10; 5 9 -> 10 is 1 + 0, and 9: 10; 2 6 -> 4 + 6 = 10
    assert luhn("18") and luhn("59") and luhn("26") and not luhn("27")
    # seventeen zeros: 0 + 1 is 1 modulo 11; a first 1 has the weight 2^17 = 131072 = 7 modulo 11,
    # and 7 + 5 = 12 is 1
    assert identity_checksum("0" * 17 + "1") and identity_checksum("1" + "0" * 16 + "5")
    # 2^(17 - i) of digit i: two ones at i = 16 and i = 14 are 2 + 8 = 10; 10 + 2 = 12 is 1
    assert identity_checksum("0" * 14 + "1" + "0" + "1" + "2")
    # X is 10; 2 at i = 16 counts 4, a 9 at i = 17 would be 13 = 2; 4 + 8 = 12 is 1
    assert identity_checksum("0" * 16 + "2" + "8") and not identity_checksum("0" * 16 + "2" + "9")
    assert identity_checksum("0" * 16 + "1" + "X")  # 2 + 10 = 12
    # AA00 0 spells 0 1010 00 = 101000 = 97 * 1041 + 23; its check digits are 98 - 23 = 75
    assert iban_checksum("AA750") and not iban_checksum("AA760")


@pytest.mark.parametrize("number, kind", [
    ("4532 1200 1234 5679", "CARD"), ("DE84370400440012345678", "IBAN"),
    ("110101199003070011", "ID"),
])
def test_one_wrong_digit_is_no_card_account_or_identity(number, kind):
    assert mask(f"See {number} here.") == (f"See [{kind}] here.", Counter({kind: 1}))
    for place, digit in enumerate(number):
        if digit.isdigit():
            wrong = number[:place] + str((int(digit) + 1) % 10) + number[place + 1:]
            assert kind not in mask(f"See {wrong} here.")[1]


@pytest.mark.parametrize("text, masked", [
    ("My SSN is 123-45-6789.", "My SSN is [ID]."), ("ssn:123456789", "ssn:[ID]"),
    ('{"ssn": "123-45-6789"}', '{"ssn": "[ID]"}'), ("**SSN:** 123-45-6789", "**SSN:** [ID]"),
    ("SSN (123-45-6789)", "SSN ([ID])"), ("My SSN was 123-45-6789.", "My SSN was [ID]."),
    ("Social security number: 123 45 6789", "Social security number: [ID]"),
    ("Part 123-45-6789", None), ("LESSN 123-45-6789", None), ("SSN 123-456789", None),
    ("SSN 123-45-67890", None),
])
def test_a_social_security_number_is_one_only_after_its_name(text, masked):
    assert mask(text)[0] == (masked or text)


def test_texts_without_any_of_it_stay_as_they_are():
    rng = random.Random(0)
    for _ in range(300):
        text = " ".join(rng.choices(
            ["cat", "7", "3.14", "12:30", "2024-05-06", "你好", "(a)", "x = 5;"], k=8))
        assert mask(text) == (text, Counter())


def test_the_time_grows_with_the_text_and_not_with_its_square():
    hard = ["a", "1 ", "1", "a.", "a@", "key ", "01-", "(02)", "a:", "AB12 ", "call ", "phone: ",
            "+1 ", "password is ", "-----BEGIN PRIVATE KEY-----", "[at]", "a [dot] ", "://a:"]
    start = time.monotonic()
    for part in hard:
        mask(part * (40_000 // len(part)))
    assert time.monotonic() - start < 10
