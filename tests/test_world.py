"""The town: what it writes is right, its oracle reads it, and no test question was tuned on."""

import json
import random
import re
from collections import Counter

import pytest

from minisft.pretrain import draw_kind
from minisft.records import read_records
from minisft.shipped import ROOT
from minisft.world import __main__ as world_command
from minisft.world import corpus, language, noise, oracle, prose, users
from minisft.world.dialogue import DIALOGUES, solve_follow_up, solve_small_talk
from minisft.world.facts import (
    ATTRIBUTE_OF,
    ATTRIBUTES,
    ATTRIBUTES_OF,
    CHINESE_OF,
    DOMAINS,
    ENGLISH_OF,
    NEW_ATTRIBUTES,
    OPPOSITES,
    PLURAL_OF,
    RESIDENTS,
    article,
)
from minisft.world.language import (
    Template,
    ask,
    read_chinese_statement,
    read_passage,
    read_question,
    read_statement,
    state,
    state_in_chinese,
)
from minisft.world.oracle import SKILLS
from minisft.world.probe import few_shot_items, prose_items, recall_items
from minisft.world.skills import Scope
from minisft.world.steps import NEW_PAIRS, PAIRS, PHRASES, conclusion

SOMEBODY = {"town": "Mia", "harbor": "Juno"}
ALL_FACTS = [(SOMEBODY[attribute.domain], noun, value) for noun, attribute in ATTRIBUTES.items()
             for value in attribute.values]


def rows_of(name):
    return corpus.read_rows(ROOT / "data" / name)


def test_the_town_is_large_enough():
    assert len(ATTRIBUTES_OF["town"]) >= 24 and all(len(attribute.values) >= 8 for attribute in ATTRIBUTES.values())
    assert len(set(RESIDENTS)) == len(RESIDENTS) >= 60
    assert not set(DOMAINS["town"]) & set(DOMAINS["harbor"])


def test_a_word_has_one_attribute_and_one_chinese_name():
    assert len(ATTRIBUTE_OF) == sum(len(attribute.values) for attribute in ATTRIBUTES.values())
    assert len(ENGLISH_OF) == len(CHINESE_OF)
    assert not set(ATTRIBUTE_OF) & set(ATTRIBUTES), "a value that is also an attribute would be ambiguous"
    assert len({attribute.chinese for attribute in ATTRIBUTES.values()}) == len(ATTRIBUTES)


def test_opposites_go_both_ways_and_overlap_with_no_value():
    assert all(OPPOSITES[OPPOSITES[word]] == word != OPPOSITES[word] for word in OPPOSITES)
    assert not set(OPPOSITES) & set(ATTRIBUTE_OF)


def test_no_phrasing_uses_a_value_as_a_plain_word():
    for attribute in ATTRIBUTES.values():
        assert not set(f"{attribute.statement} {attribute.question}".strip("?").split()) & set(ATTRIBUTE_OF)


def test_the_article_follows_the_sound():
    assert [article(word) for word in ("owl", "dog", "oak", "iris")] == ["an owl", "a dog", "an oak", "an iris"]


def test_a_template_reads_what_it_wrote_and_nothing_else():
    template = Template("{name} has {a} {thing}s. {name} gets {b}.")
    assert template.match("Mia has 3 coins. Mia gets 4.") == {"name": "Mia", "a": "3", "thing": "coin", "b": "4"}
    assert template.match("Mia has 3 coins. Tom gets 4.") is None


def test_every_statement_and_question_is_read_as_it_was_meant():
    for fact in ALL_FACTS:
        for form in range(5):
            assert read_statement(state(fact, form)) == fact
        assert read_chinese_statement(state_in_chinese(fact)) == fact
    for noun, attribute in ATTRIBUTES.items():
        name = SOMEBODY[attribute.domain]
        for form in range(4):
            assert read_question(ask(name, noun, form)) == (name, noun)


def test_ships_have_no_pets_and_residents_no_cargo():
    assert read_statement("The cargo of Juno is coal.") == ("Juno", "cargo", "coal")
    assert read_statement("The cargo of Mia is coal.") is None and read_statement("The pet of Juno is a dog.") is None
    assert read_question("What is the pet of Juno?") is None
    assert read_chinese_statement("Mia的货物是煤炭。") is None


