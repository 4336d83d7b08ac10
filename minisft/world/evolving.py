"""Evolving a task of the town: what Evol-Instruct's operations mean where the answer is known.

    evolved(rng, "more reasoning", ("arithmetic", {"a": "3", "b": "4"}), scope)
        ->  ("running_sum", {"start": "3", "changes": "plus 4, minus 2"})

A task is a name of SKILLS with its slots, so what has come of it can be worded and answered again.

    add constraints         the first or last word of the list does not count
    deepen                  not Mia's pet, but that of Tom's boss, who is Mia: one more hop
    concretise              a sum becomes a story, a word to translate becomes a sentence
    more reasoning          one more operation, one more change of a sum, one more call
    complicate the input    one or two more words, numbers or facts
    breadth                 another task of the town

Most operations fit only some tasks. `work` measures what they do: how much there is to read, and
how much to say.

Notes: 合成数据 (synthetic data). Source: Xu et al. 2023 (WizardLM), section 3, for the operations.
"""

from minisft.instruct.evol_instruct import BREADTH
from minisft.world.facts import ATTRIBUTE_OF, ATTRIBUTES, ENGLISH_OF, RESIDENTS
from minisft.world.language import (
    listing,
    read_passage,
    read_question,
    sentences,
    state,
    state_in_chinese,
)
from minisft.world.oracle import SKILLS
from minisft.world.skills import LIST_SKILLS, THINGS, read_list
from minisft.world.steps import (
    CALL,
    HOPS,
    NAME_OF,
    NEW_PAIRS,
    PAIRS,
    PHRASES,
    RELATION,
    RELATIONS,
    possible_changes,
)

MOST_WORDS, MOST_FACTS, MOST_STEPS = 7, 5, 5
MOST_HOPS = 3  # relations; the oracle counts the attribute at their end as one hop more
LONGEST_TEXT = 260  # characters of a text that is made longer


def evolved(rng, operation, task, scope):
    """What comes of a task, a pair (name, slots); None where the operation does not fit it.

    rng: a random.Random; scope: a Scope, what may be drawn.
    """
    name, slots = task
    if operation == BREADTH:
        return another(rng, name, scope)
    change = CHANGES[operation].get(name)
    new = change and change(rng, name, slots, scope)
    return new if new and SKILLS[new[0]].answer(new[1]) and not has_new_pair(new) else None


def another(rng, name, scope):
    """A task of another name."""
    other = rng.choice([each for each in TASKS if each != name])
    return other, SKILLS[other].draw(rng, scope)


# Each change: (rng, name, slots, scope) -> (name, slots), or None


def leave_one_out(rng, name, slots, scope):
    """First the first or last word is left out, then all goes on as before."""
    first = PHRASES[rng.choice(("without_first", "without_last"))]
    return composed(slots["words"], [first, *phrases_of(name, slots)])


def one_more_operation(rng, name, slots, scope):
    return composed(slots["words"], [*phrases_of(name, slots), rng.choice(tuple(PHRASES.values()))])


def phrases_of(name, slots):
    """The operations of a task on a list, as `compose` words them."""
    return slots["steps"].split(", then ") if name == "compose" else [PHRASES[name]]


def composed(words, phrases):
    """A composition, or None if it is too long or two operations do not go together."""
    names = [NAME_OF[phrase] for phrase in phrases]
    if len(names) > MOST_STEPS or not set(zip(names, names[1:])) <= set(PAIRS):
        return None
    return "compose", {"words": words, "steps": ", then ".join(phrases)}


def has_new_pair(task):
    """Whether a composition has a pair of operations that is kept for the tests."""
    name, slots = task
    names = [NAME_OF[phrase] for phrase in phrases_of(name, slots)] if name == "compose" else []
    return bool(set(zip(names, names[1:])) & set(NEW_PAIRS))


def from_sum_to_changes(rng, name, slots, scope):
    """A sum is the first change of a running sum."""
    start = slots.get("a", slots.get("total"))
    changes = f"{'plus' if 'a' in slots else 'minus'} {slots['b']}"
    return one_more_change(rng, name, {"start": start, "changes": changes}, scope)


def one_more_change(rng, name, slots, scope):
    solved = SKILLS["running_sum"].answer(slots)
    total = int(solved.rstrip(".").rsplit(" ", 1)[1])
    possible = possible_changes(total, scope)
    changes = slots["changes"].split(", ")
    if not possible or len(changes) == MOST_STEPS:
        return None
    change = rng.choice(possible)
    changes.append(f"{'plus' if change > 0 else 'minus'} {abs(change)}")
    return "running_sum", slots | {"changes": listing(changes)}


def one_more_call(rng, name, slots, scope):
    """The last one who is called calls somebody who is not in the text."""
    calls, path = sentences(slots["calls"]), sentences(SKILLS["chain"].answer(slots))[:-1]
    if len(path) == MOST_STEPS:
        return None
    end = CALL.match(path[-1])["other"]
    calls.insert(rng.randint(0, len(calls)),
                 CALL.fill(name=end, other=stranger(rng, slots["calls"])))
    return name, slots | {"calls": " ".join(calls)}


