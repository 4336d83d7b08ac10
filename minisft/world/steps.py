"""Skills that take several steps, each written out: hops between people, chains of calls, running sums, compositions.

    two_hop       The boss of Mia is Tom. Tom's pet is a dog. ...   ->  The boss of Mia is Tom. The pet of Tom is a dog.
    chain         Mia calls Tom. Ben calls Eva. Tom calls Leo.      ->  Mia calls Tom. Tom calls Leo. The end is Leo.
    running_sum   3, then plus 4, minus 2                           ->  3 plus 4 is 7. 7 minus 2 is 5. The result is 5.
    compose       turn them around, then say the first        ->  Backwards it is c, b, a. Then the first word is c.

The last sentence is the answer proper, what comes before is the reasoning; `conclusion` cuts it off. Difficulty is the
number of steps.

Notes: 思维链 (chain of thought).
"""

from minisft.world import language
from minisft.world.facts import ATTRIBUTES, RESIDENTS
from minisft.world.language import Template, listing, sentences, state
from minisft.world.skills import LIST_SKILLS, Skill, is_number, name_of_sum, read_list, say_fact, solve_sum

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


# Hops: relation after relation, then an attribute


def _draw_two_hop(rng, scope):
    """One attribute of two people, and two who might lead there: only relation and name tell who is meant."""
    hops = scope.amount(rng, 2, 2)
    noun = rng.choice(scope.attributes)
    *people, other, stranger = rng.sample(RESIDENTS, hops + 2)  # from the one who is named to the one who is meant
    links = [(rng.choice(RELATIONS), a, b) for a, b in zip(people, people[1:])]
    relation, a, _ = rng.choice(links)
    another = rng.choice([name for name in RELATIONS if name != relation])
    links_told = [*links, rng.choice(((another, a, other), (relation, stranger, other)))]
    told = [RELATION.fill(relation=relation, name=a, other=b) for relation, a, b in links_told]
    told += [state((name, noun, rng.choice(list(ATTRIBUTES[noun].values))), rng.randrange(5))
             for name in (people[-1], other)]
    rng.shuffle(told)
    path = "".join(f"the {relation} of " for relation, _, _ in reversed(links)) + people[0]
    return {"passage": " ".join(told), "question": HOPS.fill(noun=noun, path=path)}


def _read_relation(sentence):
    slots = RELATION.match(sentence)
    known = slots and slots["relation"] in RELATIONS and {slots["name"], slots["other"]} <= set(RESIDENTS)
    return (slots["relation"], slots["name"], slots["other"]) if known else None


def _solve_two_hop(slots):
    question = HOPS.match(slots["question"])
    if not question:
        return None
    links, facts = {}, []
    for sentence in sentences(slots["passage"]):
        relation = _read_relation(sentence)
        if relation:
            if links.setdefault(relation[:2], relation[2]) != relation[2]:
                return None  # the text contradicts itself
        else:
            facts.append(sentence)
    known = language.read_passage(" ".join(facts))
    *path, name = question["path"].split(" of ")
    if not known or not path:
        return None
    told = []
    for relation in reversed(path):
        article, _, relation = relation.partition(" ")
        if article != "the" or (relation, name) not in links:
            return None
        told.append(RELATION.fill(relation=relation, name=name, other=links[relation, name]))
        name = links[relation, name]
    noun = question["noun"]
    if (name, noun) not in known:
        return None
    lead, rest = say_fact((name, noun, known[name, noun]))
    first, verb, then = f"{' '.join(told)} {lead}{rest}".partition(" is")
    return first + verb, then


# Chains of calls


def _draw_chain(rng, scope):
    """Two chains of equal length, their calls in any order."""
    steps = scope.amount(rng, 2, 4)
    names = rng.sample(RESIDENTS, 2 * steps + 2)
    chains = names[:steps + 1], names[steps + 1:]
    calls = [CALL.fill(name=a, other=b) for chain in chains for a, b in zip(chain, chain[1:])]
    rng.shuffle(calls)
    return {"calls": " ".join(calls), "name": chains[0][0]}


def _read_calls(text):
    """{caller: called}, or None if a sentence is no call or somebody calls two."""
    calls = {}
    for sentence in sentences(text):
        call = CALL.match(sentence)
        if not call or calls.setdefault(call["name"], call["other"]) != call["other"]:
            return None
    return calls