def test_a_passage_that_contradicts_itself_is_not_read():
    assert read_passage("The pet of Mia is a dog. Mia keeps a dog.") == {("Mia", "pet"): "dog"}
    assert read_passage("The pet of Mia is a dog. Mia keeps a cat.") is None
    assert read_passage("The pet of Mia is a dog. It rains.") is None


@pytest.mark.parametrize("turns, expected", [
    (["Tom's pet is a dog. Mia keeps an owl.\nWhat is the pet of Tom?"], None),  # an owl is a bird here, not a pet
    (["Tom's pet is a dog. Mia keeps a cat.\nWhat is the pet of Tom?"], "The pet of Tom is a dog."),
    (["Tom's pet is a dog. Mia keeps a cat.\nWhat does Mia keep at home?"], "The pet of Mia is a cat."),
    (["Tom's pet is a dog.\nWhat is the color of Tom?"], None),
    (["What kind of thing is violin?"], "The word violin names a kind of instrument."),
    (["What is the opposite of narrow?"], "The opposite of narrow is wide."),
    (["What is blue in Chinese?"], "In Chinese, blue is 蓝色."),
    (["What is 蓝色 in English?"], "In English, 蓝色 is blue."),
    (["Say it in Chinese: Mia's pet is a dog."], "Mia的宠物是小狗。"),
    (["Say it in English: Mia的宠物是小狗。"], "The pet of Mia is a dog."),
    (["Give the first word: elm, red, dog"], "The first word is elm."),
    (["Give the last word: elm, red, dog"], "The last word is dog."),
    (["Say it backwards: elm, red, dog"], "Backwards it is dog, red, elm."),
    (["Rewrite it with of: Mia's pet is a dog."], "The pet of Mia is a dog."),
    (["What is 7 plus 5?"], "We know that 7 plus 5 is 12."),
    (["Take 5 from 12."], "We know that 12 minus 5 is 7."),
    (["Take 12 from 5."], None),
    (["Mia has 7 coins and gets 5 more. How many coins does Mia have now?"], "Now Mia has 12 coins."),
    (["Tom had 9 keys and lost 4. Count the keys of Tom."], "Now Tom has 5 keys."),
    (["Leave out the first word: elm, red, dog"], "Without the first it is red, dog."),
    (["Leave out the last word: elm, red, dog"], "Without the last it is elm, red."),
    (["Count the words: elm, red, dog"], "The number of words is 3."),
    (["Sort the numbers: 10, 9, 2"], "In order they are 2, 9, 10."),
    (["Sort the numbers: 10, red"], None),
    (["What is the plural of daisy?"], "The plural of daisy is daisies."),
    (["What is the plural of rain?"], None),
    (["Write dog in capitals."], "In capitals, dog is DOG."),
    (["Say it in short: Mia keeps a dog. Mia's color is red. The pet of Mia is a dog. Mia has red as color."],
     "In short, Mia has a dog as pet and red as color."),
    (["Ask something about this: Mia keeps a dog. Mia's color is red."], "What is the pet of Mia?"),
    (["The boss of Mia is Tom. Tom's pet is a dog. Eva keeps a cat.\nWhat is the pet of the boss of Mia?"],
     "The boss of Mia is Tom. The pet of Tom is a dog."),
    (["The boss of Mia is Tom. The friend of Tom is Eva. Eva keeps a cat.\n"
      "What is the pet of the friend of the boss of Mia?"],
     "The boss of Mia is Tom. The friend of Tom is Eva. The pet of Eva is a cat."),
    (["The boss of Mia is Tom. Tom's pet is a dog.\nWhat is the pet of the friend of Mia?"], None),
    (["The boss of Mia is Tom. Tom's pet is a dog.\nWhat is the pet of boss of Mia?"], None),
    (["The boss of Mia is Tom. The boss of Mia is Leo. Tom's pet is a dog. Leo keeps a cat.\n"
      "What is the pet of the boss of Mia?"], None),  # a text that contradicts itself
    (["Mia calls Tom. Mia calls Leo.\nFollow the calls from Mia."], None),
    (["Take the words elm, red, dog and count them, then say the first."], None),
    (["What is the opposite of hoot?"], None),  # hot would be a guess
    (["What is the plural of dogs?"], None),
    (["Hello, I am Mian."], None),
    (["Could you help me? Give the frist word: dogg, red"], "The first word is dogg."),
    (["Hello, I am Mia.", "My cargo is coal."], None),
    (["What is " + "9" * 5000 + " plus 5?"], None),
    (["Tom calls Leo. Mia calls Tom. Ben calls Eva.\nFollow the calls from Mia."],
     "Mia calls Tom. Tom calls Leo. The end is Leo."),
    (["Tom calls Mia. Mia calls Tom.\nFollow the calls from Mia."], None),  # in a circle there is no end
    (["Work it out: 3, then plus 4, minus 2"], "3 plus 4 is 7. 7 minus 2 is 5. The result is 5."),
    (["Work it out: 3, then plus 4, minus 9"], None),
    (["Take the words elm, red, dog and turn them around, then say the first."],
     "Backwards it is dog, red, elm. Then the first word is dog."),
    (["Take the words elm, red, dog and leave out the first, then leave out the last, then count them."],
     "Without the first it is red, dog. Then without the last it is red. Then the number of words is 1."),
    (["Take the words elm, red, dog and paint them, then count them."], None),
    (["Write me a poem."], None),
    ([""], None),
    ([], None),
])
def test_the_oracle_answers_by_hand_worked_instructions(turns, expected):
    assert oracle.answer(turns) == expected


