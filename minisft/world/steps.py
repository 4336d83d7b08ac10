"""Skills of several steps, all written out: hops, chains of calls, running sums, compositions.

    two_hop       The boss of Mia is Tom. Tom's pet is a dog. What is the pet of the boss of Mia?
                  ->  The boss of Mia is Tom. The pet of Tom is a dog.
    chain         Mia calls Tom. Ben calls Eva. Tom calls Leo. Follow the calls from Mia.
                  ->  Mia calls Tom. Tom calls Leo. The end is Leo.
    running_sum   3, then plus 4, minus 2
                  ->  3 plus 4 is 7. 7 minus 2 is 5. The result is 5.
    compose       a, b, c: turn them around, then say the first
                  ->  Backwards it is c, b, a. Then the first word is c.

The last sentence is the result, the sentences before it are the reasoning; `conclusion` removes the
reasoning. Difficulty is the number of steps.

Notes: 思维链 (chain of thought).
"""

from minisft.world import language
from minisft.world.facts import ATTRIBUTES, RESIDENTS
from minisft.world.language import Template, listing, sentences, state
from minisft.world.skills import (
    LIST_SKILLS,
    Skill,
    is_number,
    name_of_sum,
    read_list,
    say_fact,
    solve_sum,
)

RELATIONS = ("friend", "neighbor", "cousin", "boss")
RELATION = Template("The {relation} of {name} is {other}.")
CALL = Template("{name} calls {other}.")
HOPS = Template("What is the {noun} of {path}?")


def conclusion(answer):
    """The last sentence of an answer, without the steps that led to it.

    >>> conclusion("3 plus 4 is 7. 7 minus 2 is 5. The result is 5.")
    'The result is 5.'
    """
    return sentences(answer)[-1]


# Hops: one or more relations, then an attribute


def _draw_two_hop(rng, scope):
    """A path of people, and a false lead.

    The text tells the attribute of two people; only the path tells which of them is meant.
    """
    hops = scope.amount(rng, 2, 2)
    noun = rng.choice(scope.attributes)
    *path, other, stranger = rng.sample(RESIDENTS, hops + 2)
    links = [(rng.choice(RELATIONS), a, b) for a, b in zip(path, path[1:])]

    # The false lead goes to `other`: by another relation of the same person, or from a stranger.
    relation, name, _ = rng.choice(links)
    another = rng.choice([word for word in RELATIONS if word != relation])
    false_lead = rng.choice(((another, name, other), (relation, stranger, other)))

    told = [RELATION.fill(relation=relation, name=a, other=b)
            for relation, a, b in (*links, false_lead)]
    for name in (path[-1], other):
        value = rng.choice(list(ATTRIBUTES[noun].values))
        told.append(state((name, noun, value), rng.randrange(5)))
    rng.shuffle(told)

    asked = "".join(f"the {relation} of " for relation, _, _ in reversed(links)) + path[0]
    return {"passage": " ".join(told), "question": HOPS.fill(noun=noun, path=asked)}


def _read_relation(sentence):
    """(relation, name, other) of a sentence, or None if it states no relation of residents."""
    slots = RELATION.match(sentence)
    if not slots:
        return None
    relation, name, other = slots["relation"], slots["name"], slots["other"]
    if relation in RELATIONS and name in RESIDENTS and other in RESIDENTS:
        return relation, name, other
    return None


def _read_text(passage):
    """({(relation, name): other}, {(name, noun): value}), or None if the text makes no sense."""
    links, facts = {}, []
    for sentence in sentences(passage):
        relation = _read_relation(sentence)
        if not relation:
            facts.append(sentence)
            continue
        kind, name, other = relation
        if links.setdefault((kind, name), other) != other:
            return None  # the text contradicts itself
    known = language.read_passage(" ".join(facts))
    return (links, known) if known else None


def _solve_two_hop(slots):
    question = HOPS.match(slots["question"])
    read = _read_text(slots["passage"])
    if not question or not read:
        return None
    links, known = read
    *hops, name = question["path"].split(" of ")  # ["the friend", "the boss"], "Mia"
    if not hops:
        return None

    told = []
    for hop in reversed(hops):
        article, _, relation = hop.partition(" ")
        if article != "the" or (relation, name) not in links:
            return None
        other = links[relation, name]
        told.append(RELATION.fill(relation=relation, name=name, other=other))
        name = other

    noun = question["noun"]
    if (name, noun) not in known:
        return None
    told.append("".join(say_fact((name, noun, known[name, noun]))))
    lead, verb, rest = " ".join(told).partition(" is")
    return lead + verb, rest


# Chains of calls


def _draw_chain(rng, scope):
    """Two chains of equal length, all calls in any order."""
    steps = scope.amount(rng, 2, 4)
    names = rng.sample(RESIDENTS, 2 * steps + 2)
    chains = names[:steps + 1], names[steps + 1:]
    calls = [CALL.fill(name=a, other=b) for chain in chains for a, b in zip(chain, chain[1:])]
    rng.shuffle(calls)
    return {"calls": " ".join(calls), "name": chains[0][0]}