def _solve_chain(slots):
    calls, name, told = _read_calls(slots["calls"]), slots["name"], []
    if not calls or name not in calls or not {*calls, *calls.values()} <= set(RESIDENTS):
        return None
    while name in calls:
        told.append(CALL.fill(name=name, other=calls[name]))
        name = calls[name]
        if len(told) > len(calls):
            return None  # they call each other in a circle
    return "", f"{' '.join(told)} The end is {name}."


# Running sums


def _draw_running_sum(rng, scope):
    """Sums of numbers from 1 to 10, so that each step is one that the prose tells, and none is held out."""
    steps = scope.amount(rng, 2, 3)
    while True:
        start = total = rng.randint(1, 10)
        changes = []
        for _ in range(steps):
            possible = [b for b in range(1, 11) if total <= 10 and scope.knows(name_of_sum(total, b))]
            possible += [-b for b in range(1, 11) if 0 < total - b <= 10 and scope.knows(name_of_sum(total - b, b))]
            if not possible:
                break
            change = rng.choice(possible)
            total += change
            changes.append(f"{'plus' if change > 0 else 'minus'} {abs(change)}")
        else:
            return {"start": str(start), "changes": listing(changes)}


def _read_changes(text):
    changes = [change.split(" ") for change in text.split(", ")]
    fits = all(len(change) == 2 and change[0] in ("plus", "minus") and is_number(change[1]) for change in changes)
    return changes if fits else None


def _solve_running_sum(slots):
    changes = _read_changes(slots["changes"])
    if not changes or not is_number(slots["start"]):
        return None
    total, told = slots["start"], []
    for word, number in changes:
        solved = solve_sum({"a" if word == "plus" else "total": total, "b": number})
        if not solved:
            return None
        told.append("".join(solved).removeprefix("We know that "))
        total = solved[1].strip(" .")
    return "", f"{' '.join(told)} The result is {total}."


# Compositions of what can be done with a list

PHRASES = {"reverse": "turn them around", "without_first": "leave out the first", "without_last": "leave out the last",
           "first": "say the first", "last": "say the last", "count": "count them"}
_NAME_OF = {phrase: name for name, phrase in PHRASES.items()}
_MAKE_LISTS = ("reverse", "without_first", "without_last")
PAIRS = tuple((a, b) for a in _MAKE_LISTS for b in PHRASES if a != b)
NEW_PAIRS = (("reverse", "first"), ("without_first", "last"), ("without_last", "reverse"), ("without_first", "count"))


def _draw_compose(rng, scope):
    operations = scope.amount(rng, 2, 2)
    while True:
        names = [*rng.choices(_MAKE_LISTS, k=operations - 1), rng.choice(tuple(PHRASES))]
        pairs = set(zip(names, names[1:]))
        new = bool(pairs & set(NEW_PAIRS))
        if pairs <= set(PAIRS) and scope.new_pairs in (None, new):
            break
    words = rng.sample(scope.words(), rng.randint(3, 4) + operations - 2)
    return {"words": listing(words), "steps": ", then ".join(PHRASES[name] for name in names)}


def _solve_compose(slots):
    words, phrases = read_list(slots["words"]), slots["steps"].split(", then ")
    if not words or len(phrases) < 2 or not all(phrase in _NAME_OF for phrase in phrases):
        return None
    told = []
    if not all(_NAME_OF[phrase] in _MAKE_LISTS for phrase in phrases[:-1]):
        return None  # what is done next is done with a list
    for phrase in phrases:
        lead, change = LIST_SKILLS[_NAME_OF[phrase]]
        words = change(words)
        if not words:
            return None
        told.append((f"Then {lead[0].lower()}{lead[1:]}" if told else lead, f" {listing(words)}."))
    return " ".join(["".join(step) for step in told[:-1]] + [told[-1][0]]), told[-1][1]


SEVERAL_STEPS = (
    Skill("two_hop", _draw_two_hop, _solve_two_hop, ("{passage} ",),
          lambda slots: slots["question"].count(" of ")),
    Skill("chain", _draw_chain, _solve_chain, ("{calls} This begins with {name}. ",),
          lambda slots: _solve_chain(slots)[1].count(" calls "), uses_attributes=False),
    Skill("running_sum", _draw_running_sum, _solve_running_sum, ("The sum begins with {start}, then {changes}. ",),
          lambda slots: len(_read_changes(slots["changes"])), uses_attributes=False),
    Skill("compose", _draw_compose, _solve_compose, ("The words are {words}. ",),
          lambda slots: slots["steps"].count(", then ") + 1),
)