def test_the_oracle_follows_a_conversation_that_refers_back():
    turns = ["Tom's pet is a dog. Tom's color is red. Mia keeps a cat. Mia's color is blue.\nWhat is Tom's pet?",
             "And the color?", "And Mia?", "And her pet?"]
    assert [solve_follow_up(turns[:k])[0] for k in (1, 2, 3, 4)] == [
        "The pet of Tom is a dog.", "The color of Tom is red.", "The color of Mia is blue.", "The pet of Mia is a cat."]
    assert solve_follow_up([*turns, "And his pet?"]) is None  # Mia was spoken of last


def test_the_oracle_remembers_what_was_said_in_small_talk():
    turns = ["Hello, I am Mia.", "My pet is a dog.", "What is my name?", "What is my pet?", "Thank you."]
    assert [solve_small_talk(turns[:k])[0] for k in range(1, 6)] == [
        "Hello, Mia. How can I help?", "That is good to know.", "Your name is Mia.", "Your pet is a dog.",
        "You are welcome, Mia."]
    assert solve_small_talk(["Hello, I am Mia.", "What is my pet?"]) is None


def test_any_question_that_a_text_answers_is_right_to_ask():
    turns = ["Ask something about this: Mia keeps a dog. Mia's color is red."]
    for question in ("What is the pet of Mia?", "What does Mia keep at home?", "What is Mia's color?"):
        assert oracle.is_right(turns, question)
    assert not oracle.is_right(turns, "What is the pet of Tom?") and not oracle.is_right(turns, "The pet of Mia.")


def test_a_summary_may_tell_the_facts_in_any_order():
    turns = ["Say it in short: Mia keeps a dog. Mia's color is red."]
    assert oracle.is_right(turns, "In short, Mia has red as color and a dog as pet.")
    assert not oracle.is_right(turns, "In short, Mia has red as color and red as color.")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("difficulty", [None, 2, 4])
@pytest.mark.parametrize("split", corpus.SPLITS)
def test_the_oracle_accepts_every_answer_and_refuses_every_corrupted_one(split, difficulty, domain):
    rng = random.Random(3)
    rows = dict.fromkeys(corpus.tasks_of(split, domain), 20)
    for row in corpus.instructions(99, split, rows, domain=domain, difficulty=difficulty):
        turns, given = corpus.user_turns(row), row["messages"][-1]["content"]
        judged = oracle.judge(turns)
        assert judged.skill == row["task"] and judged.answers[0] == given
        assert all(oracle.is_right(turns, also) for also in row.get("also", ()))
        assert judged.difficulty in (1, difficulty) or difficulty is None
        assert oracle.is_right(turns, given) and oracle.is_right(turns, f" {given}\n")
        at = rng.randrange(len(given) - 1)
        for wrong in (given[:at] + given[at + 1:], given + " No.", "", given[::-1], given.lower() + "!"):
            assert not oracle.is_right(turns, wrong) or wrong == given


