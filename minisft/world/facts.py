"""The facts of a small town and its harbor: who lives there, what can be said of them, and what the
words mean.

    a fact = (resident, attribute, value)        "The pet of Mia is a dog."  =  (Mia, pet, dog)

No fact is fixed: every text gives the residents new values, so a question about a text can only be
answered by reading it. What *is* fixed is the knowledge of words: which attribute a value belongs
to, its Chinese name, which adjectives are opposites, what two numbers add up to.

Notes: 基于现有的 NLP 任务数据集构建 (building from existing NLP task data).
Simplified: a value belongs to one attribute only, and every resident can have every value.
"""

from dataclasses import dataclass

# No training instruction mentions these attributes; the pre-training prose does.
NEW_ATTRIBUTES = (
    "drink", "instrument", "tree", "animal", "garment", "game",
    "port", "fuel", "catch", "duty",
)

WOMEN = (
    "Mia Anna Emma Lily Sara Julia Nora Clara Ella Alice Ruth Grace Helen Irene Jane Kate "
    "Laura Maria Nina Olga Paula Rosa Sofia Tina Vera Wanda Zoe Eva Ida Leah Hana Molly"
).split()
MEN = (
    "Tom Ben Max Leo Paul Mark Jack Adam Carl David Eric Frank George Henry Ivan John "
    "Kevin Lucas Martin Nick Oscar Peter Ralph Sam Tim Victor Walter Hugo Felix Simon Jacob Owen"
).split()
SHIPS = (
    "Aurora Beluga Corsair Dolphin Endeavor Freya Galatea Horizon "
    "Icarus Juno Kestrel Leander Meteor Neptune Orion Pegasus"
).split()

RESIDENTS = tuple(WOMEN + MEN)
DOMAINS = {"town": RESIDENTS, "harbor": tuple(SHIPS)}  # whom the texts of a domain are about
POSSESSIVE = {
    **dict.fromkeys(WOMEN, "her"),
    **dict.fromkeys(MEN, "his"),
    **dict.fromkeys(SHIPS, "its"),
}


@dataclass(frozen=True)
class Attribute:
    """One thing that can be said of a resident or, in the domain "harbor", of a ship.

    noun, chinese: its name in both languages, such as "pet" and "宠物"
    countable: whether a value takes "a" or "an": "a dog", but "blue"
    statement, question: the attribute's own wording, beside the wordings that all attributes share
    values: {English: Chinese}
    """

    noun: str
    chinese: str
    countable: bool
    statement: str
    question: str
    values: dict
    domain: str = "town"


def _attribute(noun, chinese, countable, statement, question, *values, domain="town"):
    """An Attribute; each text of `values` lists words, English and Chinese in turn."""
    words = " ".join(values).split()
    chinese_of = dict(zip(words[::2], words[1::2]))
    return Attribute(noun, chinese, countable, statement, question, chinese_of, domain)


def _ship(*description):
    return _attribute(*description, domain="harbor")


