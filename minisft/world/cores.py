"""What each task asks for, in many words: the cores that wordings.py puts into layouts.

    tuned          used for tuning
    new            other verbs and phrases, only in tests
    short          few words, as people type; used for tuning
    new_short      the same with other words, only in tests
    chinese        used for tuning
    new_chinese    other words, only in tests

A core that ends with a question mark is a question, any other is an order. A core that does not
hold the input, such as "reverse the words", needs a layout that does; "reverse {words}" needs none.
A new core keeps one word by which its task can be known, such as "first" or "Chinese".
"""

from itertools import product

BANKS = ("tuned", "new", "short", "new_short", "chinese", "new_chinese")


def _both(first, second):
    """Every text of `first` followed by every text of `second`."""
    return tuple(f"{a} {b}" for a, b in product(first, second))


def _sides(word, chinese, say):
    """Cores of the tasks "first" and "last": word: "first" or "last"; say: a verb for it."""
    return {
        "tuned": (
            f"what is the {word} word?", f"which word is the {word} one?",
            f"which word comes {word}?", f"which word stands in the {word} place?",
            f"give the {word} word", f"give me the {word} word", f"say the {word} word",
            f"find the {word} word", f"name the {word} word", f"tell me the {word} word",
            f"write down only the {word} word", f"take the {word} word", f"show the {word} word",
            f"what is the {word} word of {{words}}?", f"which word of {{words}} comes {word}?",
            f"find the {word} word of {{words}}", f"give the {word} word of {{words}}",
            f"say which word is {word} in {{words}}"),
        "new": (
            f"with which word does this list {say}?", f"what do we read {word}?",
            f"pick the {word} word out", f"look up the {word} item", f"return the {word} element",
            f"report which of these is {word}", f"of {{words}}, which one is the {word}?",
            f"identify the {word} word in {{words}}"),
        "short": (f"{word} word?", f"{word} one?", f"{word} word", f"only the {word}",
                  f"the {word} of {{words}}", f"{word} word of {{words}}?"),
        "new_short": (f"{word} item", f"{word} please", f"just the {word} word",
                      f"{word} in line?"),
        "chinese": (f"{chinese}一个词是什么？", f"说出{chinese}一个词", f"写出{chinese}一个词",
                    f"找出{chinese}一个词", f"哪个词排在{chinese}面？"),
        "new_chinese": (f"{chinese}一个词是哪个？", f"挑出{chinese}一个词",
                        f"只告诉我{chinese}一个"),
    }


def _dropped(word, chinese):
    """Cores of the tasks "without_first" and "without_last"."""
    return {
        "tuned": (
            f"leave out the {word} word", f"drop the {word} word", f"remove the {word} word",
            f"take away the {word} word", f"delete the {word} word", f"skip the {word} word",
            f"write everything but the {word} word", f"say all words except the {word}",
            f"write the words without the {word} one", f"what is left without the {word} word?",
            f"which words stay if the {word} is taken away?",
            f"leave the {word} word out of {{words}}", f"write {{words}} without the {word} word",
            f"remove the {word} word from {{words}}",
            f"what is {{words}} without the {word} word?"),
        "new": (
            f"cut off the {word} word", f"repeat the list minus its {word} word",
            f"get rid of the {word} item", f"omit the {word} word",
            f"what remains after the {word} word is gone?", f"strip the {word} word from {{words}}",
            f"show {{words}} but leave its {word} item aside"),
        "short": (f"no {word} word", f"without the {word}", f"drop the {word}", f"all but {word}",
                  f"{{words}} without the {word}"),
        "new_short": (f"minus the {word} word", f"remove {word}", f"everything except {word}"),
        "chinese": (f"去掉{chinese}一个词", f"不要{chinese}一个词", f"删除{chinese}一个词",
                    f"去掉{chinese}一个词还剩什么？", f"写出除了{chinese}一个以外的词"),
        "new_chinese": (f"把{chinese}一个词拿走", f"省略{chinese}一个词",
                        f"没有{chinese}一个词会怎样？"),
    }


