"""What is wrong, told from what the code does and not from how it is written.

    1. as the oracle in every case                          passed
    2. as a known mistake, patched into the reference,
       in every case                                        the hint of that mistake
    3. an exception, too slow, too large                    what, and on which line
    4. a general symptom of most wrong cases                NaN, shape, sign, factor, shift, ...
    5. none of these                                        the counterexample alone

The counterexample is the smallest case that fails. A hint is only given where the code does the
same as the mistake in every case. Other code may do that too, so it is the likely cause.
"""

from collections import Counter
from dataclasses import dataclass

from lessons.checking.trial import (
    close,
    difference,
    expected_outcomes,
    is_number,
    is_tensor,
    largest,
    outcomes,
    pack,
    size,
)

ERRORS = {
    "TimeLimit": ("too slow", "It does not end; look at what each loop waits for."),
    "MemoryError": ("memory", "It asks for far too much memory."),
    "TooMuchPrinted": ("prints", "It prints without end; take the prints out of the loops."),
    "Died": ("died", "It ended the whole process; nothing here may call exit."),
    "Forbidden": ("forbidden", "It starts or ends a process or changes files, which no exercise "
                  "needs."),
}


@dataclass(frozen=True)
class Verdict:
    """status: "passed", "failed" or "to do"; hint: id of what was recognised, or "".

    cause: one sentence; case: the smallest failing case, packed; where, expected, got: a value of
    it that differs; line: of the learner's file, if an exception names one.
    """

    status: str
    hint: str = ""
    cause: str = ""
    case: dict | None = None
    where: str = ""
    expected: object = None
    got: object = None
    line: int | None = None


def packed_cases(exercise, rng):
    """The cases of an exercise from the smallest to the largest."""
    return sorted((pack(case) for case in exercise.cases(rng)), key=size)


class AnswerKey:
    """What right code does in each case, and what code with a known mistake does."""

    def __init__(self, exercise, cases):
        self.exercise, self.cases = exercise, cases
        self.expected = expected_outcomes(exercise, cases)
        self._mistaken = {}

    def mistaken(self, mistake):
        """The outcomes of a known mistake; it is our own code, so it runs in this process."""
        if mistake.name not in self._mistaken:
            text = self.exercise.mistaken(mistake)
            self._mistaken[mistake.name] = list(
                outcomes(self.exercise, text, f"{mistake.name}.py", self.cases))
        return self._mistaken[mistake.name]


def diagnose(key, found):
    """The Verdict on the outcomes of some code in the cases of an AnswerKey."""
    wrong = [i for i, (a, b) in enumerate(zip(key.expected, found)) if not equal(a, b)]
    if not wrong:
        return Verdict("passed")
    for outcome in found:
        if outcome.get("error") == "NotImplementedError":
            return Verdict("to do", cause="A body is still to be written.", line=outcome["line"])
    first, known = wrong[0], recognise(key, found)
    hint, cause = (known.name, known.hint) if known else common_symptom(key, found, wrong)
    return Verdict("failed", hint, cause, key.cases[first],
                   *counterexample(key.expected[first], found[first]), found[first].get("line"))


def equal(expected, found):
    """Whether two outcomes are equal, errors by their type."""
    if "error" in expected or "error" in found:
        return expected.get("error") == found.get("error")
    return (expected["changed"] == found["changed"]
            and difference(expected["values"], found["values"]) is None)


def recognise(key, found):
    """The known Mistake that does the same in every case, or None.

    Where there are nothing but exceptions, their messages must be the same too.
    """
    all_errors = all("error" in outcome for outcome in found)
    for mistake in key.exercise.mistakes:
        theirs = key.mistaken(mistake)
        if all(map(equal, theirs, found)) and not (
                all_errors and [each["message"] for each in theirs]
                != [each["message"] for each in found]):
            return mistake
    return None


def counterexample(expected, outcome):
    """(where, expected, got) of one value that differs."""
    if "error" in outcome:
        return "", None, f"{outcome['error']}: {outcome['message']}"
    name = wrong_value(expected, outcome)
    if name is None:
        return "inputs that are changed", "none", ", ".join(outcome["changed"])
    if name not in outcome["values"]:
        return name, "a value", "none, because of what comes before it"
    where, a, b = difference(expected["values"][name], outcome["values"][name])
    return name + where, a, b


