"""Self-Instruct: a teacher makes new tasks from a few that were written by hand.

    a round     examples -> teacher -> new instructions -> filters
    for each    is it a classification task? -> teacher -> inputs and outputs -> filters -> rows

The examples are 8 tasks: 6 of the seeds and 2 of those kept so far, filled up with seeds at first.
In the short form they are 4, with 1 of those kept. Classification tasks are written output first. A
new instruction stays if it is unlike all seeds and all that stayed before it
(minisft/instruct/filters.py has the filters, minisft/instruct/prompts.py the questions). The seeds
are in data/seed_tasks.jsonl.

What passes all filters may still have a wrong answer. Asked again, a teacher that guesses answers
otherwise, so with --ask-again a row is kept only if all answers to its instruction and input are
the same (after self-consistency, which takes the commonest of several answers). It suits questions
with one short answer, and a teacher that draws its answers: one that always takes the likeliest
token agrees with itself. It is not in the paper of Self-Instruct.

A round depends on the seed, on its number, on the tasks kept so far, and on the teacher's answers,
and on nothing else. All answers are on the disk as soon as they are given, in OUT.answers. So after
a kill the same command goes through the same rounds, asks nothing twice, and ends with the same
rows.

    OUT.jsonl             rows to train on, each with where it comes from
    OUT.rejected.jsonl    all that was dropped, with the reason and what was found
    OUT.funnel.png        how many candidates are left after each filter

Notes: 合成数据 (synthetic data). Source: Wang Yizhong et al. 2022 (Self-Instruct), sections 2.1 and
2.2; Wang Xuezhi et al. 2022 (Self-Consistency), for asking again.
Simplified: a task goes through all steps before the next one begins, so that examples are drawn
only from tasks that were kept whole.
"""

import random
from dataclasses import dataclass
from functools import partial
from itertools import count as count_from
from pathlib import Path
from reprlib import repr as short

from tqdm import tqdm

from minisft import plots
from minisft.config import at_least, option
from minisft.generate import NoRoom
from minisft.instruct.filters import INSTANCES, INSTRUCTION, Filter, Known, candidates, filters
from minisft.instruct.prompts import FORMS, Instance, Task
from minisft.instruct.tally import Tally
from minisft.instruct.teacher import TeacherFlags, chosen
from minisft.records import read_rows
from minisft.rows import kind, parse
from minisft.shipped import shipped

SEED_TASKS = shipped("data/seed_tasks.jsonl")
SEED_KEYS = {"instruction": str, "input": str, "output": str, "is_classification": bool}
PAPER = FORMS["paper"]
PATIENCE = 20  # rounds without a new task after which the teacher has no more to give
# Of a model of ours; a server keeps its own. The paper's code has a temperature of 0.7 too, and a
# top-p of 0.5 with a penalty on words that were used. Without that penalty 0.5 repeats itself.
TEMPERATURE, TOP_P = 0.7, 0.9

DROPPED = "dropped: "
NO_INSTANCE = "no instance to read"
OTHERWISE = "asked again, the teacher answers otherwise"
NO_TASK, LEFT_OVER = "no task to read", "enough tasks were kept"
ROUNDS, LOOKED_AT, KEPT, ROWS = "rounds", "new instructions", "tasks kept", "rows kept"
SHOWN_NO_TASK, SHOWN_LEFT_OVER = "answers without a task", "not looked at: enough tasks were kept"
UNCLEAR = "neither yes nor no: taken as no classification task"
GAVE_UP = f"stopped: {PATIENCE} rounds in a row without a new task"


@dataclass(frozen=True)
class SelfInstructConfig(TeacherFlags):
    count: int = option(100, "tasks to keep; a task has a row for each of its inputs")
    ascii_only: bool = option(False, "as the paper, drop instructions that start with a letter "
                                     "that is not ASCII, so all Chinese ones")
    ask_again: int = option(0, "how often the answer of each row is asked for again; the row is "
                               "kept only if all answers are the same. For questions with one "
                               "short answer, and a teacher that draws its answers")
    seed: int = option(0, "random seed: which examples a teacher sees, and what a model draws")
    out: str = option("", "file to write, OUT.jsonl; beside it OUT.json, OUT.rejected.jsonl, "
                          "OUT.funnel.png, and the teacher's answers in OUT.answers")

    def __post_init__(self):
        super().__post_init__()
        at_least(self, count=1, ask_again=0)