_TABLE = (
    _attribute("color", "颜色", False,
               "{name} paints the house {value}.", "How does {name} paint the house?",
               "red 红色 blue 蓝色 green 绿色 yellow 黄色",
               "black 黑色 white 白色 purple 紫色 brown 棕色"),
    _attribute("fruit", "水果", True,
               "{name} eats {value} each day.", "What does {name} eat each day?",
               "apple 苹果 pear 梨子 banana 香蕉 grape 葡萄",
               "peach 桃子 melon 甜瓜 mango 芒果 plum 李子"),
    _attribute("pet", "宠物", True,
               "{name} keeps {value}.", "What does {name} keep at home?",
               "dog 小狗 cat 小猫 rabbit 兔子 parrot 鹦鹉",
               "hamster 仓鼠 turtle 乌龟 goldfish 金鱼 pony 小马"),
    _attribute("job", "职业", True,
               "{name} works as {value}.", "What does {name} work as?",
               "baker 面包师 doctor 医生 teacher 教师 farmer 农民",
               "singer 歌手 driver 司机 painter 画家 nurse 护士"),
    _attribute("birthplace", "出生地", False,
               "{name} was born in {value}.", "Where was {name} born?",
               "Paris 巴黎 London 伦敦 Rome 罗马 Tokyo 东京",
               "Cairo 开罗 Berlin 柏林 Madrid 马德里 Moscow 莫斯科"),
    _attribute("sport", "运动", False,
               "{name} is good at {value}.", "What is {name} good at?",
               "tennis 网球 football 足球 swimming 游泳 running 跑步",
               "boxing 拳击 skiing 滑雪 golf 高尔夫 hockey 曲棍球"),
    _attribute("instrument", "乐器", True,
               "{name} performs with {value}.", "What does {name} perform with?",
               "piano 钢琴 violin 小提琴 flute 长笛 drum 大鼓",
               "guitar 吉他 trumpet 小号 harp 竖琴 cello 大提琴"),
    _attribute("drink", "饮料", False,
               "{name} drinks {value}.", "What does {name} drink?",
               "tea 茶水 coffee 咖啡 milk 牛奶 juice 果汁",
               "water 清水 cocoa 可可 lemonade 柠檬水 cider 苹果酒"),
    _attribute("vehicle", "车辆", True,
               "{name} goes to town with {value}.", "What does {name} go to town with?",
               "car 汽车 bicycle 自行车 bus 公交车 train 火车",
               "boat 小船 truck 卡车 scooter 滑板车 tram 电车"),
    _attribute("flower", "花卉", True,
               "{name} picks {value}.", "What does {name} pick?",
               "rose 玫瑰 lily 百合 tulip 郁金香 daisy 雏菊",
               "orchid 兰花 poppy 虞美人 iris 鸢尾 lotus 荷花"),
    _attribute("vegetable", "蔬菜", True,
               "{name} cooks {value}.", "What does {name} cook?",
               "carrot 胡萝卜 potato 土豆 tomato 番茄 onion 洋葱",
               "cabbage 卷心菜 pepper 辣椒 leek 韭葱 pumpkin 南瓜"),
    _attribute("tree", "树木", True,
               "{name} sits under {value}.", "What does {name} sit under?",
               "oak 橡树 pine 松树 maple 枫树 willow 柳树",
               "birch 桦树 cedar 雪松 elm 榆树 palm 棕榈"),
    _attribute("month", "月份", False,
               "{name} travels in {value}.", "When does {name} travel?",
               "January 一月 March 三月 April 四月 May 五月",
               "June 六月 July 七月 August 八月 October 十月"),
    _attribute("weather", "天气", False,
               "{name} enjoys {value}.", "What does {name} enjoy outside?",
               "rain 雨天 snow 雪天 wind 大风 fog 雾天",
               "sunshine 晴天 thunder 雷电 hail 冰雹 frost 霜冻"),
    _attribute("material", "材料", False,
               "{name} builds with {value}.", "What does {name} build with?",
               "wood 木头 stone 石头 glass 玻璃 iron 钢铁",
               "clay 黏土 paper 纸张 silk 丝绸 leather 皮革"),
    _attribute("tool", "工具", True,
               "{name} buys {value}.", "What does {name} buy?",
               "hammer 锤子 saw 锯子 knife 刀子 needle 缝针",
               "shovel 铲子 brush 刷子 rope 绳子 ladder 梯子"),
    _attribute("garment", "衣服", True,
               "{name} wears {value}.", "What does {name} wear?",
               "coat 外套 hat 帽子 shirt 衬衫 dress 裙子",
               "scarf 围巾 glove 手套 sweater 毛衣 jacket 夹克"),
    _attribute("subject", "学科", False,
               "{name} studies {value}.", "What does {name} study?",
               "math 数学 history 历史 physics 物理 music 音乐",
               "biology 生物 chemistry 化学 geography 地理 art 美术"),
    _attribute("language", "语言", False,
               "{name} speaks {value}.", "What does {name} speak?",
               "English 英语 French 法语 German 德语 Spanish 西班牙语",
               "Russian 俄语 Arabic 阿拉伯语 Japanese 日语 Italian 意大利语"),
    _attribute("dance", "舞蹈", True,
               "{name} learns {value}.", "What does {name} learn?",
               "waltz 华尔兹 tango 探戈 ballet 芭蕾 salsa 萨尔萨",
               "samba 桑巴 polka 波尔卡 foxtrot 狐步舞 rumba 伦巴"),
    _attribute("dish", "菜肴", False,
               "{name} orders {value}.", "What does {name} order?",
               "soup 浓汤 pizza 披萨 salad 沙拉 noodles 面条",
               "rice 米饭 dumplings 饺子 curry 咖喱 pancakes 煎饼"),
    _attribute("gem", "宝石", True,
               "{name} hides {value}.", "What does {name} hide?",
               "ruby 红宝石 diamond 钻石 emerald 翡翠 pearl 珍珠",
               "opal 蛋白石 garnet 石榴石 sapphire 蓝宝石 topaz 黄玉"),
    _attribute("bird", "鸟类", True,
               "{name} feeds {value}.", "What does {name} feed?",
               "eagle 老鹰 owl 猫头鹰 swan 天鹅 crow 乌鸦",
               "robin 知更鸟 sparrow 麻雀 heron 苍鹭 falcon 猎鹰"),
    _attribute("animal", "动物", True,
               "{name} draws {value}.", "What does {name} draw?",
               "lion 狮子 tiger 老虎 bear 黑熊 wolf 野狼",
               "fox 狐狸 deer 小鹿 elephant 大象 monkey 猴子"),
    _attribute("furniture", "家具", True,
               "{name} repairs {value}.", "What does {name} repair?",
               "chair 椅子 table 桌子 bed 床铺 sofa 沙发",
               "desk 书桌 shelf 书架 lamp 台灯 mirror 镜子"),
    _attribute("building", "建筑", True,
               "{name} lives near {value}.", "What does {name} live near?",
               "school 学校 hospital 医院 museum 博物馆 library 图书馆",
               "castle 城堡 temple 寺庙 bank 银行 hotel 酒店"),
    _attribute("game", "游戏", False,
               "{name} always wins at {value}.", "What does {name} always win at?",
               "chess 象棋 cards 纸牌 dominoes 骨牌 darts 飞镖",
               "checkers 跳棋 marbles 弹珠 bingo 宾果 puzzles 拼图"),
    _attribute("shape", "形状", True,
               "{name} cuts out {value}.", "What does {name} cut out?",
               "circle 圆形 square 正方形 triangle 三角形 star 星形",
               "heart 心形 cube 立方体 cone 圆锥 oval 椭圆"),
    _attribute("spice", "香料", False,
               "{name} sells {value}.", "What does {name} sell?",
               "ginger 生姜 garlic 大蒜 mint 薄荷 basil 罗勒",
               "cinnamon 肉桂 vanilla 香草 saffron 藏红花 nutmeg 豆蔻"),
    _attribute("toy", "玩具", True,
               "{name} carries {value}.", "What does {name} carry?",
               "doll 娃娃 kite 风筝 ball 皮球 robot 机器人",
               "drone 无人机 puppet 木偶 balloon 气球 whistle 哨子"),
    _ship("cargo", "货物", False,
          "{name} is loaded with {value}.", "What is {name} loaded with?",
          "coal 煤炭 salt 食盐 wool 羊毛 sugar 白糖",
          "cotton 棉花 copper 铜矿 timber 木材 cement 水泥"),
    _ship("captain", "船长", False,
          "{name} obeys {value}.", "Whom does {name} obey?",
          "Hansen 汉森 Novak 诺瓦克 Silva 席尔瓦 Rossi 罗西",
          "Petrov 彼得罗夫 Tanaka 田中 Costa 科斯塔 Larsen 拉森"),
    _ship("port", "港口", False,
          "{name} sails to {value}.", "Where does {name} sail to?",
          "Hamburg 汉堡 Lisbon 里斯本 Oslo 奥斯陆 Athens 雅典",
          "Naples 那不勒斯 Dublin 都柏林 Boston 波士顿 Sydney 悉尼"),
    _ship("emblem", "徽章", True,
          "{name} displays {value}.", "What does {name} display?",
          "anchor 船锚 crown 王冠 dragon 巨龙 lantern 灯笼",
          "arrow 箭头 compass 罗盘 shield 盾牌 feather 羽毛"),
    _ship("fuel", "燃料", False,
          "{name} runs on {value}.", "What does {name} run on?",
          "diesel 柴油 petrol 汽油 kerosene 煤油 methane 甲烷",
          "hydrogen 氢气 ethanol 乙醇 steam 蒸汽 propane 丙烷"),
    _ship("signal", "信号", True,
          "{name} warns with {value}.", "What does {name} warn with?",
          "horn 号角 bell 铃铛 siren 汽笛 rocket 火箭",
          "flare 照明弹 gong 铜锣 torch 火炬 beacon 灯标"),
    _ship("catch", "渔获", False,
          "{name} unloads {value}.", "What does {name} unload?",
          "salmon 三文鱼 tuna 金枪鱼 cod 鳕鱼 herring 鲱鱼",
          "shrimp 虾子 crab 螃蟹 squid 鱿鱼 oyster 牡蛎"),
    _ship("duty", "任务", False,
          "{name} is built for {value}.", "What is {name} built for?",
          "fishing 捕鱼 rescue 救援 survey 测量 patrol 巡逻",
          "towing 拖船 dredging 疏浚 racing 竞赛 training 训练"),
)