def wrong_value(expected, outcome):
    """The name of the first value that differs, of those that are there if one is; or None."""
    found = outcome["values"]
    different = [name for name, value in expected["values"].items()
                 if name in found and difference(value, found[name])]
    missing = [name for name in expected["values"] if name not in found]
    return next(iter(different + missing), None)


# General symptoms


def common_symptom(key, found, wrong):
    """The symptom of at least half of the wrong cases, as one case may show it by chance."""
    seen = [symptom(key.cases[i], key.expected[i], found[i]) for i in wrong]
    (hint, number), = Counter(hint for hint, _ in seen).most_common(1)
    return next(each for each in seen if each[0] == hint) if 2 * number >= len(seen) else ("", "")


def symptom(case, expected, outcome):
    """(id, one sentence) of what the wrong values look like; ("", "") if like nothing known."""
    if "error" in outcome:
        return ERRORS.get(outcome["error"], ("exception", "It raises an exception."))
    if outcome["changed"]:
        names = ", ".join(outcome["changed"])
        return "changes inputs", f"It changes its input {names}; work on a copy."
    name = wrong_value(expected, outcome)
    if name not in outcome["values"]:
        return "", ""
    return value_symptom(case, expected["values"][name], outcome["values"][name], name)


def value_symptom(case, expected, got, name):
    """What one wrong value looks like."""
    name = name.strip()
    if got is None:
        return "returns nothing", (f"{name} is None; is a result not returned, or a gradient not "
                                   "computed?")
    if is_tensor(expected) != is_tensor(got):
        return "kind", f"{name} is of another kind than expected."
    if not is_tensor(expected):
        return number_symptom(expected, got, name)
    if expected["shape"] != got["shape"]:
        if got["shape"] == expected["shape"][::-1]:
            return "transposed shape", f"The shape of {name} is turned round; transpose it."
        return "shape", f"{name} has another shape than expected."
    a, b = expected["numbers"], got["numbers"]
    if any(y != y and x == x for x, y in zip(a, b)):
        return "nan", (f"{name} holds NaN: something is divided by zero, or a softmax has nothing "
                       "to look at.")
    if "float" not in expected["tensor"]:
        return "", ""
    if not any(b):
        return "zero", f"{name} is zero everywhere; is something computed and not used?"
    for given, value in case.items():
        if is_tensor(value) and value["shape"] == got["shape"] \
                and same_numbers(value["numbers"], b):
            return "copied input", f"{name} is its input {given}, unchanged."
    if same_numbers([-x for x in a], b):
        return "sign", f"{name} has the wrong sign."
    if has_constant_ratio(a, b):
        return "factor", f"{name} is what it must be times a constant; a factor is wrong."
    return arrangement(a, b, expected["shape"], name)


def number_symptom(expected, got, name):
    if is_number(expected) and is_number(got):
        if got != got:
            return "nan", f"{name} is NaN: something is divided by zero."
        if expected and close(-expected, got, abs(expected)):
            return "sign", f"{name} has the wrong sign."
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got) > 2:
        if expected[1:] == got[:-1] or expected[:-1] == got[1:]:
            return "shifted", f"{name} is shifted by one place."
    return "", ""


def arrangement(a, b, shape, name):
    """Right numbers in wrong places: transposed, or shifted by one along a dimension."""
    if len(shape) >= 2 and shape[-1] == shape[-2] > 1:
        n = shape[-1]
        turned = [a[i - i % (n * n) + i % n * n + i % (n * n) // n] for i in range(len(a))]
        if same_numbers(turned, b):
            return "transposed", f"{name} is transposed."
    stride = 1
    for size_of in reversed(shape):
        for by in (stride, -stride):
            pairs = [(x, b[i + by]) for i, x in enumerate(a)
                     if 0 <= i // stride % size_of + by // stride < size_of]
            if size_of > 2 and all(close(x, y, largest(a)) for x, y in pairs):
                return "shifted", f"{name} is shifted by one place."
        stride *= size_of
    return "", ""


def same_numbers(a, b):
    scale = largest(a)
    return all(close(x, y, scale) for x, y in zip(a, b))


def has_constant_ratio(a, b):
    """Whether one factor leads from some numbers to others; with two it would prove nothing."""
    at = max(range(len(a)), key=lambda i: abs(a[i]))
    return sum(map(bool, a)) > 2 and same_numbers([x * b[at] / a[at] for x in a], b)