def build(config):
    """(rows, Tally, {file beside: rows or bytes}) of a SelfInstructConfig."""
    with chosen(config.teacher, config.teacher_url, config.teacher_model, config.budget_requests,
                config.budget_tokens, Path(config.out).with_suffix(".answers"), TEMPERATURE,
                config.seed, TOP_P) as teacher:
        made = SelfInstruct(teacher, read_seeds(SEED_TASKS), config.seed, teacher.name,
                            config.ascii_only, FORMS[config.prompts], config.ask_again)
        try:
            made.run(config.count)
        except NoRoom as error:
            raise ValueError(f"{error}; the questions of Self-Instruct are long, so take a model "
                             "with a longer context or a server; the teacher that ships is asked "
                             "with --prompts short") from None
    return made.rows, made.tally, {"rejected.jsonl": made.rejected,
                                   "funnel.png": figure(made.tally)}


def read_seeds(path):
    """The Tasks of a file of seed tasks; ValueError names file and line of a bad one."""
    tasks = []
    for number, (source, row) in enumerate(read_rows([path]), 1):
        if isinstance(row, ValueError):
            raise ValueError(f"{source}: {row}")
        if not isinstance(row, dict) or {key: type(row.get(key)) for key in SEED_KEYS} != SEED_KEYS:
            found = ", ".join(row) if isinstance(row, dict) else kind(row)
            raise ValueError(f"{source}: the row has {found}; expected instruction, input and "
                             "output as text, and is_classification, true or false")
        tasks.append(Task(f"seed-{number}", row["instruction"],
                          (Instance(row["input"], row["output"]),), row["is_classification"]))
    return tasks