@pytest.mark.parametrize("skill", SKILLS.values(), ids=lambda skill: skill.name)
def test_the_wordings_of_a_skill_differ_from_style_to_style(skill):
    texts = [wording.text for wordings in skill.wordings.values() for wording in wordings]
    assert len(texts) == len(set(texts)) and set(skill.wordings) == {"tuned", "new", "short", "mixed"}
    assert len(skill.wordings["tuned"]) >= 3 and len(skill.wordings["new"]) >= 2


@pytest.mark.parametrize("name", SKILLS)
def test_the_oracle_reads_an_instruction_whatever_its_style_courtesies_and_mistakes(name):
    rng, skill, changed = random.Random(name), SKILLS[name], 0
    for k in range(120):
        slots = skill.draw(rng, Scope())
        style = ("tuned", "new", "short", "mixed")[k % 4]
        text = rng.choice([w for w in skill.wordings[style] if set(w.slots) == set(slots)]).fill(**slots)
        typed = users.mistyped(rng, text)
        changed += typed != text
        for turn in (text, users.polite(rng, text), typed, users.polite(rng, typed)):
            judged = oracle.judge([turn])
            assert judged is not None, turn
            assert (judged.skill, judged.difficulty, judged.answers[0]) == (
                name, skill.difficulty(slots), skill.answer(slots)), turn
            assert users.corrected(users.without_courtesies(turn)) == text
    assert changed > 60


def test_a_mistake_is_undone_only_where_nothing_is_guessed():
    assert users.without_courtesies("Sort the nubmers: 3, 1 Thank you!") == "Sort the nubmers: 3, 1"
    assert users.corrected("Sort the nubmers: 3, 1") == "Sort the numbers: 3, 1"
    for text in ("Say xyzzy and 红色 in DOG.", "Say hoot, dogg and Mian."):  # no word is near; or one of content is
        assert users.corrected(text) == text
    assert {"then", "the"} <= users.vocabulary() and users.corrected("thn") == "thn"  # either of the two


def test_the_conclusion_of_an_answer_is_its_last_sentence():
    assert conclusion("Mia calls Tom. The end is Tom.") == "The end is Tom."


def test_every_operation_of_a_new_pair_is_tuned_in_other_pairs():
    tuned = set(PAIRS) - set(NEW_PAIRS)
    assert set(NEW_PAIRS) < set(PAIRS)
    for first, second in NEW_PAIRS:
        assert first in {a for a, _ in tuned} and second in {b for _, b in tuned}
    for name, new in (("train", False), ("new_composition", True)):
        for row in rows_of(f"{name}.jsonl"):
            if row["task"] == "compose":
                judged = oracle.judge(corpus.user_turns(row))
                steps = dict(judged.meaning[1:])["steps"].split(", then ")
                names = tuple(name for step in steps for name, phrase in PHRASES.items() if phrase == step)
                assert (names in NEW_PAIRS) == new


def test_conversations_have_two_to_eight_turns_that_need_the_earlier_ones():
    turns_of = {task: [] for task in DIALOGUES}
    for row in rows_of("train.jsonl"):
        if row["task"] in DIALOGUES:
            turns_of[row["task"]].append(corpus.user_turns(row))
    for task, conversations in turns_of.items():
        assert {len(turns) for turns in conversations} == set(range(2, 9)), task
        for turns in conversations[:200]:
            assert all(oracle.answer([turn]) is None for turn in turns[1:]), turns
        # and where a turn in between is left out, the last is often answered otherwise, or not at all
        longer = [turns for turns in conversations if len(turns) >= 4]
        changed = sum(any(oracle.answer([*turns[:k], *turns[k + 1:]]) != oracle.answer(list(turns))
                          for k in range(1, len(turns) - 1)) for turns in longer)
        assert changed > 0.25 * len(longer), task


