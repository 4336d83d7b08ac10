"""Questions about the world outside the town. The right answer to all of them is "I do not know
that.", because nothing in the town tells more.

OUTSIDE holds the questions by what they are used for; those of the tests have other topics.
"""


def _questions(*patterns):
    """Each pattern is a question with * in it, and the texts that take the place of *."""
    return tuple(question.replace("*", text) for question, *texts in patterns for text in texts)


OUTSIDE = {
    "tuned": _questions(
        ("What is the capital of *?", "France", "Spain", "China", "Brazil", "Egypt", "Canada",
         "India", "Kenya", "Poland", "Chile"),
        ("Who wrote *?", "Hamlet", "Faust", "Don Quixote", "War and Peace", "the Odyssey",
         "Robinson Crusoe", "Journey to the West"),
        ("Who invented *?", "the telephone", "the radio", "the wheel", "printing", "the computer",
         "gunpowder"),
        ("How high is *?", "Mount Everest", "the Eiffel Tower", "Mount Fuji", "Mont Blanc"),
        ("How many people live in *?", "Europe", "Asia", "Shanghai", "New York", "Australia"),
        ("When did * end?", "the Second World War", "the Roman Empire", "the Ming dynasty",
         "the Cold War"),
        ("When was * born?", "Mozart", "Newton", "Confucius", "Cleopatra", "Lincoln"),
        ("Where is *?", "the Great Wall", "the Sahara", "Lake Baikal", "the Louvre", "Peru"),
        ("Who is the president of *?", "Mexico", "the United States", "Finland", "Korea"),
        ("What is the largest *?", "ocean", "planet", "desert", "island", "whale"),
        ("How far is it to *?", "the moon", "the sun", "Mars", "the next star"),
        ("What does a * eat?", "panda", "shark", "spider", "kangaroo", "camel"),
        ("How does a * work?", "battery", "magnet", "rainbow", "rocket engine", "microwave"),
        ("What is * made of?", "the sun", "cheese", "steel", "blood", "soap"),
        ("Why is *?", "the sky so blue at noon", "the sea full of salt", "ice so slippery",
         "grass the way it is"),
        ("What time is it in *?", "Madras", "Toronto", "Beijing", "Lima"),
        ("What will the weather be *?", "tomorrow", "next week", "on Sunday", "in the evening"),
        ("How old *?", "are you", "is the universe", "is the queen", "is the pope",
         "do tortoises get"),
        ("Who won *?", "the last election", "the World Cup", "the race last night", "the lottery"),
        ("What did you * yesterday?", "do", "dream", "read", "see"),
        ("Where do you *?", "live", "sleep", "work at night", "come from"),
        ("Do you like *?", "long walks", "summer", "spicy food", "Mondays", "people"),
        ("What is your favorite *?", "movie", "song", "number", "season", "holiday"),
        ("How much does * cost?", "a house", "a ticket to London", "gold", "a new phone"),
        ("How do I *?", "bake bread", "fix a flat tire", "learn to swim", "open this file",
         "make friends", "write a letter"),
        ("What happened in *?", "1492", "1789", "1969", "the year 800"),
        ("What is the square root of *?", "two", "seventeen", "ninety"),
        ("Which language do they speak in *?", "Austria", "Cuba", "Iran", "Norway"),
        ("How long does * take?", "a flight to Rome", "the trip to Mars", "it",
         "a heart operation"),
        ("Who discovered *?", "America", "penicillin", "gravity", "X-rays"),
    ),
    "new": _questions(
        ("Who painted *?", "the Mona Lisa", "the Night Watch", "Guernica", "the Sunflowers"),
        ("Who composed *?", "the Ninth Symphony", "the Moonlight Sonata", "Carmen"),
        ("What is the population of *?", "Japan", "Nigeria", "Berlin today", "Iceland"),
        ("How deep is *?", "the Pacific", "Loch Ness", "the Mariana Trench"),
        ("How fast can a * run?", "cheetah", "human", "greyhound"),
        ("In which year did * sink?", "the Titanic", "the Lusitania", "the Vasa"),
        ("Who was the first man on *?", "the moon", "Mount Everest", "the South Pole"),
        ("What is the boiling point of *?", "alcohol", "mercury", "lead"),
        ("Can you recommend *?", "a good restaurant", "a book", "a film for tonight"),
        ("Which river flows through *?", "Vienna", "Baghdad", "Seoul", "Prague"),
        ("How many * are there in a year?", "hours", "full moons", "earthquakes"),
        ("Are there * on other planets?", "people", "oceans", "volcanoes"),
        ("What is the meaning of *?", "life", "democracy", "my dream"),
        ("Why do * migrate?", "whales", "geese", "butterflies"),
        ("What was the name of *?", "the last emperor of China", "Alexander's horse", "my dog"),
        ("How many moons does * have?", "Jupiter", "Saturn", "Neptune"),
    ),
}
ALL_OUTSIDE = frozenset(OUTSIDE["tuned"] + OUTSIDE["new"])