class SelfInstruct:
    """What is kept and what is rejected so far; `run` goes on until enough is kept.

    teacher: a function, text -> text; seeds: list of Task; seed: of the random choices;
    teacher_name: for the rows; ascii_only: see minisft.instruct.filters; prompts: how the teacher
    is asked; ask_again: how often for each answer that is kept, as teacher(question, again=1), ...

    rows: to train on; rejected: rows of what was dropped; kept: the Tasks of `rows`.
    """

    def __init__(self, teacher, seeds, seed=0, teacher_name="", ascii_only=False,
                 prompts=PAPER, ask_again=0):
        if len(seeds) < prompts.examples:
            raise ValueError(f"there are {len(seeds)} seed tasks; expected at least "
                             f"{prompts.examples}, as many as a question shows")
        self.teacher, self.seeds, self.prompts = teacher, list(seeds), prompts
        self.seed, self.teacher_name, self.ask_again = seed, teacher_name, ask_again
        self.known = Known(task.instruction for task in seeds)
        self.filters = filters(self.known, ascii_only)
        self.kept, self.rows, self.rejected = [], [], []
        instances = [each.reason for each in self.filters if each.stage == INSTANCES]
        if ask_again:
            instances.append(OTHERWISE)
        dropped = [each.reason for each in self.filters if each.stage == INSTRUCTION]
        self.tally = Tally(
            ROUNDS, SHOWN_NO_TASK, LOOKED_AT,
            *(DROPPED + reason for reason in [*dropped, NO_INSTANCE, *instances]), KEPT, ROWS,
            *(f"instances {DROPPED}{reason}" for reason in instances), UNCLEAR, SHOWN_LEFT_OVER,
            GAVE_UP)

    def run(self, count):
        """Rounds, until so many tasks are kept or the teacher has no more to give."""
        barren = 0
        with tqdm(total=count, desc="self-instruct", unit="task", dynamic_ncols=True) as bar:
            for number in count_from(1):
                before = len(self.kept)
                for _ in self.round(number, count):
                    bar.update()
                barren = 0 if len(self.kept) > before else barren + 1
                if len(self.kept) == count:
                    return
                if barren == PATIENCE:
                    self.tally.add(GAVE_UP, f"round {number}")
                    return

    def round(self, number, count):
        """One round; yields once for each task that it keeps."""
        rng = random.Random(f"self-instruct round {self.seed} {number}")
        examples = draw(rng, self.seeds, self.kept, self.prompts.examples)
        origin = {"source": "self-instruct", "parents": [task.id for task in examples],
                  "teacher": self.teacher_name, "seed": self.seed, "round": number}
        answer = self.teacher(self.prompts.new_instructions(examples))
        proposed = candidates(self.prompts.parse(answer))
        self.tally.add(ROUNDS, f"round {number}")
        if not proposed:
            self.tally.add(SHOWN_NO_TASK, f"round {number}: {short(answer)}")
            self._reject(origin, NO_TASK, {"answer": answer})
        for candidate in proposed:
            where = f"round {number}: {short(candidate.text)}"
            if len(self.kept) == count:
                self.tally.add(SHOWN_LEFT_OVER, where)
                self._reject(origin, LEFT_OVER, {}, candidate.text)
                continue
            self.tally.add(LOOKED_AT, where)
            reason = self._take(candidate, origin, where)
            self.tally.add(DROPPED + reason if reason else KEPT, where)
            if not reason:
                yield

    def _take(self, candidate, origin, where):
        """Keep a candidate and its instances; or else returns the reason why it is dropped."""
        for each in self.filters:
            found = each.finds(candidate) if each.stage == INSTRUCTION else None
            if found is not None:
                self._reject(origin, each.reason, found, candidate.text)
                return each.reason
        self.known.add(candidate.text)

        is_classification = self._is_classification(candidate.text, where)
        answer = self.teacher(
            self.prompts.instances(candidate.text, is_classification, self.seeds))
        instances = self.prompts.parse_instances(answer, is_classification)
        if not instances:
            self._reject(origin, NO_INSTANCE, {"answer": answer}, candidate.text)
            return NO_INSTANCE
        asked_again = Filter(INSTANCES, OTHERWISE,
                             partial(self._answered_otherwise, candidate.text))
        for each in (*self.filters, asked_again):
            bad = each.finds(instances) if each.stage == INSTANCES else {}
            for i, found in bad.items():
                self.tally.add(f"instances {DROPPED}{each.reason}", where)
                self._reject(origin, each.reason, found, candidate.text, instances[i])
            instances = [instance for i, instance in enumerate(instances) if i not in bad]
            if not instances:
                return each.reason

        self.kept.append(Task(f"row-{len(self.rows) + 1}", candidate.text, tuple(instances),
                              is_classification))
        self.tally.add(ROWS, where, len(instances))
        self.rows += [{"messages": messages_of(candidate.text, instance)} | origin
                      for instance in instances]
        return None

    def _answered_otherwise(self, instruction, instances):
        """{index: the other answer} of the instances whose output is not what is answered again."""
        bad = {}
        for i, instance in enumerate(instances):
            question = messages_of(instruction, instance)[0]["content"]
            for again in range(1, self.ask_again + 1):
                answer = self.teacher(question, again)
                if answer.strip() != instance.output.strip():
                    bad[i] = {"answer": answer}
                    break
        return bad

    def _is_classification(self, instruction, where):
        if self.prompts.is_classification is None:
            return False
        answer = self.teacher(self.prompts.is_classification(instruction, self.seeds))
        is_classification = self.prompts.parse_is_classification(answer)
        if is_classification is None:
            self.tally.add(UNCLEAR, f"{where}, {short(answer)}")
        return bool(is_classification)

    def _reject(self, origin, reason, found, instruction=None, instance=None):
        row = {"reason": reason, "found": found}
        if instruction is not None:
            row["instruction"] = instruction
        if instance is not None:
            row |= {"input": instance.input, "output": instance.output}
        self.rejected.append(row | origin)


def draw(rng, seeds, kept, number=PAPER.examples):
    """The examples of a round, a list of Task in random order: a quarter were kept, others seeds.

    Where fewer were kept, there are more seeds.
    """
    made = rng.sample(kept, min(number // 4, len(kept)))
    examples = rng.sample(seeds, number - len(made)) + made
    rng.shuffle(examples)
    return examples


def messages_of(instruction, instance):
    """The messages of a row, instruction and input put together as training does."""
    row = {"instruction": instruction, "input": instance.input, "output": instance.output}
    return parse(row).item.to_messages()


def left_after(counts):
    """{step: candidates left after it} of the counts of a Tally."""
    number = counts[LOOKED_AT]
    left = {LOOKED_AT: number}
    for reason, dropped in counts.items():
        if reason.startswith(DROPPED):
            number -= dropped
            left[reason] = number
    return left


def figure(tally):
    """The bytes of a PNG: how many candidates are left after each filter."""
    return plots.png(plots.funnel, left_after(tally.counts),
                     "New instructions left after each filter")
