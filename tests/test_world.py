"""The town: what it writes is right, its oracle reads it, and no test question was trained on."""

import copy
import random
import re
from collections import Counter

import pytest

from minisft.pretrain import draw_kind
from minisft.records import read_records
from minisft.shipped import ROOT, TEST_SPLITS
from minisft.world import __main__ as world_command
from minisft.world import corpus, language, noise, oracle, prose, users
from minisft.world.cores import BANKS, CORES
from minisft.world.dialogue import DIALOGUES, SAYINGS, SYSTEM
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
from minisft.world.outside import OUTSIDE
from minisft.world.probe import few_shot_items, prose_items, recall_items
from minisft.world.skills import Scope
from minisft.world.steps import NEW_PAIRS, PAIRS, PHRASES, conclusion
from minisft.world.wordings import (
    LAYOUTS,
    NEW_STYLES,
    TUNED_STYLES,
    first_wordings,
    readings,
    slots_of,
    wordings,
)

STYLES = (*TUNED_STYLES, *NEW_STYLES)
SOMEBODY = {"town": "Mia", "harbor": "Juno"}
ALL_FACTS = [(SOMEBODY[attribute.domain], noun, value) for noun, attribute in ATTRIBUTES.items()
             for value in attribute.values]


def rows_of(name):
    """The rows of a file that ships."""
    return corpus.read_rows(ROOT / "data" / name)


def answer_of(row):
    """The last answer of a row."""
    return row["messages"][-1]["content"]


def test_the_town_is_large_enough():
    assert len(ATTRIBUTES_OF["town"]) >= 24
    assert all(len(attribute.values) >= 8 for attribute in ATTRIBUTES.values())
    assert len(set(RESIDENTS)) == len(RESIDENTS) >= 60
    assert not set(DOMAINS["town"]) & set(DOMAINS["harbor"])


def test_a_word_has_one_attribute_and_one_chinese_name():
    assert len(ATTRIBUTE_OF) == sum(len(attribute.values) for attribute in ATTRIBUTES.values())
    assert len(ENGLISH_OF) == len(CHINESE_OF)
    assert not set(ATTRIBUTE_OF) & set(ATTRIBUTES), "no word is both a value and an attribute"
    assert len({attribute.chinese for attribute in ATTRIBUTES.values()}) == len(ATTRIBUTES)


def test_opposites_go_both_ways_and_are_no_values():
    assert all(OPPOSITES[OPPOSITES[word]] == word != OPPOSITES[word] for word in OPPOSITES)
    assert not set(OPPOSITES) & set(ATTRIBUTE_OF)


def test_no_phrasing_uses_a_value_as_a_plain_word():
    for attribute in ATTRIBUTES.values():
        words = f"{attribute.statement} {attribute.question}".strip("?").split()
        assert not set(words) & set(ATTRIBUTE_OF)


def test_the_article_follows_the_sound():
    articles = [article(word) for word in ("owl", "dog", "oak", "iris")]
    assert articles == ["an owl", "a dog", "an oak", "an iris"]


def test_a_template_reads_what_it_wrote_and_nothing_else():
    template = Template("{name} has {a} {thing}s. {name} gets {b}.")
    slots = {"name": "Mia", "a": "3", "thing": "coin", "b": "4"}
    assert template.match("Mia has 3 coins. Mia gets 4.") == slots
    assert template.match("Mia has 3 coins. Tom gets 4.") is None


def test_every_statement_and_question_is_read_correctly():
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
    assert read_statement("The cargo of Mia is coal.") is None
    assert read_statement("The pet of Juno is a dog.") is None
    assert read_question("What is the pet of Juno?") is None
    assert read_chinese_statement("Mia的货物是煤炭。") is None


def test_a_passage_that_contradicts_itself_is_not_read():
    assert read_passage("The pet of Mia is a dog. Mia keeps a dog.") == {("Mia", "pet"): "dog"}
    assert read_passage("The pet of Mia is a dog. Mia keeps a cat.") is None
    assert read_passage("The pet of Mia is a dog. It rains.") is None