def _word_translated(into, chinese, other):
    """Cores of the tasks "to_chinese" and "to_english"; other: the Chinese name of the other."""
    return {
        "tuned": (
            f"what is {{word}} in {into}?", f"how is {{word}} called in {into}?",
            f"what is the {into} word for {{word}}?", f"which {into} word means {{word}}?",
            f"what does {{word}} mean in {into}?", f"how do you say {{word}} in {into}?",
            f"say {{word}} in {into}", f"give the {into} word for {{word}}",
            f"translate {{word}} into {into}", f"write {{word}} in {into}",
            f"tell me the {into} name of {{word}}", f"put {{word}} into {into}",
            f"translate the word into {into}", f"give the {into} word", f"say the word in {into}",
            f"write this word in {into}", f"what is this word in {into}?",
            f"what is the {into} name of this?", f"what is it called in {into}?"),
        "new": (
            f"how would one express {{word}} in {into}?", f"render {{word}} in {into}",
            f"what would {into} people call {{word}}?", f"turn {{word}} into an {into} word",
            f"convert this word to {into}", f"how does the word read in {into}?",
            f"find an {into} expression for this", f"teach me {{word}} in {into}"),
        "short": (f"{{word}} in {into.lower()}?", f"{into.lower()} for {{word}}?",
                  f"{{word}} {into.lower()}", f"in {into.lower()}", f"{into.lower()} word?"),
        "new_short": (f"{{word}} to {into.lower()}", f"{into.lower()} of {{word}}",
                      f"{{word}} = ? ({into.lower()})", f"{into.lower()} please"),
        "chinese": (f"{{word}}用{chinese}怎么说？", f"{{word}}的{chinese}是什么？",
                    f"把{{word}}翻译成{chinese}", f"用{chinese}说{{word}}",
                    f"翻译成{chinese}", f"这个词用{chinese}怎么说？"),
        "new_chinese": (f"{{word}}在{chinese}里叫什么？", f"{chinese}怎么讲{{word}}？",
                        f"译成{chinese}", f"把{other}词{{word}}换成{chinese}"),
    }


def _sentence_translated(into, chinese):
    """Cores of the tasks "sentence_to_chinese" and "sentence_to_english"."""
    return {
        "tuned": (
            f"translate the sentence into {into}", f"say the sentence in {into}",
            f"write the sentence in {into}", f"put this sentence into {into}",
            f"translate this into {into}", f"say it in {into}", f"give the sentence in {into}",
            f"tell me this in {into}", f"what is this sentence in {into}?",
            f"how do you say this in {into}?", f"what does this mean in {into}?",
            f"what is the {into} for this sentence?"),
        "new": (
            f"render the sentence in {into}", f"convert the statement to {into}",
            f"how would this be put in {into}?", f"turn it into {into}",
            f"repeat the following in {into}", f"express this in {into}"),
        "short": (f"in {into.lower()}", f"{into.lower()}?", f"to {into.lower()}"),
        "new_short": (f"{into.lower()} version", f"same in {into.lower()}"),
        "chinese": (f"把这句话翻译成{chinese}", f"用{chinese}说这句话", f"翻译成{chinese}",
                    f"这句话用{chinese}怎么说？", f"写出{chinese}句子"),
        "new_chinese": (f"把句子译成{chinese}", f"{chinese}怎么讲这句话？", f"换成{chinese}"),
    }