def _read_calls(text):
    """{caller: called}, or None if a sentence is no call or a person calls two others."""
    calls = {}
    for sentence in sentences(text):
        call = CALL.match(sentence)
        if not call or calls.setdefault(call["name"], call["other"]) != call["other"]:
            return None
    return calls


def _solve_chain(slots):
    calls, name = _read_calls(slots["calls"]), slots["name"]
    if not calls or name not in calls or not {*calls, *calls.values()} <= set(RESIDENTS):
        return None
    told = []
    while name in calls:
        told.append(CALL.fill(name=name, other=calls[name]))
        name = calls[name]
        if len(told) > len(calls):
            return None  # they call each other in a circle
    return "", f"{' '.join(told)} The end is {name}."


# Running sums


def _draw_running_sum(rng, scope):
    """Each step is a sum of two numbers from 1 to 10 that prose tells and that `scope` knows."""
    steps = scope.amount(rng, 2, 3)
    while True:
        start = total = rng.randint(1, 10)
        changes = []
        for _ in range(steps):
            possible = possible_changes(total, scope)
            if not possible:
                break  # a dead end: start again
            change = rng.choice(possible)
            total += change
            changes.append(f"{'plus' if change > 0 else 'minus'} {abs(change)}")
        if len(changes) == steps:
            return {"start": str(start), "changes": listing(changes)}


def possible_changes(total, scope):
    """What may be added to a total, negative if it is taken away."""
    added = [b for b in range(1, 11)
             if total <= 10 and scope.knows(name_of_sum(total, b))]
    taken = [-b for b in range(1, 11)
             if 0 < total - b <= 10 and scope.knows(name_of_sum(total - b, b))]
    return added + taken


def _read_changes(text):
    """"plus 4, minus 2" -> [["plus", "4"], ["minus", "2"]]; None for a text of another form."""
    changes = [change.split(" ") for change in text.split(", ")]
    for change in changes:
        if len(change) != 2 or change[0] not in ("plus", "minus") or not is_number(change[1]):
            return None
    return changes


def _solve_running_sum(slots):
    changes = _read_changes(slots["changes"])
    if not changes or not is_number(slots["start"]):
        return None
    total, told = slots["start"], []
    for word, number in changes:
        if word == "plus":
            solved = solve_sum({"a": total, "b": number})
        else:
            solved = solve_sum({"total": total, "b": number})
        if not solved:
            return None
        lead, rest = solved
        told.append(lead.removeprefix("We know that ") + rest)
        total = rest.strip(" .")
    return "", f"{' '.join(told)} The result is {total}."


# Compositions of operations on a list

PHRASES = {
    "reverse": "turn them around",
    "without_first": "leave out the first",
    "without_last": "leave out the last",
    "first": "say the first",
    "last": "say the last",
    "count": "count them",
}
NAME_OF = {phrase: name for name, phrase in PHRASES.items()}
_MAKE_LISTS = ("reverse", "without_first", "without_last")  # the next operation needs a list
PAIRS = tuple((a, b) for a in _MAKE_LISTS for b in PHRASES if a != b)
NEW_PAIRS = (
    ("reverse", "first"),
    ("without_first", "last"),
    ("without_last", "reverse"),
    ("without_first", "count"),
)


def _draw_compose(rng, scope):
    operations = scope.amount(rng, 2, 2)
    while True:
        names = [*rng.choices(_MAKE_LISTS, k=operations - 1), rng.choice(tuple(PHRASES))]
        pairs = set(zip(names, names[1:]))
        has_new_pair = bool(pairs & set(NEW_PAIRS))
        if pairs <= set(PAIRS) and scope.new_pairs in (None, has_new_pair):
            break
    words = rng.sample(scope.words(), rng.randint(3, 4) + operations - 2)
    phrases = [PHRASES[name] for name in names]
    return {"words": listing(words), "steps": ", then ".join(phrases)}


def _solve_compose(slots):
    words = read_list(slots["words"])
    names = [NAME_OF.get(phrase) for phrase in slots["steps"].split(", then ")]
    if not words or len(names) < 2 or None in names:
        return None
    if not all(name in _MAKE_LISTS for name in names[:-1]):
        return None

    told = []
    for name in names:
        lead, change = LIST_SKILLS[name]
        words = change(words)
        if not words:
            return None
        if told:
            lead = f"Then {lead[0].lower()}{lead[1:]}"
        told.append((lead, f" {listing(words)}."))

    *steps, (lead, rest) = told
    return " ".join([*(a + b for a, b in steps), lead]), rest


SEVERAL_STEPS = (
    Skill("two_hop", _draw_two_hop, _solve_two_hop, ("{passage} ",),
          difficulty=lambda slots: slots["question"].count(" of ")),
    Skill("chain", _draw_chain, _solve_chain, ("{calls} This begins with {name}. ",),
          difficulty=lambda slots: _solve_chain(slots)[1].count(" calls "),
          uses_attributes=False),
    Skill("running_sum", _draw_running_sum, _solve_running_sum,
          ("The sum begins with {start}, then {changes}. ",),
          difficulty=lambda slots: len(_read_changes(slots["changes"])),
          uses_attributes=False),
    Skill("compose", _draw_compose, _solve_compose, ("The words are {words}. ",),
          difficulty=lambda slots: slots["steps"].count(", then ") + 1),
)
