"""The town: what it writes is right, its oracle reads it, and no test question was tuned on."""

import json
import random
import re
from collections import Counter

import pytest

from minisft.config import ROOT
from minisft.pretrain import draw_kind
from minisft.records import read_records
from minisft.world import corpus, language, oracle, prose
from minisft.world.dialogue import DIALOGUES, solve_follow_up, solve_small_talk
from minisft.world.facts import (
    ATTRIBUTE_OF,
    ATTRIBUTES,
    CHINESE_OF,
    ENGLISH_OF,
    NEW_ATTRIBUTES,
    OPPOSITES,
    RESIDENTS,
    TUNED_ATTRIBUTES,
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
from minisft.world.probe import probe_items
from minisft.world.skills import SKILLS

ALL_FACTS = [("Mia", noun, value) for noun, attribute in ATTRIBUTES.items() for value in attribute.values]


def rows_of(name):
    return [json.loads(line) for line in (ROOT / "data" / name).read_text(encoding="utf-8").splitlines()]


def test_the_town_is_large_enough():
    assert len(ATTRIBUTES) >= 24 and all(len(attribute.values) >= 8 for attribute in ATTRIBUTES.values())
    assert len(set(RESIDENTS)) == len(RESIDENTS) >= 60


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
    for noun in ATTRIBUTES:
        for form in range(4):
            assert read_question(ask("Tom", noun, form)) == ("Tom", noun)


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
    (["Write me a poem."], None),
    ([""], None),
    ([], None),
])
def test_the_oracle_answers_by_hand_worked_instructions(turns, expected):
    assert oracle.answer(turns) == expected


def test_the_oracle_follows_a_conversation_that_refers_back():
    turns = ["Tom's pet is a dog. Tom's color is red. Mia keeps a cat. Mia's color is blue.\nWhat is Tom's pet?",
             "And the color?", "And Mia?", "And her pet?"]
    assert [solve_follow_up(turns[:k]) for k in (1, 2, 3, 4)] == [
        "The pet of Tom is a dog.", "The color of Tom is red.", "The color of Mia is blue.", "The pet of Mia is a cat."]
    assert solve_follow_up([*turns, "And his pet?"]) is None  # Mia was spoken of last


def test_the_oracle_remembers_what_was_said_in_small_talk():
    turns = ["Hello, I am Mia.", "My pet is a dog.", "What is my name?", "What is my pet?", "Thank you."]
    assert [solve_small_talk(turns[:k]) for k in range(1, 6)] == [
        "Hello, Mia. How can I help?", "That is good to know.", "Your name is Mia.", "Your pet is a dog.",
        "You are welcome, Mia."]
    assert solve_small_talk(["Hello, I am Mia.", "What is my pet?"]) is None


@pytest.mark.parametrize("split", corpus.SPLITS)
def test_the_oracle_accepts_every_answer_and_refuses_every_corrupted_one(split):
    rng = random.Random(3)
    rows = dict.fromkeys(corpus.tasks_of(split), 40)
    for row in corpus.instructions(seed=99, split=split, rows=rows):
        turns, given = corpus.user_turns(row), row["messages"][-1]["content"]
        assert oracle.is_right(turns, given) and oracle.is_right(turns, f" {given}\n")
        at = rng.randrange(len(given) - 1)
        for wrong in (given[:at] + given[at + 1:], given + " No.", "", given[::-1], given.lower() + "!"):
            assert not oracle.is_right(turns, wrong) or wrong == given


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_tuned_and_new_wordings_share_nothing(skill):
    assert not {wording.text for wording in skill.tuned} & {wording.text for wording in skill.new}
    assert len(skill.tuned) >= 3 and len(skill.new) >= 2


def test_prose_holds_no_instruction():
    for text in corpus.prose(seed=5, count=3000):
        assert "?" not in text and not any(
            text.startswith(start) for start in ("Translate", "Say", "Give", "Write", "Text:", "Question", "Name"))


def test_prose_shows_every_attribute_and_every_held_out_item():
    words = Counter(word.strip(".,") for text in corpus.prose(seed=6, count=20_000) for word in text.split())
    assert all(words[word] >= 20 for word in [*ATTRIBUTE_OF, *OPPOSITES, *RESIDENTS])
    assert set(prose.MIXTURE) and sum(prose.MIXTURE.values()) == 100


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
    for text, rest in probe_items(200):
        *passage, asked = text.split(". ")
        known = read_passage(". ".join(passage) + ".")
        name, noun, value = read_statement(asked + rest)
        assert known[name, noun] == value


def test_the_data_files_are_made_again_byte_for_byte(tmp_path):
    corpus.write(tmp_path)
    for made in sorted(tmp_path.iterdir()):
        assert made.read_bytes() == (ROOT / "data" / made.name).read_bytes(), f"data/{made.name} differs"


@pytest.mark.parametrize("split", corpus.TEST_SPLITS)
def test_no_test_question_was_tuned_on(split):
    tuned_on = {corpus.user_turns(row) for row in rows_of("train.jsonl")}
    questions = [corpus.user_turns(row) for row in rows_of(f"{split}.jsonl")]
    assert len(questions) >= 500 and len(set(questions)) == len(questions)
    assert not set(questions) & tuned_on


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


def test_every_data_file_reads_as_records():
    records, bad = read_records([ROOT / "data" / f"{split}.jsonl" for split in corpus.SPLITS])
    assert not bad and {record.task for record in records} == {skill.name for skill in SKILLS} | set(DIALOGUES)


def test_tuned_and_new_attributes_make_up_the_town():
    assert set(TUNED_ATTRIBUTES) | set(NEW_ATTRIBUTES) == set(ATTRIBUTES) and len(TUNED_ATTRIBUTES) == 24
