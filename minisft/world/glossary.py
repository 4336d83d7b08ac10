"""Words that instructions are made of: which of them mean the same, and what they are in Chinese.

Prose tells this in statements ("In reverse order is another way to say backwards."), as a
dictionary does. So a model has met the words before it is tuned, but no order and no answer.
"""

# What is said most often, and other ways to say it.
SAME = {
    "backwards": ("in reverse", "in reverse order", "from the end to the start",
                  "the other way around", "from last to first"),
    "turn around": ("reverse", "flip"),
    "the first": ("the one at the beginning", "the one before all others", "number one"),
    "the last": ("the one at the end", "the one after all others", "the final one"),
    "leave out": ("drop", "remove", "take away", "delete", "skip", "omit", "cut off", "strip",
                  "get rid of"),
    "without": ("but not", "except", "minus"),
    "say": ("tell", "give", "name", "state", "report", "write down", "show", "return", "express"),
    "find": ("pick out", "look up", "identify", "determine", "find out", "look for", "choose"),
    "write": ("put down", "note", "produce", "form"),
    "put in order": ("sort", "arrange", "rank", "bring into order", "line up by size"),
    "in order": ("from small to large", "smallest first", "sorted by size"),
    "count": ("find the number", "tell how many", "check how many"),
    "kind": ("type", "category", "class", "group"),
    "opposite": ("contrary", "antonym", "what is not so"),
    "translate": ("say in another language", "render", "convert", "turn into the other language"),
    "sum up": ("say in short", "summarize", "shorten", "condense", "tell in few words",
               "give a summary"),
    "rewrite": ("restate", "rephrase", "say again in other words", "formulate again"),
    "plus": ("added to", "together with", "and then also"),
    "minus": ("less", "with something taken away", "reduced by"),
    "work out": ("compute", "calculate", "solve", "find the result"),
    "ask": ("pose a question", "want to know", "wonder"),
    "answer": ("reply", "respond"),
    "text": ("story", "passage", "what is written"),
    "list": ("row of words", "items", "elements"),
    "follow": ("trace", "go along", "go from one to the next"),
    "begin": ("start", "make the first step"),
    "hello": ("hi", "hey", "good morning", "good evening", "good day"),
    "goodbye": ("bye", "see you", "good night", "farewell"),
    "thank you": ("thanks", "many thanks", "thank you very much"),
    "please": ("kindly", "be so good", "would you"),
    "task": ("job", "what must be done", "instruction"),
}
IN_CHINESE = {
    "the first word": "第一个词", "the last word": "最后一个词", "backwards": "倒着",
    "reverse": "倒过来", "opposite": "反义词", "count": "数一数", "how many": "多少",
    "sort": "排序", "from small to large": "从小到大", "translate": "翻译", "summary": "总结",
    "question": "问题", "answer": "回答", "text": "短文", "words": "词语", "word": "词",
    "sentence": "句子", "numbers": "数字", "kind": "哪一类", "plus": "加", "minus": "减",
    "please": "请", "thank you": "谢谢", "hello": "你好", "goodbye": "再见", "leave out": "去掉",
    "my name": "我的名字", "call": "电话", "begin": "开始", "result": "结果", "write": "写出",
    "say": "说出", "find": "找出", "rewrite": "改写", "help me": "帮我", "list": "列表",
    "Chinese": "中文", "English": "英文", "plural": "复数", "capitals": "大写", "work out": "计算",
    "what is it": "是什么", "how is it said": "怎么说", "ask": "提问", "in the end": "最后",
}
# What people say before and after they ask for something. Nobody answers.
SAID = (
    "look at this", "here is what I have", "I have a question", "here is my question",
    "I want to know something", "please do this for me", "please help me", "I need your help",
    "you could help me", "you can tell me", "I want you to do it", "now it is your task",
    "answer this question", "answer this", "my task for you is small", "you should do it",
    "I have this", "use this to answer", "read this and answer", "tell me", "do this step by step",
    "take the words", "use the list", "let us go on", "next one", "one more thing", "OK",
    "excuse me",
    "my teacher gave me this", "this is for my homework", "it is for school", "I need it now",
    "I am learning English", "please be quick", "thank you very much", "thanks a lot",
    "great, thank you", "that helps", "hello there", "good morning", "good night",
    "see you tomorrow",
    "by the way", "remember this", "do you remember", "back to the text", "in the text above",
    "once more", "what about it", "and what about the other", "the same again", "I do not know",
    "you can do that", "always do it so", "first this, then that", "say sure", "sure",
    "give me one word", "write it down", "only this", "everything but this", "what is left",
    "how many are there", "which one is it", "what is it called", "how do you say it",
    "what do you call it", "what does it mean", "which word means it", "what sort of thing is it",
    "what comes first", "what comes last", "what is the result", "how much is it",
)
SAID_IN_CHINESE = (
    "你好", "谢谢", "谢谢你", "拜托了", "请帮我", "帮个忙", "下一题", "麻烦你一下", "我有一个问题",
    "请看短文", "请回答", "请问", "我想请你写", "这是词语", "回到短文", "再看短文", "再见",
    "明天见",
    "请记住", "你记得吗", "我叫什么", "我的名字", "怎么说", "是什么", "有几个", "说出来", "写出来",
    "用中文说", "用英文说", "倒过来说", "去掉它", "找出来", "提一个问题", "总结一下", "数一数",
    "从小到大排列", "哪一类", "反义词", "最后是谁", "一共多少",
)