ATTRIBUTES = {attribute.noun: attribute for attribute in _TABLE}
ATTRIBUTE_OF = {value: attribute.noun for attribute in _TABLE for value in attribute.values}
CHINESE_OF = {
    english: chinese
    for attribute in _TABLE
    for english, chinese in attribute.values.items()
}
ENGLISH_OF = {chinese: english for english, chinese in CHINESE_OF.items()}
NOUN_OF_CHINESE = {attribute.chinese: attribute.noun for attribute in _TABLE}
ATTRIBUTES_OF = {
    domain: tuple(attribute.noun for attribute in _TABLE if attribute.domain == domain)
    for domain in DOMAINS
}

_ADJECTIVES = (  # each followed by its opposite
    "hot cold big small tall short fast slow old young happy sad rich poor clean dirty "
    "full empty hard soft heavy light early late loud quiet open closed strong weak wet dry "
    "wide narrow deep shallow thick thin sharp blunt sweet bitter near far high low "
    "true false brave afraid cheap expensive easy difficult smooth rough bright dark "
    "safe dangerous public private"
).split()
_FIRST, _SECOND = _ADJECTIVES[::2], _ADJECTIVES[1::2]
OPPOSITES = dict(zip(_FIRST, _SECOND)) | dict(zip(_SECOND, _FIRST))

# Words whose plural follows none of the rules in `plural`.
_IRREGULAR_PLURALS = {
    "knife": "knives", "shelf": "shelves", "wolf": "wolves", "scarf": "scarves",
    "deer": "deer", "goldfish": "goldfish",
    "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes",
}


def plural(word):
    """The plural of a noun.

    >>> plural("dog"), plural("daisy"), plural("brush"), plural("knife")
    ('dogs', 'daisies', 'brushes', 'knives')
    """
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word]
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    return f"{word}s"


PLURAL_OF = {
    word: plural(word)
    for attribute in _TABLE if attribute.countable
    for word in attribute.values
}


def speaks_of(name, noun):
    """Whether a name can have an attribute: residents have pets, ships have cargo."""
    return noun in ATTRIBUTES and name in DOMAINS[ATTRIBUTES[noun].domain]


def article(word):
    """The word with "a" or "an".

    >>> article("owl"), article("dog")
    ('an owl', 'a dog')
    """
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def display(noun, value):
    """A value as a sentence shows it: "a dog" for countable attributes, "blue" for the others."""
    return article(value) if ATTRIBUTES[noun].countable else value
