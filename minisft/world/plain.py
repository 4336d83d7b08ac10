"""The plainest wordings of each task, three to six of them (one for "outside"): whole instructions.
"""

from minisft.world.language import Template


def _wordings(*texts):
    return tuple(Template(text, loose=True) for text in texts)


PLAIN = {
    "reading": _wordings(
        "Read the text and answer the question.\nText: {passage}\nQuestion: {question}",
        "{passage}\n{question}",
        "Text: {passage}\nAnswer this: {question}",
        "Use the text to answer. {question}\nText: {passage}",
        "Here is what we know. {passage}\n{question}"),
    "classification": _wordings(
        "What kind of thing is {word}?",
        "Which kind of thing does the word {word} name?",
        "Name the kind: {word}",
        "Say what the word names.\nWord: {word}"),
    "opposite": _wordings(
        "What is the opposite of {word}?",
        "Give the opposite of the word.\nWord: {word}",
        "Which word is the opposite of {word}?",
        "Opposite: {word}"),
    "to_chinese": _wordings(
        "What is {word} in Chinese?",
        "Translate the word into Chinese.\nWord: {word}",
        "Say {word} in Chinese.",
        "Chinese word: {word}"),
    "to_english": _wordings(
        "What is {word} in English?",
        "Translate the word into English.\nWord: {word}",
        "Say {word} in English.",
        "English word: {word}"),
    "sentence_to_chinese": _wordings(
        "Translate the sentence into Chinese.\nSentence: {sentence}",
        "Say it in Chinese: {sentence}",
        "Chinese sentence: {sentence}"),
    "sentence_to_english": _wordings(
        "Translate the sentence into English.\nSentence: {sentence}",
        "Say it in English: {sentence}",
        "English sentence: {sentence}"),
    "first": _wordings(
        "What is the first word?\nWords: {words}",
        "Give the first word: {words}",
        "Find the first word of {words}."),
    "last": _wordings(
        "What is the last word?\nWords: {words}",
        "Give the last word: {words}",
        "Find the last word of {words}."),
    "reverse": _wordings(
        "Write the words backwards.\nWords: {words}",
        "Say it backwards: {words}",
        "Backwards: {words}"),
    "restate": _wordings(
        "Rewrite the sentence with the word of.\nSentence: {sentence}",
        "Rewrite it with of: {sentence}",
        "Use the word of: {sentence}"),
    "arithmetic": _wordings(
        "What is {a} plus {b}?",
        "Add {a} and {b}.",
        "How much is {a} plus {b}?",
        "What is {total} minus {b}?",
        "Take {b} from {total}.",
        "How much is {total} minus {b}?"),
    "story": _wordings(
        "{name} has {a} {thing}s and gets {b} more. "
        "How many {thing}s does {name} have now?",
        "{name} had {a} {thing}s and found {b} more. Count the {thing}s of {name}.",
        "{name} has {total} {thing}s and gives {b} away. "
        "How many {thing}s does {name} have now?",
        "{name} had {total} {thing}s and lost {b}. Count the {thing}s of {name}."),
    "without_first": _wordings(
        "Leave out the first word.\nWords: {words}",
        "Leave out the first word: {words}",
        "Write {words} without the first word."),
    "without_last": _wordings(
        "Leave out the last word.\nWords: {words}",
        "Leave out the last word: {words}",
        "Write {words} without the last word."),
    "count": _wordings(
        "How many words are there?\nWords: {words}",
        "Count the words: {words}",
        "Give the number of words in {words}."),
    "sort": _wordings(
        "Put the numbers in order.\nNumbers: {numbers}",
        "Sort the numbers: {numbers}",
        "Write {numbers} in order."),
    "summary": _wordings(
        "Sum up the text.\nText: {passage}",
        "Say it in short: {passage}",
        "Give a summary.\n{passage}"),
    "ask": _wordings(
        "Ask a question about the text.\nText: {passage}",
        "Ask something about this: {passage}",
        "{passage}\nWrite a question that the text answers."),
    "plural": _wordings(
        "What is the plural of {word}?",
        "Give the plural.\nWord: {word}",
        "Plural: {word}"),
    "capitals": _wordings(
        "Write {word} in capitals.",
        "Put the word in capitals.\nWord: {word}",
        "Capitals: {word}"),
    "lucky": _wordings(
        "Which word is lucky, {a} or {b}?",
        "Name the lucky word: {a} or {b}",
        "Lucky word?\nWords: {a} or {b}"),
    "two_hop": _wordings(
        "Read the text and answer the question in steps.\n"
        "Text: {passage}\nQuestion: {question}",
        "{passage}\n{question}",
        "Text: {passage}\nAnswer this: {question}"),
    "chain": _wordings(
        "{calls}\nFollow the calls from {name}.",
        "Who is at the end of the calls from {name}?\nCalls: {calls}",
        "{calls}\nBegin with {name}. Who is called in the end?"),
    "running_sum": _wordings(
        "Begin with {start}, then {changes}. What is the result?",
        "Work it out: {start}, then {changes}",
        "{start}, then {changes}: how much is it?"),
    "compose": _wordings(
        "Take the words {words} and {steps}.",
        "Words: {words}\nTask: {steps}",
        "With these words, {steps}: {words}"),
}
PLAIN["not_said"] = PLAIN["reading"]  # the same questions, but the text does not tell
PLAIN["outside"] = _wordings("{question}")
