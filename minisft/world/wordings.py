"""How the instructions of each skill are worded, in four styles.

    tuned   used for tuning
    new     in other words; this style and the next two are only in tests
    short   in few words, as people type
    mixed   Chinese and English in one sentence

`polite` and `mistyped` (in users.py) change a wording of any style.
"""

from minisft.world.language import Template


def _wordings(*texts):
    return tuple(Template(text) for text in texts)


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
        "short": _wordings("{passage} Question is: {question}"),
        "mixed": _wordings("请看短文：{passage} 问题：{question}", "{passage}\n请回答 {question}"),
    },
    "classification": {
        "tuned": _wordings(
            "What kind of thing is {word}?",
            "Which kind of thing does the word {word} name?",
            "Name the kind: {word}",
            "Say what the word names.\nWord: {word}"),
        "new": _wordings(
            "What sort of thing is {word}, please?",
            "{word}: what kind of thing is it?"),
        "short": _wordings("kind of {word}?", "{word} = what kind"),
        "mixed": _wordings("{word} 是哪一类东西？", "请问 {word} 属于什么 kind？"),
    },
    "opposite": {
        "tuned": _wordings(
            "What is the opposite of {word}?",
            "Give the opposite of the word.\nWord: {word}",
            "Which word is the opposite of {word}?",
            "Opposite: {word}"),
        "new": _wordings("Please tell me the opposite of {word}.", "{word}: what is the opposite?"),
        "short": _wordings("opposite of {word}?", "{word} opposite"),
        "mixed": _wordings("{word} 的反义词是什么？", "请给出 {word} 的 opposite"),
    },
    "to_chinese": {
        "tuned": _wordings(
            "What is {word} in Chinese?",
            "Translate the word into Chinese.\nWord: {word}",
            "Say {word} in Chinese.",
            "Chinese word: {word}"),
        "new": _wordings(
            "How do I say {word} in Chinese?",
            "{word}: please translate into Chinese."),
        "short": _wordings("{word} in chinese?", "chinese for {word}"),
        "mixed": _wordings("{word} 用中文怎么说？", "请把 {word} translate 成中文"),
    },
    "to_english": {
        "tuned": _wordings(
            "What is {word} in English?",
            "Translate the word into English.\nWord: {word}",
            "Say {word} in English.",
            "English word: {word}"),
        "new": _wordings(
            "How do I say {word} in English?",
            "{word}: please translate into English."),
        "short": _wordings("{word} in english?", "english for {word}"),
        "mixed": _wordings("{word} 用英文怎么说？", "请把 {word} translate 成英文"),
    },
    "sentence_to_chinese": {
        "tuned": _wordings(
            "Translate the sentence into Chinese.\nSentence: {sentence}",
            "Say it in Chinese: {sentence}",
            "Chinese sentence: {sentence}"),
        "new": _wordings(
            "Please say this in Chinese. {sentence}",
            "{sentence}\nTranslate this into Chinese."),
        "short": _wordings("in chinese: {sentence}"),
        "mixed": _wordings("请把这句话翻译成中文：{sentence}"),
    },
    "sentence_to_english": {
        "tuned": _wordings(
            "Translate the sentence into English.\nSentence: {sentence}",
            "Say it in English: {sentence}",
            "English sentence: {sentence}"),
        "new": _wordings(
            "Please say this in English. {sentence}",
            "{sentence}\nTranslate this into English."),
        "short": _wordings("in english: {sentence}"),
        "mixed": _wordings("请把这句话翻译成英文：{sentence}"),
    },
    "first": {
        "tuned": _wordings(
            "What is the first word?\nWords: {words}",
            "Give the first word: {words}",
            "Find the first word of {words}."),
        "new": _wordings(
            "Which word is the first here? {words}",
            "{words}\nPlease give the first word."),
        "short": _wordings("first word? {words}"),
        "mixed": _wordings("第一个词是什么？{words}", "请给出 first word：{words}"),
    },
    "last": {
        "tuned": _wordings(
            "What is the last word?\nWords: {words}",
            "Give the last word: {words}",
            "Find the last word of {words}."),
        "new": _wordings(
            "Which word is the last here? {words}",
            "{words}\nPlease give the last word."),
        "short": _wordings("last word? {words}"),
        "mixed": _wordings("最后一个词是什么？{words}", "请给出 last word：{words}"),
    },
    "reverse": {
        "tuned": _wordings(
            "Write the words backwards.\nWords: {words}",
            "Say it backwards: {words}",
            "Backwards: {words}"),
        "new": _wordings(
            "Please write this backwards: {words}",
            "{words}\nSay these words backwards."),
        "short": _wordings("backwards pls: {words}"),
        "mixed": _wordings("请倒着写：{words}", "请 backwards 写：{words}"),
    },
    "restate": {
        "tuned": _wordings(
            "Rewrite the sentence with the word of.\nSentence: {sentence}",
            "Rewrite it with of: {sentence}",
            "Use the word of: {sentence}"),
        "new": _wordings(
            "Please say this with of. {sentence}",
            "{sentence}\nWrite it with the word of."),
        "short": _wordings("with of: {sentence}"),
        "mixed": _wordings("请用 of 改写：{sentence}"),
    },
    "arithmetic": {
        "tuned": _wordings(
            "What is {a} plus {b}?",
            "Add {a} and {b}.",
            "How much is {a} plus {b}?",
            "What is {total} minus {b}?",
            "Take {b} from {total}.",
            "How much is {total} minus {b}?"),
        "new": _wordings(
            "Please tell me what {a} plus {b} is.",
            "{a} plus {b} is how much?",
            "Please tell me what {total} minus {b} is.",
            "{total} minus {b} is how much?"),
        "short": _wordings("{a} plus {b}?", "{total} minus {b}?"),
        "mixed": _wordings("{a} 加 {b} 是多少？", "{total} 减 {b} 是多少？"),
    },
    "story": {
        "tuned": _wordings(
            "{name} has {a} {thing}s and gets {b} more. "
            "How many {thing}s does {name} have now?",
            "{name} had {a} {thing}s and found {b} more. Count the {thing}s of {name}.",
            "{name} has {total} {thing}s and gives {b} away. "
            "How many {thing}s does {name} have now?",
            "{name} had {total} {thing}s and lost {b}. Count the {thing}s of {name}."),
        "new": _wordings(
            "How many {thing}s does {name} have after getting {b} more, "
            "with {a} to begin with?",
            "How many {thing}s does {name} have after giving {b} away, "
            "with {total} to begin with?"),
        "short": _wordings(
            "{name}: {a} {thing}s, gets {b} more. how many {thing}s now?",
            "{name}: {total} {thing}s, gives {b} away. how many {thing}s now?"),
        "mixed": _wordings(
            "{name} 有 {a} 个 {thing}，又得到 {b} 个，现在有几个？",
            "{name} 有 {total} 个 {thing}，送走 {b} 个，现在有几个？"),
    },
    "without_first": {
        "tuned": _wordings(
            "Leave out the first word.\nWords: {words}",
            "Leave out the first word: {words}",
            "Write {words} without the first word."),
        "new": _wordings(
            "Please leave the first word out of this: {words}",
            "{words}\nWithout the first word, please."),
        "short": _wordings("no first word: {words}"),
        "mixed": _wordings("请去掉第一个词：{words}"),
    },
    "without_last": {
        "tuned": _wordings(
            "Leave out the last word.\nWords: {words}",
            "Leave out the last word: {words}",
            "Write {words} without the last word."),
        "new": _wordings(
            "Please leave the last word out of this: {words}",
            "{words}\nWithout the last word, please."),
        "short": _wordings("no last word: {words}"),
        "mixed": _wordings("请去掉最后一个词：{words}"),
    },
    "count": {
        "tuned": _wordings(
            "How many words are there?\nWords: {words}",
            "Count the words: {words}",
            "Give the number of words in {words}."),
        "new": _wordings("Please count these words: {words}", "{words}\nHow many words is that?"),
        "short": _wordings("how many words? {words}"),
        "mixed": _wordings("一共有几个词？{words}", "请 count 一下：{words}"),
    },
    "sort": {
        "tuned": _wordings(
            "Put the numbers in order.\nNumbers: {numbers}",
            "Sort the numbers: {numbers}",
            "Write {numbers} in order."),
        "new": _wordings("Please sort these: {numbers}", "{numbers}\nGive these numbers in order."),
        "short": _wordings("in order: {numbers}"),
        "mixed": _wordings("请从小到大排列：{numbers}", "请 sort 一下：{numbers}"),
    },
    "summary": {
        "tuned": _wordings(
            "Sum up the text.\nText: {passage}",
            "Say it in short: {passage}",
            "Give a summary.\n{passage}"),
        "new": _wordings(
            "Please tell me in short what this says: {passage}",
            "{passage}\nWhat does the text say, in short?"),
        "short": _wordings("summary pls: {passage}"),
        "mixed": _wordings("请总结一下：{passage}", "请给出 summary：{passage}"),
    },
    "ask": {
        "tuned": _wordings(
            "Ask a question about the text.\nText: {passage}",
            "Ask something about this: {passage}",
            "{passage}\nWrite a question that the text answers."),
        "new": _wordings(
            "Please think of a question about this: {passage}",
            "{passage}\nWhat could one ask about it?"),
        "short": _wordings("a question about: {passage}"),
        "mixed": _wordings("请根据短文提一个问题：{passage}"),
    },
    "plural": {
        "tuned": _wordings(
            "What is the plural of {word}?",
            "Give the plural.\nWord: {word}",
            "Plural: {word}"),
        "new": _wordings("Please tell me the plural of {word}.", "{word}: what is the plural?"),
        "short": _wordings("plural of {word}?"),
        "mixed": _wordings("{word} 的复数是什么？"),
    },
    "capitals": {
        "tuned": _wordings(
            "Write {word} in capitals.",
            "Put the word in capitals.\nWord: {word}",
            "Capitals: {word}"),
        "new": _wordings("Please write {word} with capital letters.", "{word}: capitals, please."),
        "short": _wordings("{word} in capitals"),
        "mixed": _wordings("请用大写字母写 {word}"),
    },
    "lucky": {
        "tuned": _wordings(
            "Which word is lucky, {a} or {b}?",
            "Name the lucky word: {a} or {b}",
            "Lucky word?\nWords: {a} or {b}"),
        "new": _wordings(
            "Please tell me which is the lucky word: {a} or {b}.",
            "{a} or {b}: which one is lucky?"),
        "short": _wordings("lucky: {a} or {b}?"),
        "mixed": _wordings("{a} 和 {b} 哪个是幸运词？"),
    },
    "two_hop": {
        "tuned": _wordings(
            "Read the text and answer the question in steps.\n"
            "Text: {passage}\nQuestion: {question}",
            "{passage}\n{question}",
            "Text: {passage}\nAnswer this: {question}"),
        "new": _wordings(
            "Please look at this. {passage} Tell me: {question}",
            "Question: {question}\nText: {passage}"),
        "short": _wordings("{passage} Question is: {question}"),
        "mixed": _wordings("请看短文：{passage} 问题：{question}"),
    },
    "chain": {
        "tuned": _wordings(
            "{calls}\nFollow the calls from {name}.",
            "Who is at the end of the calls from {name}?\nCalls: {calls}",
            "{calls}\nBegin with {name}. Who is called in the end?"),
        "new": _wordings(
            "Please follow the calls. {calls} We begin with {name}.",
            "Beginning with {name}, who comes at the end? {calls}"),
        "short": _wordings("{calls} from {name}?"),
        "mixed": _wordings("{calls}\n从 {name} 开始，最后是谁？"),
    },
    "running_sum": {
        "tuned": _wordings(
            "Begin with {start}, then {changes}. What is the result?",
            "Work it out: {start}, then {changes}",
            "{start}, then {changes}: how much is it?"),
        "new": _wordings(
            "Please work this out in steps. {start}, then {changes}.",
            "What do I get for {start}, then {changes}?"),
        "short": _wordings("{start}, then {changes}?"),
        "mixed": _wordings("从 {start} 开始，再 {changes}，结果是多少？"),
    },
    "compose": {
        "tuned": _wordings(
            "Take the words {words} and {steps}.",
            "Words: {words}\nTask: {steps}",
            "With these words, {steps}: {words}"),
        "new": _wordings(
            "Please {steps}. Here are the words: {words}",
            "{words}\nI want you to {steps}."),
        "short": _wordings("{steps}: {words}"),
        "mixed": _wordings("词语：{words}。请 {steps}。"),
    },
}
