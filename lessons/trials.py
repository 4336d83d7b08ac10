"""What lessons 24 to 28 tune on: a format that is new, and facts that are new."""

import random

from minisft.conversation import Conversation
from minisft.experiment import Trial
from minisft.records import Record, read_records, render_record
from minisft.shipped import CONVERSATIONS, shipped
from minisft.world.facts import RESIDENTS

SHORT = ("arithmetic", "classification", "count", "first", "last", "opposite", "to_chinese",
         "to_english")  # tasks whose answer is one short sentence
STEPS, BATCH_SIZE = 80, 16


def format_shift(tokenizer, fast=False):
    """The prose has taught what is asked, and only the form is new: eight tasks of one sentence.

    148 rows held out from the training rows are for the pilot. The report asks 398 new items (words
    and sums never asked for, which is harder) and 112 new passages.
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
