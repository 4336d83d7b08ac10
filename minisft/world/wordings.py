"""How each skill's instructions are worded: some wordings for tuning, others that only the tests use."""

from minisft.world.language import Template


def _wordings(*texts):
    return tuple(map(Template, texts))


WORDINGS = {
    "reading": {
        "tuned": _wordings(
            "Read the text and answer the question.\nText: {passage}\nQuestion: {question}",
            "{passage}\n{question}",
            "Text: {passage}\nAnswer this: {question}",
            "Use the text to answer. {question}\nText: {passage}",
            "Here is what we know. {passage}\n{question}"),
        "new": _wordings(
            "Please look at this. {passage} Tell me: {question}",
            "I have a question: {question} You find the answer in here: {passage}",
            "Question: {question}\nText: {passage}"),
    },
    "classification": {
        "tuned": _wordings(
            "What kind of thing is {word}?",
            "Which kind of thing does the word {word} name?",
            "Name the kind: {word}",
            "Say what the word names.\nWord: {word}"),
        "new": _wordings("What sort of thing is {word}, please?", "{word}: what kind of thing is it?"),
    },
    "opposite": {
        "tuned": _wordings(
            "What is the opposite of {word}?",
            "Give the opposite of the word.\nWord: {word}",
            "Which word is the opposite of {word}?",
            "Opposite: {word}"),
        "new": _wordings("Please tell me the opposite of {word}.", "{word}: what is the opposite?"),
    },
    "to_chinese": {
        "tuned": _wordings(
            "What is {word} in Chinese?",
            "Translate the word into Chinese.\nWord: {word}",
            "Say {word} in Chinese.",
            "Chinese word: {word}"),
        "new": _wordings("How do I say {word} in Chinese?", "{word}: please translate into Chinese."),
    },
    "to_english": {
        "tuned": _wordings(
            "What is {word} in English?",
            "Translate the word into English.\nWord: {word}",
            "Say {word} in English.",
            "English word: {word}"),
        "new": _wordings("How do I say {word} in English?", "{word}: please translate into English."),
    },
    "sentence_to_chinese": {
        "tuned": _wordings(
            "Translate the sentence into Chinese.\nSentence: {sentence}",
            "Say it in Chinese: {sentence}",
            "Chinese sentence: {sentence}"),
        "new": _wordings("Please say this in Chinese. {sentence}", "{sentence}\nTranslate this into Chinese."),
    },
    "sentence_to_english": {
        "tuned": _wordings(
            "Translate the sentence into English.\nSentence: {sentence}",
            "Say it in English: {sentence}",
            "English sentence: {sentence}"),
        "new": _wordings("Please say this in English. {sentence}", "{sentence}\nTranslate this into English."),
    },
    "first": {
        "tuned": _wordings(
            "What is the first word?\nWords: {words}",
            "Give the first word: {words}",
            "Find the first word of {words}."),
        "new": _wordings("Which word is the first here? {words}", "{words}\nPlease give the first word."),
    },
    "last": {
        "tuned": _wordings(
            "What is the last word?\nWords: {words}",
            "Give the last word: {words}",
            "Find the last word of {words}."),
        "new": _wordings("Which word is the last here? {words}", "{words}\nPlease give the last word."),
    },
    "reverse": {
        "tuned": _wordings(
            "Write the words backwards.\nWords: {words}",
            "Say it backwards: {words}",
            "Backwards: {words}"),
        "new": _wordings("Please write this backwards: {words}", "{words}\nSay these words backwards."),
    },
    "restate": {
        "tuned": _wordings(
            "Rewrite the sentence with the word of.\nSentence: {sentence}",
            "Rewrite it with of: {sentence}",
            "Use the word of: {sentence}"),
        "new": _wordings("Please say this with of. {sentence}", "{sentence}\nWrite it with the word of."),
    },
    "arithmetic": {
        "tuned": _wordings(
            "What is {a} plus {b}?", "Add {a} and {b}.", "How much is {a} plus {b}?",
            "What is {total} minus {b}?", "Take {b} from {total}.", "How much is {total} minus {b}?"),
        "new": _wordings(
            "Please tell me what {a} plus {b} is.", "{a} plus {b} is how much?",
            "Please tell me what {total} minus {b} is.", "{total} minus {b} is how much?"),
    },
    "story": {
        "tuned": _wordings(
            "{name} has {a} {thing}s and gets {b} more. How many {thing}s does {name} have now?",
            "{name} had {a} {thing}s and found {b} more. Count the {thing}s of {name}.",
            "{name} has {total} {thing}s and gives {b} away. How many {thing}s does {name} have now?",
            "{name} had {total} {thing}s and lost {b}. Count the {thing}s of {name}."),
        "new": _wordings(
            "How many {thing}s does {name} have after getting {b} more, with {a} to begin with?",
            "How many {thing}s does {name} have after giving {b} away, with {total} to begin with?"),
    },
}