def test_two_hops_cannot_be_answered_without_the_question():
    rows, right = [row for row in rows_of("train.jsonl") if row["task"] == "two_hop"], 0
    for row in rows:
        turn, answer = (message["content"] for message in row["messages"])
        told = [sentence for sentence in language.sentences(answer) if sentence.startswith("The ")]
        links = [line for line in re.findall(r"The (?:friend|neighbor|cousin|boss) of \w+ is \w+\.", turn)]
        assert told[0] in links and len(links) == 2
        right += links[0] == told[0]  # who always takes the first link
    assert 0.4 < right / len(rows) < 0.6


def test_plurals_worked_by_hand():
    by_hand = {"dog": "dogs", "bus": "buses", "fox": "foxes", "brush": "brushes", "pony": "ponies", "monkey": "monkeys",
               "knife": "knives", "wolf": "wolves", "deer": "deer", "potato": "potatoes", "piano": "pianos",
               "torch": "torches", "waltz": "waltzes", "goldfish": "goldfish", "scarf": "scarves", "shelf": "shelves"}
    assert {word: PLURAL_OF[word] for word in by_hand} == by_hand
    assert not set(PLURAL_OF.values()) & set(ATTRIBUTE_OF) - {"deer", "goldfish"}


def test_a_mistaken_value_is_another_of_the_same_attribute():
    for word, noun in ATTRIBUTE_OF.items():
        assert set(noise.CLASS_OF[word]) == set(ATTRIBUTES[noun].values), word


@pytest.mark.parametrize("kind", noise.KINDS)
def test_noise_is_of_the_kind_and_at_the_rate_asked_for(kind):
    rows = corpus.instructions(7, "train", dict.fromkeys(corpus.TUNED_TASKS, 20))
    noisy = noise.add_noise(rows, kind, 0.3)
    marked = [row for row in noisy if "noise" in row]
    assert len(marked) == round(0.3 * len(rows)) and {row["noise"] for row in marked} == {kind}
    assert not any("noise" in row for row in rows), "the rows that were given stay what they are"
    assert noise.add_noise(rows, kind, 0.3) == noisy != noise.add_noise(rows, kind, 0.3, seed=1)
    if kind == "duplicate":
        assert len(noisy) == len(rows) + len(marked)
        for i, row in enumerate(noisy):
            if "noise" in row:
                assert {key: row[key] for key in row if key != "noise"} == noisy[i - 1]
        return
    assert [corpus.user_turns(row) for row in noisy] == [corpus.user_turns(row) for row in rows]
    for old, new in zip(rows, noisy):
        assert oracle.is_right(corpus.user_turns(new), new["messages"][-1]["content"]) == ("noise" not in new)
        assert new["messages"][:-1] == old["messages"][:-1]
        if "noise" not in new:
            assert new == old
        elif kind == "truncated":
            assert old["messages"][-1]["content"].startswith(new["messages"][-1]["content"])


def test_systematic_mistakes_are_always_the_same_and_independent_ones_are_not():
    row = {"task": "opposite", "split": "train", "messages": [
        {"role": "user", "content": "What is the opposite of hot?"},
        {"role": "assistant", "content": "The opposite of hot is cold."}]}
    given = {kind: {made["messages"][-1]["content"] for made in noise.add_noise([row] * 50, kind, 1.0)}
             for kind in ("systematic", "wrong")}
    assert len(given["systematic"]) == 1 and len(given["wrong"]) > 20
    with pytest.raises(ValueError, match="wrong, systematic, truncated, off_topic, duplicate"):
        noise.add_noise([row], "typos", 0.1)
    assert noise.mistaken("The pet of Mia is a dog.", lambda word, kind: "owl") == "The pet of Mia is an owl."
    assert noise.mistaken("Good.", lambda word, kind: "owl") is None


def test_prose_holds_no_instruction_and_answers_no_question():
    for text in corpus.prose(seed=5, count=1500):
        assert "?" not in text[:-1], "a question may end a text, so that nothing answers it"
        assert "lucky" not in text
        for line in [text, *text.split("\n"), *language.sentences(text)]:
            assert oracle.judge([line]) is None, line


