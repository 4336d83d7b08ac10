"""What Self-Instruct asks a teacher, and how its answers are read: all of it in one place.

    examples    -> new_instructions  -> teacher -> parse                    -> instructions
    instruction -> is_classification -> teacher -> parse_is_classification  -> True or False
    instruction -> instances         -> teacher -> parse_instances          -> inputs and outputs

A task whose output is one of a few labels is asked for output first: name a label, then write an
input for it. Asked for the input first, a teacher writes inputs of one label far more often than of
the others. All other tasks are asked for input first.

The form of the paper is the default. A small teacher has no room for such long texts. It is asked
in the form `SHORT_FORM`: a few examples, whose list it continues, and then each new instruction by
itself, which holds its input. It has to be tuned on that form, as checkpoints/teacher.pt is.

Notes: 合成数据 (synthetic data). Source: Wang et al. 2022 (Self-Instruct), section 2.2; the texts
are our own. Simplified: the second and the third question show fewer examples.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

SHOWN = 8  # tasks in each of the questions after the first
LONGEST_SHOWN = 100  # characters of an example in the short form
NO_INPUT = ("none", "<none>", "(none)", "n/a", "无", "")
NUMBERED = re.compile(r"^[ \t]*\d+[ \t]*[.)．、](?!\d)", re.M)
FIELD = re.compile(r"^[ \t]*\**(input|output|label)\**[ \t]*[:：]\**", re.M | re.I)


@dataclass(frozen=True)
class Instance:
    """One input of a task, "" if it needs none and None if it is missing, and its output."""

    input: str | None
    output: str


@dataclass(frozen=True)
class Task:
    """id: "seed-7" is line 7 of the seed tasks, "row-7" that of the rows kept."""

    id: str
    instruction: str
    instances: tuple
    is_classification: bool


def new_instructions(examples):
    """Ask for as many new instructions as there are examples, a list of Task."""
    number = len(examples)
    listed = "\n".join(f"{i}. {one_line(task.instruction)}" for i, task in enumerate(examples, 1))
    return (f"Here is a list of tasks that somebody may want done, in English or Chinese:\n\n"
            f"{listed}\n\nContinue the list with {number} new tasks, unlike these and unlike each "
            f"other, numbered {number + 1} to {2 * number}. Write each on one line, and nothing "
            "else.")


def parse(answer):
    """The instructions of a numbered list, each on one line.

    What stands before the first number, or after a blank line, is talk around the list.

    >>> parse("Here they are:\\n9. Name a river.\\n10) Sort\\n  the words.\\n\\nAnything else?")
    ['Name a river.', 'Sort the words.']
    """
    pieces = NUMBERED.split(answer)[1:]
    found = (one_line(re.split(r"\n\s*\n", piece.strip())[0]) for piece in pieces)
    return [text for text in found if text]


def is_classification(instruction, seeds):
    """Ask whether an instruction is a classification task."""
    labels, others = of_kind(seeds, True, SHOWN // 2), of_kind(seeds, False, SHOWN // 2)
    shown = [task for pair in zip(labels, others) for task in pair]
    lines = [f"Task: {one_line(task.instruction)}\nClassification: "
             f"{'yes' if task.is_classification else 'no'}\n" for task in shown]
    return ("In a classification task the answer is one of a few labels that are fixed "
            "beforehand. Say yes if the last task is one, else no.\n\n" + "\n".join(lines)
            + f"\nTask: {instruction}\nClassification:")


def parse_is_classification(answer):
    """True for yes, False for no, None for an answer that says neither.

    >>> parse_is_classification("Yes."), parse_is_classification("否"), parse_is_classification("")
    (True, False, None)
    """
    word = re.match(r"\W*(yes\b|no\b|是|否|不是)", answer.lower())
    return word[1] in ("yes", "是") if word else None


def instances(instruction, is_classification, seeds):
    """Ask for inputs and outputs of an instruction, output first for a classification task."""
    if is_classification:
        how = ("For the last task, name a label and write an input to which it is the right "
               "answer. Do so once for each label.")
    else:
        how = ("For the last task, write an input, or none if it needs none, and the right output. "
               "Do so up to three times, each time with another input.")
    shown = [f"Task: {one_line(task.instruction)}\n" + "\n".join(
                written(each, is_classification) for each in task.instances)
             for task in of_kind(seeds, is_classification, SHOWN)]
    first = "Label:" if is_classification else "Input:"
    return "\n\n".join([how, *shown, f"Task: {instruction}\n{first}"])


def written(instance, is_classification):
    """An instance in the form that `parse_instances` reads."""
    given = f"Input: {instance.input or 'none'}"
    if is_classification:
        return f"Label: {instance.output}\n{given}"
    return f"{given}\nOutput: {instance.output}"


def parse_instances(answer, is_classification):
    """The Instances of an answer. A missing input is None where the output comes first.

    A missing output is "". The question ends with the first field's name, so the answer may begin
    with its value or with the name again.

    >>> parse_instances("hot\\nOutput: cold\\nInput: none\\nOutput: up", False)
    [Instance(input='hot', output='cold'), Instance(input='', output='up')]
    >>> parse_instances("Label: Spam\\nInput: You won!\\nLabel: Not spam", True)
    [Instance(input='You won!', output='Spam'), Instance(input=None, output='Not spam')]
    """
    first = "output" if is_classification else "input"
    start, *parts = FIELD.split(answer)
    names = ["input" if name.lower() == "input" else "output" for name in parts[::2]]
    if start.strip() and names[:1] != [first]:
        names, parts = [first, *names], ["", start, *parts]

    pairs, waiting = [], None  # waiting: a first field that still has no second one
    for name, value in zip(names, (part.strip() for part in parts[1::2])):
        if name != first:
            pairs.append((waiting or "", value))
            waiting = None
            continue
        if waiting is not None:
            pairs.append((waiting, None))
        waiting = value
    if waiting is not None:
        pairs.append((waiting, None))
    if is_classification:
        return [Instance(needed(given), label) for label, given in pairs]
    return [Instance(needed(given), output or "") for given, output in pairs]


def needed(given):
    """An input, "" where it says that none is needed; None stays None."""
    return "" if given is not None and given.lower().rstrip(".。") in NO_INPUT else given


@dataclass(frozen=True)
class Prompts:
    """Functions that ask, and functions that read the answers; see those of the same names.

    is_classification: None for a teacher that is not asked; then no task is one. examples: how many
    tasks the first question shows, a quarter of them made by the teacher.
    """

    new_instructions: Callable = new_instructions
    parse: Callable = parse
    is_classification: Callable | None = is_classification
    parse_is_classification: Callable = parse_is_classification
    instances: Callable = instances
    parse_instances: Callable = parse_instances
    examples: int = 8


def list_to_continue(examples):
    """Ask for new instructions in few words; the examples are a list of Task.

    Of each only the first LONGEST_SHOWN characters are shown, so that room is left for an answer.

    >>> print(list_to_continue([Task("", "Name a river.", (), False)]))
    1. Name a river.
    Write new tasks.
    """
    listed = [f"{i}. {one_line(task.instruction)[:LONGEST_SHOWN]}"
              for i, task in enumerate(examples, 1)]
    return "\n".join([*listed, "Write new tasks."])


def the_instruction(instruction, is_classification, seeds):
    """An instruction that holds its input is its own question."""
    return instruction


def whole_answer(answer, is_classification):
    """The one Instance of an instruction that holds its input."""
    return [Instance("", answer.strip())]


SHORT_FORM = Prompts(list_to_continue, is_classification=None, instances=the_instruction,
                     parse_instances=whole_answer, examples=4)
FORMS = {"paper": Prompts(), "short": SHORT_FORM}


def of_kind(tasks, is_classification, number):
    """So many tasks that are classification tasks, or are not, from all over the list."""
    found = [task for task in tasks if task.is_classification == is_classification]
    return found[::max(1, len(found) // number)][:number]


def one_line(text):
    return " ".join(text.split())