def stranger(rng, text):
    return rng.choice([name for name in RESIDENTS if name not in text])


def ask_through_a_relation(rng, name, slots, scope):
    """What was asked about a person is asked about the friend, boss, ... of a stranger."""
    person, noun = read_question(slots["question"])
    relation, other = rng.choice(RELATIONS), stranger(rng, slots["passage"])
    return told_besides(rng, slots, RELATION.fill(relation=relation, name=other, other=person),
                        HOPS.fill(noun=noun, path=f"the {relation} of {other}"))


def one_more_hop(rng, name, slots, scope):
    if slots["question"].count(" of ") > MOST_HOPS:
        return None
    before, person = slots["question"].rstrip("?").rsplit(" ", 1)
    relation, other = rng.choice(RELATIONS), stranger(rng, slots["passage"])
    return told_besides(rng, slots, RELATION.fill(relation=relation, name=other, other=person),
                        f"{before} the {relation} of {other}?")


def told_besides(rng, slots, sentence, question):
    """A question of several hops about a text with one more sentence."""
    told = sentences(slots["passage"])
    told.insert(rng.randint(0, len(told)), sentence)
    return "two_hop", {"passage": " ".join(told), "question": question}


def as_story(rng, name, slots, scope):
    return "story", slots | {"name": rng.choice(RESIDENTS), "thing": rng.choice(THINGS)}


def as_sentence(rng, name, slots, scope):
    """The word to translate stands in a sentence."""
    english = slots["word"] if name == "to_chinese" else ENGLISH_OF[slots["word"]]
    fact = rng.choice(scope.names), ATTRIBUTE_OF[english], english
    if name == "to_chinese":
        return "sentence_to_chinese", {"sentence": state(fact, rng.randrange(2))}
    return "sentence_to_english", {"sentence": state_in_chinese(fact)}


def more_words(rng, name, slots, scope):
    return longer(rng, name, slots, "words", scope.words())


def more_numbers(rng, name, slots, scope):
    return longer(rng, name, slots, "numbers", list(map(str, range(1, 21))))


def longer(rng, name, slots, slot, possible):
    """A list with one or two more entries at its end."""
    entries = read_list(slots[slot])
    number = min(rng.randint(1, 2), MOST_WORDS - len(entries))
    if number < 1:
        return None
    new = rng.sample([entry for entry in possible if entry not in entries], number)
    return name, slots | {slot: listing([*entries, *new])}


def more_facts(rng, name, slots, scope):
    """A text that says one thing more about somebody in it."""
    known = read_passage(slots["passage"])
    if len(known) >= MOST_FACTS or len(slots["passage"]) > LONGEST_TEXT:
        return None
    person = rng.choice(sorted({person for person, _ in known}))
    nouns = [noun for noun in scope.attributes if (person, noun) not in known]
    noun = rng.choice(nouns)
    fact = person, noun, rng.choice(list(ATTRIBUTES[noun].values))
    return name, slots | {"passage": f"{slots['passage']} {state(fact, rng.randrange(5))}"}


CHANGES = {  # {operation: {name of a task: its change}}
    "add constraints": dict.fromkeys((*LIST_SKILLS, "compose"), leave_one_out),
    "deepen": {"reading": ask_through_a_relation, "two_hop": one_more_hop},
    "concretise": {"arithmetic": as_story, "to_chinese": as_sentence, "to_english": as_sentence},
    "more reasoning": dict.fromkeys((*LIST_SKILLS, "compose"), one_more_operation) | {
        "arithmetic": from_sum_to_changes, "running_sum": one_more_change, "chain": one_more_call},
    "complicate the input": dict.fromkeys(LIST_SKILLS, more_words) | {
        "sort": more_numbers} | dict.fromkeys(("reading", "not_said", "summary", "ask"),
                                              more_facts),
}
TASKS = (  # tuned, of one turn, and about the town
    "reading", "classification", "opposite", "to_chinese", "to_english", "sentence_to_chinese",
    "sentence_to_english", *LIST_SKILLS, "sort", "restate", "summary", "ask", "arithmetic", "story",
    "not_said", "two_hop", "chain", "running_sum", "compose")
HARD = ("two_hop", "chain", "running_sum", "compose")  # what operations in depth lead to
EASY = tuple(name for name in TASKS if name not in HARD)


def work(judged):
    """How much there is to read and to say: one for each sentence of a passage, each call, entry of
    a list or change that is given, and one for each sentence of the right answer.

    judged: a Judgement of one instruction. Each operation in depth but "concretise" raises it. The
    oracle's difficulty cannot be used here: it counts facts for one task and hops for another.

    >>> from minisft.world.oracle import judge
    >>> work(judge(["What is 3 plus 4?"]))
    1
    >>> work(judge(["3, then plus 4, minus 2: how much is it?"]))
    5
    """
    slots = judged.meaning[1:] if judged.skill in SKILLS else ()  # small talk gives nothing
    given = 0
    for slot, content in slots:
        if isinstance(content, tuple) and slot in ("passage", "calls", "numbers"):
            given += len(content)
        elif slot in ("words", "changes"):
            given += len(content.split(", "))
    return given + len(sentences(judged.answers[0]))