@pytest.mark.parametrize("turns, expected", [
    # an owl is a bird here, not a pet
    (["Tom's pet is a dog. Mia keeps an owl.\nWhat is the pet of Tom?"], None),
    (["Tom's pet is a dog. Mia keeps a cat.\nWhat is the pet of Tom?"], "The pet of Tom is a dog."),
    (["Tom's pet is a dog. Mia keeps a cat.\nWhat does Mia keep at home?"],
     "The pet of Mia is a cat."),
    (["Tom's pet is a dog.\nWhat is the color of Tom?"], "The text does not say."),
    (["Tom's pet is a dog.\nWhat is the pet of Mia?"], "The text does not say."),
    (["What is the pet of Mia?"], "I do not know that."),
    (["Who painted the Mona Lisa?"], "I do not know that."),
    (["who painted the mona lisa?"], None),
    (["whats the opposite of hot"], "The opposite of hot is cold."),
    (["pls reverse elm, red, dog"], "Backwards it is dog, red, elm."),
    (["7 + 5 = ?"], "We know that 7 plus 5 is 12."),
    (["12-5"], "We know that 12 minus 5 is 7."),
    (["请把词语倒过来：elm, red, dog"], "Backwards it is dog, red, elm."),
    (["请 find the first word：elm, red, dog 谢谢！"], "The first word is elm."),
    (["Hi! Words: elm, red, dog\nQuestion: How many words are there? Thanks!"],
     "The number of words is 3."),
    (["Hello!"], "Hello. How can I help?"),
    (["Hello, I am Mia.", "Bye."], "Goodbye, Mia."),
    (["What is my name?"], "I do not know that."),
    (["My pet is a dog.", "What is 7 plus 5?", "whats my pet"], "Your pet is a dog."),
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
    (["Mia has 7 coins and gets 5 more. How many coins does Mia have now?"],
     "Now Mia has 12 coins."),
    (["Tom had 9 keys and lost 4. Count the keys of Tom."], "Now Tom has 5 keys."),
    (["Leave out the first word: elm, red, dog"], "Without the first it is red, dog."),
    (["Leave out the last word: elm, red, dog"], "Without the last it is elm, red."),
    (["Count the words: elm, red, dog"], "The number of words is 3."),
    (["Sort the numbers: 10, 9, 2"], "In order they are 2, 9, 10."),
    (["Sort the numbers: 10, red"], None),
    (["What is the plural of daisy?"], "The plural of daisy is daisies."),
    (["What is the plural of rain?"], None),
    (["Write dog in capitals."], "In capitals, dog is DOG."),
    (["Say it in short: Mia keeps a dog. Mia's color is red. The pet of Mia is a dog. "
      "Mia has red as color."],
     "In short, Mia has a dog as pet and red as color."),
    (["Ask something about this: Mia keeps a dog. Mia's color is red."],
     "What is the pet of Mia?"),
    (["The boss of Mia is Tom. Tom's pet is a dog. Eva keeps a cat.\n"
      "What is the pet of the boss of Mia?"],
     "The boss of Mia is Tom. The pet of Tom is a dog."),
    (["The boss of Mia is Tom. The friend of Tom is Eva. Eva keeps a cat.\n"
      "What is the pet of the friend of the boss of Mia?"],
     "The boss of Mia is Tom. The friend of Tom is Eva. The pet of Eva is a cat."),
    (["The boss of Mia is Tom. Tom's pet is a dog.\nWhat is the pet of the friend of Mia?"], None),
    (["The boss of Mia is Tom. Tom's pet is a dog.\nWhat is the pet of boss of Mia?"], None),
    # a text that contradicts itself
    (["The boss of Mia is Tom. The boss of Mia is Leo. Tom's pet is a dog. Leo keeps a cat.\n"
      "What is the pet of the boss of Mia?"], None),
    (["Mia calls Tom. Mia calls Leo.\nFollow the calls from Mia."], None),
    (["Take the words elm, red, dog and count them, then say the first."], None),
    (["What is the opposite of hoot?"], None),  # "hot" would be a guess
    (["What is the plural of dogs?"], None),
    (["Hello, I am Mian."], None),
    (["Could you help me? Give the fisrt word: dogg, red"], "The first word is dogg."),
    (["Hello, I am Mia.", "My cargo is coal."], None),
    (["What is " + "9" * 5000 + " plus 5?"], None),
    (["Tom calls Leo. Mia calls Tom. Ben calls Eva.\nFollow the calls from Mia."],
     "Mia calls Tom. Tom calls Leo. The end is Leo."),
    (["Tom calls Mia. Mia calls Tom.\nFollow the calls from Mia."], None),  # a circle has no end
    (["Work it out: 3, then plus 4, minus 2"], "3 plus 4 is 7. 7 minus 2 is 5. The result is 5."),
    (["Work it out: 3, then plus 4, minus 9"], None),
    (["Take the words elm, red, dog and turn them around, then say the first."],
     "Backwards it is dog, red, elm. Then the first word is dog."),
    (["Take the words elm, red, dog and leave out the first, then leave out the last, "
      "then count them."],
     "Without the first it is red, dog. Then without the last it is red. "
     "Then the number of words is 1."),
    (["Take the words elm, red, dog and paint them, then count them."], None),
    (["Write me a poem."], None),
    ([""], None),
    ([], None),
])
def test_the_oracle_answers_instructions_as_worked_by_hand(turns, expected):
    assert oracle.answer(turns) == expected