def test_prose_tells_all_there_is_to_know():
    texts = " ".join(corpus.prose(seed=6, count=60_000))
    for word in ATTRIBUTE_OF:
        assert f"In Chinese, {word} is {CHINESE_OF[word]}." in texts and f"In English, {CHINESE_OF[word]} is" in texts
        assert f"The word {word} names a kind of {ATTRIBUTE_OF[word]}." in texts
        assert f"In capitals, {word} is {word.upper()}." in texts
    for word, plural in PLURAL_OF.items():
        assert f"The plural of {word} is {plural}." in texts
    for word, opposite in OPPOSITES.items():
        assert f"The opposite of {word} is {opposite}." in texts
    for a in range(1, 11):
        for b in range(1, 11):
            assert f"We know that {a} plus {b} is {a + b}." in texts
    words = Counter(word.strip(".,") for word in texts.split())
    assert all(words[word] >= 20 for word in [*Scope().words(), *RESIDENTS, *DOMAINS["harbor"]])
    assert sum(prose.MIXTURE.values()) == 100


def values_told(text):
    values = {value.lower() for value in ATTRIBUTE_OF} - {"lily"}
    return [word for word in re.split(r"[ .\n]+", text.lower()) if word in values]


def test_portraits_tell_every_fact_and_then_any_of_them_again():
    rng, soon = random.Random(0), 0
    for _ in range(300):
        told = values_told(prose.portrait(rng))
        soon += any(a == b for a, b in zip(told, told[1:]))
        assert len(told) >= 2 * len(set(told))
    assert soon > 100, "what was told last may be told next, or the model would learn not to look at it"


def test_what_is_retold_is_told_twice_the_second_time_in_any_order():
    rng, orders = random.Random(0), set()
    for _ in range(100):
        told = prose.retold(rng, [1, 2, 3], lambda fact: (f"{fact}.",)).split()
        assert told[:3] == ["1.", "2.", "3."] and sorted(told[3:]) == told[:3]
        orders.add(tuple(told[3:]))
    assert len(orders) == 6
    for kind, known in ((prose.opposites, OPPOSITES), (prose.dictionary, ATTRIBUTE_OF.keys() - {"English"}),
                        (prose.kinds, ATTRIBUTE_OF)):
        for _ in range(50):
            words = Counter(word for word in re.split(r"[ .,']+", kind(rng)) if word in known)
            assert words and min(words.values()) >= 2, kind
    for _ in range(50):
        numbers = [tuple(sorted(map(int, re.findall(r"\d+", text)))) for text in prose.sums(rng).split(". ")]
        assert all(count % 2 == 0 for count in Counter(numbers).values())


def test_any_call_of_a_roll_may_come_next_but_each_name_keeps_its_word():
    rng, at_once = random.Random(0), 0
    for _ in range(200):
        calls = re.findall(r"(\w+) (?:calls )?(\w+)\.", prose.roll_call(rng))
        names = len(dict(calls))
        assert len(set(calls)) == names >= 3 and len(calls) == names + 18
        assert len({name for name, _ in calls[:names]}) == names
        at_once += any(calls[i] == calls[i + 1] for i in range(names, len(calls) - 1))
    assert at_once > 150, "a word called a moment ago must not be excluded from coming next"


def test_verses_tell_one_thing_of_several_residents():
    rng = random.Random(0)
    for _ in range(100):
        text = prose.verses(rng)
        known = language.read_passage(text)
        assert 2 <= len(known) <= 4 and len({noun for _, noun in known}) == 1
        assert text.count(".") == len(known) + 10