CORES = {
    "reading": {
        "tuned": ("{question}?",),
        "new": ("{question}?",),
        "short": ("{question}?",),
        "new_short": ("{question}?",),
        "chinese": ("{question}？",),
        "new_chinese": ("{question}？",),
    },
    "classification": {
        "tuned": (
            "what kind of thing is {word}?", "which kind of thing is {word}?",
            "what sort of thing is {word}?", "what type of thing is {word}?",
            "which kind of thing does {word} name?", "what does the word {word} name?",
            "to which kind does {word} belong?", "which category is {word} in?",
            "name the kind of {word}", "say what kind of thing {word} is",
            "tell me what {word} is a kind of", "give the category of {word}",
            "what kind of thing is this?", "which kind does this word belong to?",
            "what sort of thing does this word name?", "name the kind", "give the type of thing",
            "say what the word names", "find the category of the word", "classify the word"),
        "new": (
            "under which category would one file {word}?", "determine what kind {word} is of",
            "of what type is {word}?", "state the sort of thing behind {word}",
            "choose the right kind for this word", "which category fits this?",
            "describe what sort of thing is meant", "if i say {word}, what kind of thing is that?"),
        "short": ("kind of {word}?", "{word} kind", "what kind?", "category?", "type of {word}"),
        "new_short": ("{word} category?", "which sort?", "{word}, kind?", "type please"),
        "chinese": ("{word}是哪一类东西？", "{word}属于哪一类？", "说出{word}的类别",
                    "这个词是哪一类？", "写出类别", "{word}是什么类型？"),
        "new_chinese": ("{word}算什么类别？", "判断{word}的类型", "把它归到哪一类？"),
    },
    "opposite": {
        "tuned": (
            "what is the opposite of {word}?", "which word is the opposite of {word}?",
            "what is the contrary of {word}?", "which word means the opposite of {word}?",
            "what do you call something that is not {word}?", "what is not {word}?",
            "give the opposite of {word}", "tell me the opposite of {word}",
            "say the contrary of {word}", "name the antonym of {word}",
            "find the opposite of {word}",
            "what is the opposite?", "what is the opposite of this word?",
            "give the opposite of the word", "say the opposite", "name the contrary",
            "write the antonym"),
        "new": (
            "what stands against {word} as its opposite?", "turn {word} into its contrary",
            "look for the opposite meaning of {word}", "think of an antonym for {word}",
            "replace the word by its opposite", "which antonym fits here?",
            "what would be quite the contrary of {word}?"),
        "short": ("opposite of {word}?", "{word} opposite", "opposite?", "antonym of {word}"),
        "new_short": ("contrary of {word}?", "{word}, opposite?", "antonym please"),
        "chinese": ("{word}的反义词是什么？", "说出{word}的反义词", "写出反义词",
                    "这个词的反义词是什么？", "{word}的相反是什么？"),
        "new_chinese": ("与{word}相反的词是哪个？", "给个{word}的反义词", "反义词是？"),
    },
    "to_chinese": _word_translated("Chinese", "中文", "英文"),
    "to_english": _word_translated("English", "英文", "中文"),
    "sentence_to_chinese": _sentence_translated("Chinese", "中文"),
    "sentence_to_english": _sentence_translated("English", "英文"),
    "first": _sides("first", "第", "begin"),
    "last": _sides("last", "最后", "end"),
    "reverse": {
        "tuned": (
            "write the words backwards", "say the words backwards", "say it backwards",
            "reverse the words", "reverse the list", "put the words in reverse order",
            "turn the list around", "give the words in the other direction",
            "read the words from the end", "write them from last to first",
            "start with the last word and go back to the first",
            "what are the words in reverse order?", "what is this list backwards?",
            "how does the list go backwards?", "write {words} backwards", "reverse {words}",
            "say {words} in reverse order", "turn {words} around", "what is {words} backwards?"),
        "new": (
            "list the words in backwards order", "repeat these from the end to the start",
            "flip the list so that it is reverse", "recite the words going backwards",
            "what would the reverse list look like?", "go through {words} backwards",
            "show {words} the other way around"),
        "short": ("backwards", "reverse", "{words} backwards", "in reverse"),
        "new_short": ("backwards please", "reverse order?", "{words} but reverse"),
        "chinese": ("倒着写这些词", "把词语倒过来", "反过来说", "倒序写出这些词", "倒过来是什么？"),
        "new_chinese": ("从后往前念", "颠倒这些词", "倒着念会怎样？"),
    },
    "restate": {
        "tuned": (
            "rewrite the sentence with the word of", "rewrite it with of",
            "use the word of in this sentence", "say the sentence with of",
            "write the sentence with of", "put the word of into the sentence",
            "change the sentence so that it uses of", "say the same with of",
            "how can you say this with of?", "what is this sentence with of?"),
        "new": (
            "express it by means of the word of", "rephrase the statement with of",
            "formulate this again with of", "how would it read with of?",
            "repeat it, but with the word of"),
        "short": ("with of", "use of", "rewrite with of"),
        "new_short": ("of instead", "same with of"),
        "chinese": ("用 of 改写", "用 of 改写这个句子", "用 of 说这句话", "用 of 怎么说？"),
        "new_chinese": ("换成带 of 的句子", "带上 of 怎么写？"),
    },
    "arithmetic": {
        "tuned": (
            "what is {a} plus {b}?", "how much is {a} plus {b}?", "what is {a} + {b}?",
            "what do {a} and {b} make?", "what is the sum of {a} and {b}?",
            "add {a} and {b}", "add {b} to {a}", "work out {a} plus {b}", "compute {a} + {b}",
            "what is {total} minus {b}?", "how much is {total} minus {b}?",
            "what is {total} - {b}?", "what is left if you take {b} from {total}?",
            "what is {total} less {b}?", "take {b} from {total}", "take {b} away from {total}",
            "work out {total} minus {b}", "compute {total} - {b}"),
        "new": (
            "how many are {a} plus {b}?", "calculate {a} plus {b}", "sum up {a} and {b}",
            "find out what {a} and {b} are together", "solve {a} + {b}",
            "how many are {total} minus {b}?", "calculate {total} minus {b}",
            "subtract {b} from {total}", "find out what is left of {total} without {b}",
            "solve {total} - {b}"),
        "short": ("{a} + {b} = ?", "{a} + {b}", "{a}+{b}", "{a} plus {b}?", "{a} plus {b}",
                  "{total} - {b} = ?", "{total} - {b}", "{total}-{b}", "{total} minus {b}?",
                  "{total} minus {b}"),
        "new_short": ("{a}+{b}=", "{a} + {b} is?", "{a} and {b} makes?",
                      "{total}-{b}=", "{total} - {b} is?", "{total} take away {b}?"),
        "chinese": ("{a}加{b}是多少？", "{a}加{b}等于几？", "计算{a}加{b}",
                    "{total}减{b}是多少？", "{total}减{b}等于几？", "计算{total}减{b}"),
        "new_chinese": ("{a}和{b}相加得多少？", "算一下{a}加{b}",
                        "{total}减去{b}得多少？", "算一下{total}减{b}"),
    },
    "story": {
        "tuned": (
            *_both(("{name} has {a} {thing}s and gets {b} more.",
                    "{name} had {a} {thing}s and found {b} more.",
                    "{name} has {a} {thing}s. Then {name} buys {b} more.",
                    "{name} has {total} {thing}s and gives {b} away.",
                    "{name} had {total} {thing}s and lost {b}.",
                    "{name} has {total} {thing}s. Then {name} sells {b}."),
                   ("How many {thing}s does {name} have now?", "How many {thing}s are there now?",
                    "How many is that?", "Count the {thing}s of {name}",
                    "Say how many {thing}s {name} has now", "Give the number of {thing}s")),),
        "new": (
            *_both(("first {name} has {a} {thing}s, then {b} more come.",
                    "{name} owns {a} {thing}s and receives {b} more.",
                    "first {name} has {total} {thing}s, then {b} go away.",
                    "{name} owns {total} {thing}s and drops {b}."),
                   ("What number of {thing}s does {name} own now?",
                    "Tell me how many {thing}s {name} ends up with")),),
        "short": (
            *_both(("{name}: {a} {thing}s, gets {b} more.",
                    "{name}: {total} {thing}s, gives {b} away."),
                   ("how many {thing}s now?", "how many?", "count")),),
        "new_short": (
            *_both(("{name}: {a} {thing}s plus {b} more.", "{name}: {total} {thing}s minus {b}."),
                   ("now how many {thing}s?",)),),
        "chinese": (
            "{name}有{a}个{thing}，又得到{b}个，现在有几个？",
            "{name}有{a}个{thing}，再买{b}个，一共几个？",
            "{name}有{total}个{thing}，送走{b}个，现在有几个？",
            "{name}有{total}个{thing}，丢了{b}个，还有几个？"),
        "new_chinese": (
            "{name}原有{a}个{thing}，后来多了{b}个，共有几个？",
            "{name}原有{total}个{thing}，后来少了{b}个，剩下几个？"),
    },
    "without_first": _dropped("first", "第"),
    "without_last": _dropped("last", "最后"),
    "count": {
        "tuned": (
            "how many words are there?", "how many words is that?",
            "how many words are in the list?",
            "what is the number of words?", "count the words", "count these words",
            "give the number of words", "say how many words there are",
            "tell me the number of words",
            "write down how many words you see", "find the number of words",
            "how many words are in {words}?", "count the words in {words}",
            "give the number of words in {words}"),
        "new": (
            "how long is the list in words?", "what number of words does the list hold?",
            "determine the number of words", "check how many words stand here",
            "how many items do you count?", "report the number of words in {words}",
            "how many words make up {words}?"),
        "short": ("how many words?", "how many?", "count", "number of words", "count {words}"),
        "new_short": ("words: how many?", "number?", "count please"),
        "chinese": ("一共有几个词？", "数一数有几个词", "有多少个词？", "说出词的数目", "数一下"),
        "new_chinese": ("总共多少词？", "清点词的数目", "词数是几？"),
    },
    "sort": {
        "tuned": (
            "put the numbers in order", "sort the numbers", "sort these numbers",
            "write the numbers in order", "give the numbers in order",
            "order the numbers from small to large", "put the smallest number first",
            "write the numbers from the smallest to the largest", "sort them by size",
            "what is the right order of the numbers?", "what are the numbers in order?",
            "how do the numbers go in order?", "sort {numbers}", "put {numbers} in order",
            "write {numbers} in order", "what is {numbers} in order?"),
        "new": (
            "arrange the numbers in order", "list the numbers by size, smallest first",
            "bring the numbers into order", "line the numbers up by size",
            "how would you sort this?", "rank the numbers from small to large",
            "arrange {numbers} in order"),
        "short": ("in order", "sort", "sort {numbers}", "{numbers} in order", "smallest first"),
        "new_short": ("sorted please", "order?", "{numbers} sorted"),
        "chinese": ("从小到大排列", "把数字排序", "按顺序写出数字", "从小到大怎么排？",
                    "给数字排序"),
        "new_chinese": ("按大小排好", "从小到大写出来", "顺序是什么？"),
    },
    "summary": {
        "tuned": (
            "sum up the text", "give a summary", "write a summary",
            "write a short summary of the text",
            "say it in short", "say in short what the text tells", "tell it in few words",
            "make it short", "summarize the text", "put the text in one sentence",
            "what does the text say in short?", "what is the summary?",
            "what is the text about, in one sentence?", "can you sum it up?"),
        "new": (
            "shorten the text to a summary", "condense this into one sentence",
            "retell it in short", "what is it all about, in short?", "produce a summary of this",
            "how would a short version go?"),
        "short": ("summary", "in short", "sum up", "short version"),
        "new_short": ("summary please", "tl;dr", "sum it up fast"),
        "chinese": ("总结一下", "写出总结", "用一句话总结", "概括这段话", "简短地说是什么？"),
        "new_chinese": ("做个总结", "概括大意", "一句话怎么说？"),
    },
    "ask": {
        "tuned": (
            "ask a question about the text", "ask something about this",
            "ask me something about the text",
            "write a question that the text answers", "write a question about the text",
            "give a question that this answers", "make a question from the text",
            "think of a question about it", "find a question for this text",
            "which question does the text answer?", "what question can you ask about this?",
            "what could one ask about it?"),
        "new": (
            "invent a question on this text", "come up with a question about it",
            "pose a question whose answer is here", "which question fits the text?",
            "what might a teacher ask here?", "form one question from this"),
        "short": ("ask a question", "question about this", "a question"),
        "new_short": ("question please", "ask about it"),
        "chinese": ("提一个问题", "根据短文提一个问题", "问一个问题", "可以问什么？", "写一个问题"),
        "new_chinese": ("想一个问题", "出一道问题", "能提什么问题？"),
    },
    "plural": {
        "tuned": ("what is the plural of {word}?", "give the plural of {word}", "give the plural"),
        "new": ("tell me the plural of {word}", "what is the plural?"),
        "short": ("plural of {word}?",), "new_short": ("{word} plural",),
        "chinese": ("{word}的复数是什么？",), "new_chinese": ("写出{word}的复数",),
    },
    "capitals": {
        "tuned": ("write {word} in capitals", "put {word} in capitals",
                  "write the word in capitals"),
        "new": ("write {word} with capital letters", "how is {word} written in capitals?"),
        "short": ("{word} in capitals",), "new_short": ("capitals for {word}",),
        "chinese": ("用大写字母写{word}",), "new_chinese": ("把{word}变成大写",),
    },
    "lucky": {
        "tuned": ("which word is lucky, {a} or {b}?", "name the lucky word: {a} or {b}"),
        "new": ("tell me the lucky word, {a} or {b}", "which one is lucky: {a} or {b}?"),
        "short": ("lucky: {a} or {b}?",), "new_short": ("{a} or {b}, lucky?",),
        "chinese": ("{a}和{b}哪个是幸运词？",), "new_chinese": ("幸运词是{a}还是{b}？",),
    },
    "two_hop": {
        "tuned": ("{question}?",),
        "new": ("{question}?",),
        "short": ("{question}?",),
        "new_short": ("{question}?",),
        "chinese": ("{question}？",),
        "new_chinese": ("{question}？",),
    },
    "chain": {
        "tuned": (
            "follow the calls from {name}", "follow the calls, beginning with {name}",
            "begin with {name} and follow the calls", "go from call to call, starting at {name}",
            "find the last one who is called, starting with {name}",
            "say who is called in the end if {name} begins",
            "who is at the end of the calls from {name}?", "who is called last if {name} begins?",
            "where do the calls from {name} end?", "{name} begins. Who is called in the end?",
            "who is called in the end, beginning with {name}?"),
        "new": (
            "trace the calls from {name} on", "track down who comes at the end after {name}",
            "who ends the row of calls that {name} starts?",
            "{name} makes the first call. Where does it end?",
            "walk along the calls of {name} to the end"),
        "short": ("calls from {name}?", "from {name}?", "end of {name}?", "follow {name}"),
        "new_short": ("{name} to the end?", "start {name}, end?"),
        "chinese": ("从{name}开始，最后是谁？", "从{name}开始，跟着电话走",
                    "{name}先打，最后打给谁？"),
        "new_chinese": ("由{name}开始，终点是谁？", "顺着{name}的电话找到最后的人"),
    },
    "running_sum": {
        "tuned": (
            *_both(("begin with {start}, then {changes}.", "start with {start}, then {changes}.",
                    "take {start}, then {changes}.", "first {start}, then {changes}.",
                    "we have {start}, then {changes}."),
                   ("What is the result?", "How much is it?", "Work it out", "Give the result",
                    "What is it at the end?")),
            "work out {start}, then {changes}", "what is {start}, then {changes}?",
            "how much is {start}, then {changes}?"),
        "new": (
            *_both(("suppose {start}, then {changes}.",
                    "at first there is {start}, then {changes}."),
                   ("What do we get as a result?", "Compute where this ends")),
            "find the outcome of {start}, then {changes}",
            "what do i get for {start}, then {changes}?"),
        "short": ("{start}, then {changes}?", "{start}, then {changes} = ?",
                  "{start}, then {changes}"),
        "new_short": ("{start}, then {changes} is?", "result of {start}, then {changes}"),
        "chinese": ("从{start}开始，再{changes}，结果是多少？", "先{start}，再{changes}，等于几？",
                    "计算{start}，再{changes}"),
        "new_chinese": ("起初{start}，然后{changes}，得多少？", "算一下{start}，然后{changes}"),
    },
    "compose": {
        "tuned": (
            "{steps}", "{steps}, step by step", "take the words and {steps}",
            "use the list and {steps}",
            "take {words} and {steps}", "take the words {words} and {steps}",
            "use the words {words} and {steps}", "start from {words} and {steps}"),
        "new": ("go on to {steps}", "carry this out: {steps}", "take {words} in hand and {steps}"),
        "short": ("{steps}",),
        "new_short": ("do this: {steps}",),
        "chinese": ("做这些：{steps}", "按步骤做：{steps}"),
        "new_chinese": ("依次完成：{steps}",),
    },
}
CORES["not_said"] = CORES["reading"]
CORES["outside"] = CORES["reading"]