def test_the_oracle_follows_a_conversation_that_refers_back():
    text = "Tom's pet is a dog. Tom's color is red. Mia keeps a cat. Mia's color is blue."
    dialogue = [
        (f"{text}\nWhat is Tom's pet?", "The pet of Tom is a dog."),
        ("And the color?", "The color of Tom is red."),
        ("And Mia?", "The color of Mia is blue."),
        ("And her pet?", "The pet of Mia is a cat."),
    ]
    assert_answers(dialogue, "follow_up")
    turns = [turn for turn, _ in dialogue]
    assert oracle.answer([*turns, "And his pet?"]) is None, "the last turns are about Mia"
    assert oracle.answer([*turns, "And the toy?"]) == "The text does not say."


def assert_answers(dialogue, skill, system=None):
    """That the oracle gives each answer of a list of (turn, answer)."""
    turns = [turn for turn, _ in dialogue]
    for k, (_, answer) in enumerate(dialogue, 1):
        judged = oracle.judge(turns[:k], system)
        assert judged.answers == (answer,), turns[:k]
        assert judged.difficulty == k or k == 1
    assert judged.skill == skill


def test_the_oracle_remembers_what_was_said_in_small_talk():
    assert_answers([
        ("Hello, I am Mia.", "Hello, Mia. How can I help?"),
        ("My pet is a dog.", "That is good to know."),
        ("What is my name?", "Your name is Mia."),
        ("What is my pet?", "Your pet is a dog."),
        ("Thank you.", "You are welcome, Mia."),
    ], "small_talk")
    assert oracle.answer(["Hello, I am Mia.", "What is my pet?"]) == "I do not know that."


def test_the_oracle_follows_a_conversation_that_changes_its_topic_and_comes_back():
    assert_answers([
        ("Hi!", "Hello. How can I help?"),
        ("What is the opposite of hot?", "The opposite of hot is cold."),
        ("Tom's pet is a dog. Tom's color is red.\nWhat is Tom's pet?", "The pet of Tom is a dog."),
        ("What is 3 plus 4?", "We know that 3 plus 4 is 7."),
        ("Back to the text: What is the color of Tom?", "The color of Tom is red."),
        ("And the pet?", "The pet of Tom is a dog."),
        ("My name is Mia.", "Hello, Mia. How can I help?"),
        ("Bye.", "Goodbye, Mia."),
    ], "topics")


@pytest.mark.parametrize("system, turns, expected", [
    ("Answer in Chinese.", ["Tom's pet is a dog.\nWhat is Tom's pet?"], "Tom的宠物是小狗。"),
    ("Answer in Chinese.", ["Tom's pet is a dog.\nWhat is Tom's toy?"], "短文没有说。"),
    ("Answer in Chinese.", ["What is 3 plus 4?"], None),
    ("Answer in one word.", ["Tom's pet is a dog.\nWhat is Tom's pet?"], "dog."),
    ("Answer in one word.", ["What is the opposite of hot?"], "cold."),
    ("Answer in one word.", ["Reverse red, owl."], None),
    ("Answer in one word.", ["Hello."], None),
    ("Answer in one word.", ["Tom has 3 cups and gets 4 more. Count the cups of Tom."], None),
    ("Say Sure before each answer.", ["What is 3 plus 4?"], "Sure. We know that 3 plus 4 is 7."),
    ("Answer like a pirate.", ["What is 3 plus 4?"], None),
])
def test_a_system_message_says_how_to_answer(system, turns, expected):
    assert oracle.answer(turns, system) == expected


def test_any_question_that_a_text_answers_may_be_asked():
    turns = ["Ask something about this: Mia keeps a dog. Mia's color is red."]
    for right in ("What is the pet of Mia?", "What does Mia keep at home?", "What is Mia's color?"):
        assert oracle.is_right(turns, right)
    for wrong in ("What is the pet of Tom?", "The pet of Mia."):
        assert not oracle.is_right(turns, wrong)


def test_a_summary_may_give_the_facts_in_any_order():
    turns = ["Say it in short: Mia keeps a dog. Mia's color is red."]
    assert oracle.is_right(turns, "In short, Mia has red as color and a dog as pet.")
    assert not oracle.is_right(turns, "In short, Mia has red as color and red as color.")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("difficulty", [None, 2, 4])
@pytest.mark.parametrize("split", corpus.SPLITS)
def test_the_oracle_accepts_every_answer_and_refuses_every_corrupted_one(split, difficulty, domain):
    rng = random.Random(3)
    rows_of_task = dict.fromkeys(corpus.tasks_of(split, domain), 20)
    for row in corpus.instructions(99, split, rows_of_task, domain=domain, difficulty=difficulty):
        turns, given, system = corpus.user_turns(row), answer_of(row), corpus.system_of(row)
        judged = oracle.judge(turns, system)
        assert judged.skill == row["task"] and judged.answers[0] == given
        assert judged.difficulty in (1, difficulty) or difficulty is None
        for right in (given, f" {given}\n", *row.get("also", ())):
            assert oracle.is_right(turns, right, system)

        at = rng.randrange(len(given) - 1)
        one_letter_less = given[:at] + given[at + 1:]
        for wrong in (one_letter_less, given + " No.", "", given[::-1], given.lower() + "!"):
            assert not oracle.is_right(turns, wrong, system) or wrong == given