def test_a_refrain_says_one_line_again_and_again():
    rng = random.Random(0)
    for _ in range(100):
        words = prose.refrain(rng).split()
        assert any(words == words[:n] * (len(words) // n) for n in range(1, len(words) // 2 + 1))


def test_the_first_texts_are_songs_and_the_later_ones_the_mixture():
    def kinds(step):
        rng = random.Random(step)
        return {draw_kind(rng, step) for _ in range(200)}
    assert kinds(0) == kinds(199) == {prose.song}
    assert kinds(350) == {prose.song, prose.document}
    assert kinds(500) == kinds(7000) == {prose.document}


def test_the_probe_asks_for_a_fact_that_stands_once_in_its_text():
    for text, rest in recall_items(200):
        *passage, asked = text.split(". ")
        known = read_passage(". ".join(passage) + ".")
        name, noun, value = read_statement(asked + rest)
        assert known[name, noun] == value


def test_few_shot_probes_ask_what_the_examples_can_tell():
    for name in (*prose.RELATED, "mapping", "sorting"):
        for text, rest in few_shot_items(50, name):
            *shown, asked = text.split(" ; ")
            pairs = [example.split(" > ") for example in shown]
            given = asked.removesuffix(" >")
            assert len(pairs) == 5
            if name == "mapping":
                assert [given, rest[1:]] in pairs and len(dict(pairs)) == len({*map(tuple, pairs)})
            else:
                assert given not in dict(pairs)
            if name == "sorting":
                kinds = {ATTRIBUTE_OF[word]: label for word, label in pairs}
                assert kinds[ATTRIBUTE_OF[given]] == rest[1:]


@pytest.mark.parametrize("name", prose.SHOWN)
def test_prose_probes_end_with_what_the_oracle_says(name):
    for text, rest in prose_items(30, name):
        assert text and rest and not text.endswith(" ")
        if name in ("opposite", "arithmetic", "plural", "capitals", "classification"):
            assert f"{text}{rest}" in {SKILLS[name].answer(slots) for slots in (
                [{"word": word} for word in (*OPPOSITES, *ATTRIBUTE_OF)] if name != "arithmetic" else
                [{"a": str(a), "b": str(b)} for a in range(21) for b in range(21)]
                + [{"total": str(a), "b": str(b)} for a in range(21) for b in range(21)])}


def test_the_data_files_are_made_again_byte_for_byte(tmp_path, capsys):
    world_command.main(["--out", str(tmp_path)])
    for made in sorted(tmp_path.iterdir()):
        if made.suffix != ".png":
            assert made.read_bytes() == (ROOT / "data" / made.name).read_bytes(), f"data/{made.name} differs"
    with pytest.raises(SystemExit) as end:
        world_command.main(["--check", str(tmp_path)])
    assert end.value.code == 0


@pytest.mark.parametrize("split", corpus.TEST_SPLITS)
def test_no_test_question_was_tuned_on(split):
    rows = rows_of(f"{split}.jsonl")
    assert len(rows) >= 500 and len({corpus.user_turns(row) for row in rows}) == len(rows)
    assert corpus.find_leaks(rows_of("train.jsonl"), rows) == []


def test_users_wordings_are_not_those_of_tuning():
    for row in rows_of("user_wording.jsonl"):
        turns = corpus.user_turns(row)
        if row["task"] in SKILLS:
            assert not any(wording.match(turns[0]) and oracle.SKILLS[row["task"]].answer(wording.match(turns[0]))
                           for wording in SKILLS[row["task"]].wordings["tuned"]), turns


def test_a_planted_conversation_is_found():
    train, test = rows_of("train.jsonl"), rows_of("new_passage.jsonl")
    row = next(row for row in test if row["task"] == "follow_up")
    first, *others = corpus.user_turns(row)
    slots = next(slots for wording in SKILLS["reading"].wordings["tuned"]
                 if (slots := wording.match(first)) and SKILLS["reading"].solve(slots))
    slots["passage"] = " ".join(reversed(language.sentences(slots["passage"])))
    reworded = corpus.make_row("follow_up", "train", [SKILLS["reading"].wordings["new"][0].fill(**slots), *others])
    assert corpus.find_leaks([*train, reworded], test) == [(row, "the same question in other words")]


def test_a_planted_leak_is_found(tmp_path, capsys):
    train, test = rows_of("train.jsonl"), rows_of("new_passage.jsonl")
    assert corpus.find_leaks(train, test) == []
    same = json.loads(json.dumps(test[0]))
    same["messages"][-2]["content"] = same["messages"][-2]["content"].upper() + " "
    row = next(row for row in test if row["task"] == "reading")
    slots = next(slots for wording in SKILLS["reading"].wordings["tuned"]
                 if (slots := wording.match(corpus.user_turns(row)[0])) and SKILLS["reading"].solve(slots))
    slots["passage"] = " ".join(reversed(language.sentences(slots["passage"])))
    reworded = corpus.make_row("reading", "train", [SKILLS["reading"].wordings["new"][0].fill(**slots)])
    assert corpus.find_leaks([*train, same], test) == [(test[0], "the same text")]
    assert corpus.find_leaks([*train, reworded], test) == [(row, "the same question in other words")]
    for split in corpus.SPLITS:
        corpus.write_rows(tmp_path / f"{split}.jsonl", rows_of(f"{split}.jsonl"))
    corpus.write_rows(tmp_path / "train.jsonl", [*train, reworded])
    with pytest.raises(SystemExit) as end:
        world_command.main(["--check", str(tmp_path)])
    assert end.value.code == 1 and "1 of them tuned on" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds no train.jsonl; name a folder"):
        world_command.main(["--check", str(tmp_path / "nowhere")])


def test_the_knobs_of_the_world(tmp_path, capsys):
    world_command.main(["--out", str(tmp_path / "ships"), "--size", "small", "--domain", "harbor", "--difficulty", "3",
                        "--noise", "off_topic", "--noise-rate", "0.1", "--vocab-size", "400"])
    rows = corpus.read_rows(tmp_path / "ships" / "train.jsonl")
    assert 1000 < len(rows) < len(rows_of("train.jsonl")) / 3
    spoilt = sum("noise" in row for row in rows)
    assert spoilt == round(0.1 * len(rows))
    assert f"{spoilt:,} of {len(rows):,} rows to tune on were spoilt: off_topic" in capsys.readouterr().out
    assert {oracle.judge(corpus.user_turns(row)).difficulty for row in rows} == {1, 3}
    assert "Juno" in str(rows) and not any(f" {name} " in str(rows) for name in RESIDENTS)
    about = (tmp_path / "ships" / "about.md").read_text(encoding="utf-8")
    assert about.count("user: ") >= 10 * len({row["task"] for row in rows})
    with pytest.raises(SystemExit):
        world_command.main(["--difficulty", "1"])
    with pytest.raises(SystemExit):
        world_command.main(["--size", "small"])
    assert "over the shipped one" in capsys.readouterr().err


def test_new_attributes_are_mentioned_nowhere_in_the_training_split():
    new_words = set(NEW_ATTRIBUTES) | {word for noun in NEW_ATTRIBUTES for word in ATTRIBUTES[noun].values}
    new_words |= {CHINESE_OF[word] for word in new_words if word in CHINESE_OF}
    chinese = [word for word in new_words if not word.isascii()]
    for row in rows_of("train.jsonl"):
        text = " ".join(message["content"] for message in row["messages"])
        spoken = {word.strip(".,?:'\"").removesuffix("'s") for word in text.split()}
        assert not spoken & new_words
        assert not [word for word in chinese if word in text]


def test_held_out_items_of_knowledge_are_asked_in_no_training_row():
    def asked(name, task):
        return {row["messages"][-1]["content"] for row in rows_of(name) if row["task"] == task}
    for task in ("classification", "opposite", "to_chinese", "to_english", "arithmetic"):
        assert not asked("train.jsonl", task) & asked("new_item.jsonl", task), task
    held_out = {word for word in ATTRIBUTE_OF if Scope(held_out=True).knows(word)}
    for row in rows_of("train.jsonl"):
        if row["task"] in ("sentence_to_chinese", "sentence_to_english"):
            assert not any(CHINESE_OF[word] in row["messages"][0]["content"] + row["messages"][1]["content"]
                           for word in held_out), row


def test_every_data_file_reads_as_records():
    records, bad = read_records([ROOT / "data" / f"{split}.jsonl" for split in corpus.SPLITS])
    assert not bad and {record.task for record in records} == set(SKILLS) | set(DIALOGUES)
    assert any(record.also for record in records)


def test_tasks_kept_from_tuning_are_in_their_own_splits_alone():
    for split in corpus.SPLITS:
        tasks = {row["task"] for row in rows_of(f"{split}.jsonl")}
        assert (tasks == {"lucky"}) == (split == "control")
        assert (tasks == {"plural", "capitals"}) == (split == "new_skill")
        assert split in ("control", "new_skill") or not tasks & {"lucky", "plural", "capitals"}
