"""What lessons tune on and ask: a format that is new, facts that are new, and fresh tasks of the
town, of which no test asks one."""

import random
from math import ceil

from minisft.batching import prepare
from minisft.conversation import Conversation
from minisft.experiment import Trial
from minisft.records import Record, read_records, render_record
from minisft.shipped import CONVERSATIONS, shipped
from minisft.world.corpus import instructions, text_of, user_turns
from minisft.world.evolving import TASKS
from minisft.world.facts import RESIDENTS
from minisft.world.oracle import SKILLS, judge
from minisft.world.teaching import STYLES

SHORT = ("arithmetic", "classification", "count", "first", "last", "opposite", "to_chinese",
         "to_english")  # tasks whose answer is one short sentence
STEPS, BATCH_SIZE = 80, 16


def format_shift(tokenizer, fast=False):
    """The prose has taught what is asked, and only the form is new: eight tasks of one sentence.

    118 rows held out from the training rows are for the pilot. The report asks 407 new items (words
    and sums never asked for, which is harder) and 103 new passages.
    """
    rows = of_short_tasks([CONVERSATIONS])
    test = of_short_tasks([shipped("data/new_passage.jsonl"), shipped("data/new_item.jsonl")])
    random.Random(0).shuffle(test)
    examples = [render_record(row, tokenizer) for i, row in enumerate(rows) if i % 20]
    held_out = rows[::20]
    if fast:
        return Trial(examples, held_out[:20], test[:20], steps=3, batch_size=BATCH_SIZE)
    return Trial(examples, held_out, test[:510], STEPS, BATCH_SIZE)


def of_short_tasks(files):
    return [record for record in read_records(files)[0] if record.task in SHORT]


def made_up_facts(tokenizer, seed, fast=False):
    """No text holds what is asked: "What is the code of Mia?", for 64 residents, learnt by heart.

    Each seed has codes of its own, and the pilot has those of a seed that is not reported.
    """
    rng, records = random.Random(seed), []
    for name in RESIDENTS[:8] if fast else RESIDENTS:
        code = rng.randrange(100, 1000)
        conversation = Conversation.from_messages([
            {"role": "user", "content": f"What is the code of {name}?"},
            {"role": "assistant", "content": f"The code of {name} is {code}."}])
        records.append(Record(conversation, "made up", "code"))
    examples = [render_record(record, tokenizer) for record in records]
    return Trial(examples, records, records, steps=3 if fast else STEPS, batch_size=BATCH_SIZE)


def fresh_rows(seed, number, asked, tasks=TASKS, difficulty=None):
    """So many new rows, about equally many of each task, with the oracle's answers.

    They are worded in the two styles from which the town's teacher has its wordings.

    asked: an Asked, what must not come again. Fewer where there are no more different ones.
    """
    share = dict.fromkeys(tasks, ceil(number / len(tasks)))
    return instructions(seed, "train", share, asked, difficulty=difficulty,
                        styles=STYLES)[:number]


def is_asked(row, asked):
    """Whether a row says what an Asked holds or, but for knowledge, asks it in other words.

    The same rule as that of `fresh_rows`.
    """
    if text_of(row) in asked.texts:
        return True
    judged = judge(user_turns(row))
    is_knowledge = judged and judged.skill in SKILLS and SKILLS[judged.skill].asks_knowledge
    return bool(judged) and not is_knowledge and judged.meaning in asked.meanings


def record_of(row):
    """The Record of a row of the town, or of a builder."""
    return Record(Conversation.from_messages(row["messages"]), "drawn", row.get("task", "all"),
                  also=tuple(row.get("also", ())))


def rendered(rows, tokenizer, block_size):
    """What is trained on: the rows as ids and loss masks; says which do not fit the context."""
    examples, notes = prepare(map(record_of, rows), tokenizer, block_size)
    print("".join(f"{note}\n" for note in notes), end="")
    return examples