@pytest.mark.parametrize("task", SKILLS)
def test_each_form_of_a_task_can_be_asked_for_in_every_style(task):
    for style in STYLES:
        for slots in slots_of(task):
            assert any(set(wording.slots) == slots for wording in wordings(task, style)), style


def test_most_tasks_are_asked_for_in_hundreds_of_ways():
    ways = {task: sum(len(wordings(task, style)) for style in TUNED_STYLES) for task in SKILLS}
    of_text = {"reading", "two_hop", "not_said", "outside"}  # their questions vary by themselves
    few = {task for task, count in ways.items() if count < 200}
    assert few <= of_text | {"plural", "capitals", "lucky"}


def bare(text):
    """A saying as `as_typed` keeps it: neither punctuation nor capitals set two apart."""
    return corpus.as_typed([text])


def test_no_part_of_the_tests_is_in_training():
    for task, banks in CORES.items():
        assert set(banks) == set(BANKS)
        for bank in ("new", "new_short", "new_chinese"):
            trained = {core for own in ("tuned", "short", "chinese") for core in banks[own]}
            assert task in ("reading", "two_hop", "not_said", "outside") \
                or not set(banks[bank]) & trained
    for style in NEW_STYLES:
        trained = {layout for own in TUNED_STYLES[1:] for layout in LAYOUTS[own]}
        assert not set(LAYOUTS[style]) & trained
    for sides in (users.BEFORE, users.AFTER, users.SHORT_FORMS, users.MISTAKES, OUTSIDE,
                  *SYSTEM.values()):
        assert not set(sides["tuned"]) & set(sides["new"])
    for styles in SAYINGS:
        trained = {bare(text) for own in TUNED_STYLES[:-1] for text in styles[own]}
        assert not trained & {bare(text) for own in NEW_STYLES[:-1] for text in styles[own]}


def test_the_number_of_wordings_is_a_knob():
    for most in (1, 4, 16):
        for task in SKILLS:
            known = first_wordings(task, most)
            forms = [sum(set(wording.slots) == form for wording in known)
                     for form in slots_of(task)]
            assert max(forms) <= most and min(forms) >= min(most, 3) or task == "outside"
    one = corpus.instructions(3, "train", {"count": 20}, most=1)
    assert all(row["messages"][0]["content"].startswith("How many words are there?") for row in one)
    for row in corpus.instructions(3, "train", {"follow_up": 20}, most=1):
        assert row["messages"][0]["content"].startswith("Read the text and answer the question.")


@pytest.mark.parametrize("name", SKILLS)
def test_the_oracle_reads_an_instruction_whatever_its_style_courtesies_and_mistakes(name):
    rng, skill, changed = random.Random(name), SKILLS[name], 0
    for k in range(6 * len(STYLES)):
        slots = skill.draw(rng, Scope())
        known = wordings(name, STYLES[k % len(STYLES)])
        text = rng.choice([each for each in known if set(each.slots) == set(slots)]).fill(**slots)
        for bank in ("tuned", "new"):
            typed = users.mistyped(rng, text, bank)
            short = users.clipped(rng, text, bank)
            changed += (typed != text) + (short != text)
            for turn in (text, users.polite(rng, text, bank), typed, short,
                         users.polite(rng, typed, bank), users.polite(rng, short, bank)):
                judged = oracle.judge([turn])
                assert judged is not None, turn
                assert judged.skill == name, turn
                assert judged.difficulty == skill.difficulty(slots), turn
                assert judged.answers[0] == skill.answer(slots), turn
            assert users.corrected(typed) == text
    assert changed > 60


def test_a_typing_mistake_is_corrected_only_where_nothing_is_guessed():
    polite, plain = "Sort the nubmers: 3, 1 Thank you!", "Sort the nubmers: 3, 1"
    assert users.without_courtesies(polite) == plain
    assert users.corrected(plain) == "Sort the numbers: 3, 1"

    no_word_is_near, near_to_content = "Say xyzzy and 红色 in DOG.", "Say hoot, dogg and Mian."
    for text in (no_word_is_near, near_to_content):
        assert users.corrected(text) == text
    assert {"then", "the"} <= users.vocabulary()
    assert users.corrected("thn") == "thn", "it could be either of the two"


def test_the_conclusion_of_an_answer_is_its_last_sentence():
    assert conclusion("Mia calls Tom. The end is Tom.") == "The end is Tom."


PHRASE_NAMES = {phrase: name for name, phrase in PHRASES.items()}


def operations_of(row):
    """The operations that a row of the task "compose" asks for."""
    judged = corpus.judge_row(row)
    phrases = dict(judged.meaning[1:])["steps"].split(", then ")
    return tuple(PHRASE_NAMES[phrase] for phrase in phrases)


def test_every_operation_of_a_new_pair_is_trained_in_other_pairs():
    trained = set(PAIRS) - set(NEW_PAIRS)
    assert set(NEW_PAIRS) < set(PAIRS)
    for first, second in NEW_PAIRS:
        assert first in {a for a, _ in trained} and second in {b for _, b in trained}
    for name, is_new in (("train", False), ("new_composition", True)):
        rows = [row for row in rows_of(f"{name}.jsonl") if row["task"] == "compose"]
        assert rows and all((operations_of(row) in NEW_PAIRS) == is_new for row in rows)


@pytest.mark.parametrize("task", ["follow_up", "small_talk"])
def test_conversations_have_two_to_eight_turns_that_need_the_earlier_ones(task):
    conversations = [
        corpus.user_turns(row) for row in rows_of("train.jsonl") if row["task"] == task]
    assert {len(turns) for turns in conversations} == set(range(2, 9))

    def has_needed_turn(turns):
        """Whether the last answer changes if one of the turns between is left out."""
        answer = oracle.answer(list(turns))
        return any(oracle.answer([*turns[:k], *turns[k + 1:]]) != answer
                   for k in range(1, len(turns) - 1))

    longer = [turns for turns in conversations if len(turns) >= 4]
    assert sum(map(has_needed_turn, longer)) > 0.25 * len(longer)


def test_a_conversation_often_asks_for_the_same_kind_of_task_again():
    for name in ("train", "conversation"):
        again = 0
        rows = [row for row in rows_of(f"{name}.jsonl") if row["task"] == "topics"][:300]
        for row in rows:
            judged = map(oracle.judge, ([turn] for turn in corpus.user_turns(row)))
            kinds = [each.skill for each in judged if each and each.skill in oracle.SKILLS]
            kinds = [kind for kind in kinds if kind not in ("reading", "not_said", "outside")]
            again += len(set(kinds)) < len(kinds)
        assert again > 0.2 * len(rows)


def test_two_hops_cannot_be_answered_without_the_question():
    rows = [row for row in rows_of("train.jsonl") if row["task"] == "two_hop"]
    first_is_right = counted = 0
    for row in rows:
        turn, answer = (message["content"] for message in row["messages"])
        used = next(line for line in language.sentences(answer) if line.startswith("The "))
        links = re.findall(r"The (?:friend|neighbor|cousin|boss) of \w+ is \w+\.", turn)
        if len(links) == 2:  # the others are mistyped
            assert used in links
            first_is_right += links[0] == used
            counted += 1
    assert counted > 500
    assert 0.4 < first_is_right / counted < 0.6, "always taking the first link is only a guess"


def test_plurals_worked_by_hand():
    by_hand = {"dog": "dogs", "bus": "buses", "fox": "foxes", "brush": "brushes",
               "pony": "ponies", "monkey": "monkeys", "knife": "knives", "wolf": "wolves",
               "deer": "deer", "potato": "potatoes", "piano": "pianos", "torch": "torches",
               "waltz": "waltzes", "goldfish": "goldfish", "scarf": "scarves", "shelf": "shelves"}
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
    assert not any("noise" in row for row in rows), "the given rows stay the same"
    assert noise.add_noise(rows, kind, 0.3) == noisy != noise.add_noise(rows, kind, 0.3, seed=1)


def test_a_duplicate_follows_the_row_that_it_repeats():
    rows = corpus.instructions(7, "train", dict.fromkeys(corpus.TUNED_TASKS, 20))
    noisy = noise.add_noise(rows, "duplicate", 0.3)
    duplicates = [i for i, row in enumerate(noisy) if "noise" in row]
    assert len(noisy) == len(rows) + len(duplicates)
    for i in duplicates:
        assert {key: noisy[i][key] for key in noisy[i] if key != "noise"} == noisy[i - 1]


@pytest.mark.parametrize("kind", [kind for kind in noise.KINDS if kind != "duplicate"])
def test_noise_makes_the_answers_of_marked_rows_wrong_and_changes_nothing_else(kind):
    rows = corpus.instructions(7, "train", dict.fromkeys(corpus.TUNED_TASKS, 20))
    noisy = noise.add_noise(rows, kind, 0.3)
    assert [corpus.user_turns(row) for row in noisy] == [corpus.user_turns(row) for row in rows]
    for old, new in zip(rows, noisy):
        is_right = oracle.is_right(
            corpus.user_turns(new), answer_of(new), corpus.system_of(new))
        assert is_right == ("noise" not in new)
        assert new["messages"][:-1] == old["messages"][:-1]
        if "noise" not in new:
            assert new == old
        elif kind == "truncated":
            assert answer_of(old).startswith(answer_of(new))


def test_systematic_mistakes_are_always_the_same_and_independent_ones_are_not():
    row = {"task": "opposite", "split": "train", "messages": [
        {"role": "user", "content": "What is the opposite of hot?"},
        {"role": "assistant", "content": "The opposite of hot is cold."}]}

    def answers(kind):
        return {answer_of(noisy) for noisy in noise.add_noise([row] * 50, kind, 1.0)}

    assert len(answers("systematic")) == 1 and len(answers("wrong")) > 20
    with pytest.raises(ValueError, match="wrong, systematic, truncated, off_topic, duplicate"):
        noise.add_noise([row], "typos", 0.1)


def test_a_mistake_replaces_a_value_together_with_its_article():
    def owl(word, kind):
        return "owl"

    assert noise.mistaken("The pet of Mia is a dog.", owl) == "The pet of Mia is an owl."
    assert noise.mistaken("Good.", owl) is None, "there is no value in it"


def test_prose_holds_no_instruction_and_answers_no_question():
    for text in corpus.prose(seed=5, count=1500):
        assert "?" not in text[:-1], "a question may end a text, so that nothing answers it"
        assert "lucky" not in text
        for line in [text, *text.split("\n"), *language.sentences(text)]:
            judged = oracle.judge([line])
            assert judged is None or "?" in line and judged.skill == "outside", line


def test_prose_tells_everything_that_can_be_asked():
    texts = " ".join(corpus.prose(seed=6, count=60_000))
    for word in ATTRIBUTE_OF:
        assert f"In Chinese, {word} is {CHINESE_OF[word]}." in texts
        assert f"In English, {CHINESE_OF[word]} is" in texts
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
    """The values of attributes in a text, in the order in which it names them."""
    values = {value.lower() for value in ATTRIBUTE_OF} - {"lily"}
    return [word for word in re.split(r"[ .\n]+", text.lower()) if word in values]


def test_portraits_tell_every_fact_and_then_any_of_them_again():
    rng, repeated = random.Random(0), 0
    for _ in range(300):
        told = values_told(prose.portrait(rng))
        repeated += any(a == b for a, b in zip(told, told[1:]))
        assert len(told) >= 2 * len(set(told))
    assert repeated > 100, "a fact may come twice in a row; else a model learns to avoid the last"


def test_retold_facts_come_twice_the_second_time_in_any_order():
    rng, orders = random.Random(0), set()
    for _ in range(100):
        told = prose.retold(rng, [1, 2, 3], lambda fact: (f"{fact}.",)).split()
        assert told[:3] == ["1.", "2.", "3."] and sorted(told[3:]) == told[:3]
        orders.add(tuple(told[3:]))
    assert len(orders) == 6


@pytest.mark.parametrize("kind, words", [
    (prose.opposites, OPPOSITES.keys()),
    (prose.dictionary, ATTRIBUTE_OF.keys() - {"English"}),
    (prose.kinds, ATTRIBUTE_OF.keys()),
])
def test_every_word_of_a_text_of_knowledge_comes_at_least_twice(kind, words):
    rng = random.Random(0)
    for _ in range(50):
        counts = Counter(word for word in re.split(r"[ .,']+", kind(rng)) if word in words)
        assert counts and min(counts.values()) >= 2


def test_every_sum_of_a_text_comes_twice():
    rng = random.Random(0)
    for _ in range(50):
        sums = [tuple(sorted(map(int, re.findall(r"\d+", sentence))))
                for sentence in prose.sums(rng).split(". ")]
        assert all(count % 2 == 0 for count in Counter(sums).values())


def test_any_call_of_a_roll_call_may_come_next_but_each_name_keeps_its_word():
    rng, repeated = random.Random(0), 0
    for _ in range(200):
        calls = re.findall(r"(\w+) (?:calls )?(\w+)\.", prose.roll_call(rng))
        names = len(dict(calls))
        assert len(set(calls)) == names >= 3 and len(calls) == names + 18
        assert len({name for name, _ in calls[:names]}) == names
        again = calls[names:]
        repeated += any(a == b for a, b in zip(again, again[1:]))
    assert repeated > 150, "the same call must be able to come twice in a row"


def test_verses_tell_one_attribute_of_several_residents():
    rng = random.Random(0)
    for _ in range(100):
        text = prose.verses(rng)
        known = language.read_passage(text)
        assert 2 <= len(known) <= 4 and len({noun for _, noun in known}) == 1
        assert text.count(".") == len(known) + 10


def test_a_refrain_repeats_one_line():
    rng = random.Random(0)
    for _ in range(100):
        words = prose.refrain(rng).split()
        lengths = range(1, len(words) // 2 + 1)
        assert any(words == words[:n] * (len(words) // n) for n in lengths)


def test_the_first_texts_are_songs_and_the_later_ones_the_mixture():
    def kinds(step):
        rng = random.Random(step)
        return {draw_kind(rng, step) for _ in range(200)}
    assert kinds(0) == kinds(199) == {prose.song}
    assert kinds(350) == {prose.song, prose.document}
    assert kinds(500) == kinds(7000) == {prose.document}


def test_the_recall_probe_asks_for_a_fact_of_its_text():
    for text, rest in recall_items(200):
        *passage, asked = text.split(". ")
        known = read_passage(". ".join(passage) + ".")
        name, noun, value = read_statement(asked + rest)
        assert known[name, noun] == value


@pytest.mark.parametrize("name", [*prose.RELATED, "mapping", "sorting"])
def test_few_shot_probes_can_be_answered_from_their_examples(name):
    for text, rest in few_shot_items(50, name):
        *shown, asked = text.split(" ; ")
        pairs = [tuple(example.split(" > ")) for example in shown]
        given, answer = asked.removesuffix(" >"), rest[1:]
        assert len(pairs) == 5
        if name == "mapping":
            assert (given, answer) in pairs
            assert len(dict(pairs)) == len(set(pairs)), "a word has one answer"
        else:
            assert given not in dict(pairs)
        if name == "sorting":
            labels = {ATTRIBUTE_OF[word]: label for word, label in pairs}
            assert labels[ATTRIBUTE_OF[given]] == answer


@pytest.mark.parametrize("name", prose.SHOWN)
def test_prose_probes_ask_for_the_end_of_a_text(name):
    for text, rest in prose_items(30, name):
        assert text and rest and not text.endswith(" ")


@pytest.mark.parametrize("name", ["opposite", "plural", "capitals", "classification", "arithmetic"])
def test_prose_probes_of_knowledge_end_as_the_oracle_answers(name):
    pairs = [(str(a), str(b)) for a in range(21) for b in range(21)]
    if name == "arithmetic":
        questions = [{"a": a, "b": b} for a, b in pairs] + [{"total": a, "b": b} for a, b in pairs]
    else:
        questions = [{"word": word} for word in (*OPPOSITES, *ATTRIBUTE_OF)]
    answers = {SKILLS[name].answer(slots) for slots in questions}
    assert all(f"{text}{rest}" in answers for text, rest in prose_items(30, name))


def test_the_shipped_data_files_can_be_made_again_byte_for_byte(tmp_path, capsys):
    world_command.main(["--out", str(tmp_path)])
    for made in sorted(tmp_path.iterdir()):
        if made.suffix != ".png":
            shipped = ROOT / "data" / made.name
            assert made.read_bytes() == shipped.read_bytes(), f"data/{made.name} differs"
    with pytest.raises(SystemExit) as end:
        world_command.main(["--check", str(tmp_path)])
    assert end.value.code == 0


@pytest.mark.parametrize("split", TEST_SPLITS)
def test_no_test_question_was_trained_on(split):
    rows = rows_of(f"{split}.jsonl")
    assert len(rows) >= 500 and len({corpus.user_turns(row) for row in rows}) == len(rows)
    assert corpus.find_leaks(rows_of("train.jsonl"), rows) == []


def reword(instruction):
    """A question about a passage in a wording that was not trained, sentences in reverse order."""
    passage, question = next(
        (slots["passage"], slots["question"]) for text in users.as_meant(instruction)
        for task, slots in readings(text) if task == "reading" and SKILLS["reading"].solve(slots))
    passage = " ".join(reversed(language.sentences(passage)))
    return wordings("reading", "new")[0].fill(passage=passage, question=question)


def leak(test, task):
    """(a test row of a task, a training row that asks the same in other words)."""
    row = next(row for row in test if row["task"] == task)
    first, *others = corpus.user_turns(row)
    return row, corpus.make_row(task, "train", [reword(first), *others])


@pytest.mark.parametrize("task", ["reading", "follow_up"])
def test_a_leak_in_other_words_is_found(task):
    train, test = rows_of("train.jsonl"), rows_of("new_passage.jsonl")
    assert corpus.find_leaks(train, test) == []
    row, reworded = leak(test, task)
    found = corpus.find_leaks([*train, reworded], test)
    assert found == [(row, "the same question in other words")]


def test_numbers_to_sort_ask_the_same_in_any_order():
    first, again = (oracle.judge([f"Sort the numbers: {numbers}"])
                    for numbers in ("3, 1, 2", "2, 3, 1"))
    assert first.meaning == again.meaning != oracle.judge(["Sort the numbers: 3, 1, 4"]).meaning


def test_a_leak_in_the_same_words_is_found():
    train, test = rows_of("train.jsonl"), rows_of("new_passage.jsonl")
    same = copy.deepcopy(test[0])
    question = same["messages"][-2]
    question["content"] = question["content"].upper() + " "
    assert corpus.find_leaks([*train, same], test) == [(test[0], "the same text")]


def test_the_command_finds_a_leak_in_a_folder(tmp_path, capsys):
    _, reworded = leak(rows_of("new_passage.jsonl"), "reading")
    for split in corpus.SPLITS:
        corpus.write_rows(tmp_path / f"{split}.jsonl", rows_of(f"{split}.jsonl"))
    corpus.write_rows(tmp_path / "train.jsonl", [*rows_of("train.jsonl"), reworded])
    with pytest.raises(SystemExit) as end:
        world_command.main(["--check", str(tmp_path)])
    assert end.value.code == 1 and "1 of them tuned on" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds no train.jsonl; name a folder"):
        world_command.main(["--check", str(tmp_path / "nowhere")])


def test_a_small_noisy_and_difficult_harbor_can_be_made(tmp_path, capsys):
    folder = tmp_path / "ships"
    world_command.main([
        "--out", str(folder), "--size", "small", "--domain", "harbor", "--difficulty", "3",
        "--noise", "off_topic", "--noise-rate", "0.1", "--vocab-size", "400"])
    rows = corpus.read_rows(folder / "train.jsonl")
    assert 1000 < len(rows) < len(rows_of("train.jsonl")) / 3
    spoilt = sum("noise" in row for row in rows)
    assert spoilt == round(0.1 * len(rows))
    message = f"{spoilt:,} of {len(rows):,} rows to tune on were spoilt: off_topic"
    assert message in capsys.readouterr().out

    assert {corpus.judge_row(row).difficulty for row in rows} == {1, 3}
    assert "Juno" in str(rows) and not any(f" {name} " in str(rows) for name in RESIDENTS)
    about = (folder / "about.md").read_text(encoding="utf-8")
    assert about.count("user: ") >= 10 * len({row["task"] for row in rows})


def test_the_world_command_refuses_an_easier_world_and_one_over_the_shipped_data(capsys):
    with pytest.raises(SystemExit):
        world_command.main(["--difficulty", "1"])
    with pytest.raises(SystemExit):
        world_command.main(["--size", "small"])
    assert "over the shipped one" in capsys.readouterr().err


def test_new_attributes_are_mentioned_nowhere_in_the_training_split():
    new_words = set(NEW_ATTRIBUTES)
    for noun in NEW_ATTRIBUTES:
        new_words |= set(ATTRIBUTES[noun].values)
    new_words |= {CHINESE_OF[word] for word in new_words if word in CHINESE_OF}
    chinese = [word for word in new_words if not word.isascii()]
    for row in rows_of("train.jsonl"):
        text = " ".join(message["content"] for message in row["messages"])
        spoken = {word.strip(".,?:'\"").removesuffix("'s") for word in text.split()}
        assert not spoken & new_words
        assert not [word for word in chinese if word in text]


@pytest.mark.parametrize("task", [
    "classification", "opposite", "to_chinese", "to_english", "arithmetic"])
def test_held_out_items_of_knowledge_are_asked_in_no_training_row(task):
    trained, asked = (
        {answer_of(row) for row in rows_of(name) if row["task"] == task}
        for name in ("train.jsonl", "new_item.jsonl"))
    assert trained and asked and not trained & asked


def test_held_out_words_are_translated_in_no_training_row():
    held_out = [CHINESE_OF[word] for word in ATTRIBUTE_OF if Scope(held_out=True).knows(word)]
    assert held_out
    for row in rows_of("train.jsonl"):
        if row["task"] in ("sentence_to_chinese", "sentence_to_english"):
            text = " ".join(message["content"] for message in row["messages"])
            assert not any(word in text for word in held_out), row


def test_every_data_file_reads_as_records():
    records, bad = read_records([ROOT / "data" / f"{split}.jsonl" for split in corpus.SPLITS])
    assert not bad and {record.task for record in records} == set(SKILLS) | set(DIALOGUES)
    assert any(record.also for record in records)


def test_tasks_that_are_not_trained_are_in_their_own_splits_alone():
    for split in corpus.SPLITS:
        tasks = {row["task"] for row in rows_of(f"{split}.jsonl")}
        assert (tasks == {"lucky"}) == (split == "control")
        assert (tasks == {"plural", "capitals"}) == (split == "new_skill")
        assert split in ("control", "new_skill") or not tasks & {"lucky", "plural", "capitals"}
