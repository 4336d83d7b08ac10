"""Personal data in text, found by shape and checksum and replaced by its kind.

    Call Ann at +1 415 555 0132.        ->  Call Ann at [PHONE].

    EMAIL    a@b.org, a [at] b [dot] org
    PHONE    international, Chinese, American, and other national forms
    CARD     payment cards: a known beginning and length, and the Luhn check
    IBAN     bank accounts: the number that it spells is 1 modulo 97
    ID       Chinese identity numbers: a date, and a check digit; American social security numbers
             after their name, as they have no check digit
    IP       addresses of machines, but for those that everybody has, such as 127.0.0.1
    KEY      keys and tokens of known shape, and what looks random after "key", "password", ...
    LOGIN    the user:password of a URL

Luhn check: from the right, double every second digit and add the digits of the products; the sum
is a multiple of 10. Identity numbers: the sum of digit_i * 2^(17 - i) over all 18 digits, with X as
10, is 1 modulo 11.

Names and street addresses have no shape and stay; so do short numbers, which are mostly no
telephone numbers. Where a shape has other uses, the words before it decide ("order number").

Notes: 基于日常对话数据构建 (building from daily conversations). Sources: ISO/IEC 7812-1 (cards),
ISO 13616 (IBAN), GB 11643-1999 (identity numbers), ITU-T E.164 (telephone numbers).
"""

import ipaddress
import re
from collections import Counter

KINDS = ("EMAIL", "PHONE", "CARD", "IBAN", "ID", "IP", "KEY", "LOGIN")

# A Chinese character may touch what is looked for, a Latin letter or a digit may not. (\b and \w
# would count Chinese characters as letters.)
START, END = r"(?<![\dA-Za-z_])", r"(?![\dA-Za-z_])"

# The words right before a number that say what else it is.
OTHER_NUMBER = re.compile(
    r"""(?: \b(?: order | invoice | ticket | tracking | parcel | product | part | item | serial
                | isbn | issn | orcid | version | code | id )
            (?: \s (?: number | no\.? | id | code ) )? [\s:=#.]*
          | (?: 单号 | 编号 | 序列号 | 流水号 | 版本 | 人口 ) [\s:：=是为]*
          | [#$€£¥￥] \s? ) $""", re.I | re.X)
VERSION = re.compile(r"(?:\b(?:version|ver|release|section|sec|chapter)|版本|第|§)"
                     r"""[\s.:：=_"'-]*$""", re.I)
PHONE_WORD = re.compile(r"(?:phone|tel|ph\b|mobile|cell|fax|whatsapp|电话|手机)", re.I)
VERB = re.compile("call|text|ring|dial", re.I)
LOOK_BACK = 30  # characters

IMAGE_FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp")  # icon@2x.png


def mask(text):
    """(the text with [EMAIL], [PHONE], ... in place of personal data, Counter of the kinds).

    >>> mask("Write to ann@example.org or 198.51.100.7.")
    ('Write to [EMAIL] or [IP].', Counter({'EMAIL': 1, 'IP': 1}))
    >>> mask("12 + 30 = 42 on 2024-01-15")
    ('12 + 30 = 42 on 2024-01-15', Counter())
    """
    counts = Counter()
    for kind, pattern, is_one in RULES:
        def replace(match, kind=kind, is_one=is_one):
            if not is_one(match):
                return match[0]
            counts[kind] += 1
            return f"{name_in(match)}[{kind}]"

        text = pattern.sub(replace, text)
    return text, counts


# Checksums


def luhn(digits):
    """Whether the check digit of a card number is right.

    >>> luhn("79927398713"), luhn("79927398714")
    (True, False)
    """
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[::-2]))) % 10 == 0


def iban_checksum(code):
    """Whether the check digits of an IBAN without spaces are right; A is 10, ..., Z is 35."""
    return int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1


def identity_checksum(code):
    """Whether the check digit of a Chinese identity number of 18 characters is right."""
    values = [10 if char in "Xx" else int(char) for char in code]
    return sum(value * 2 ** (17 - place) for place, value in enumerate(values)) % 11 == 1


# What a match really is


def always(match):
    return True


def before(match):
    """The characters right before a match."""
    return match.string[max(0, match.start() - LOOK_BACK):match.start()]


def name_in(match):
    """The words that a shape begins with, which stay; most have none."""
    return match.groupdict().get("name") or ""


def number_in(match):
    return match[0][len(name_in(match)):]


def digits_in(match):
    return "".join(char for char in number_in(match) if char.isdigit())


def is_email(match):
    """Not the address of a repository, nor an image in double size."""
    return match["user"].lower() != "git" and match["end"].lower() not in IMAGE_FILES


def is_iban(match):
    return iban_checksum(match[0].replace(" ", ""))


def is_identity(match):
    return identity_checksum(match[0].replace(" ", ""))


def is_card(match):
    digits = digits_in(match)
    return bool(CARD_BEGINNINGS.fullmatch(digits) and luhn(digits)
                and not OTHER_NUMBER.search(before(match)))


def is_address(match):
    """Whether this is the address of one machine, and not a version, a slice or a ratio."""
    text = match[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    if address.version == 4:
        return text.split(".")[0] not in ("0", "255") and not VERSION.search(before(match))
    groups = [group for group in text.split(":") if group]
    has_letter = any(char.isalpha() for char in text)
    return any(char.isdigit() for char in text) and (has_letter or len(groups) > 2)  # a[10::20]


def looks_random(match):
    """Whether small letters, capitals and digits alternate as in no word or name.

    A step from a capital to a small letter does not count: names are written LikeThis.
    """
    value = match["value"]
    steps = len(re.findall(r"(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]", value))
    is_hexadecimal = re.fullmatch("(?=.*[a-f])[0-9a-f]{32,}", value, re.I)
    return any(char.isdigit() for char in value) and (
        steps >= len(value) / 8 or is_hexadecimal is not None)


def is_phone(match):
    digits = digits_in(match)
    if not 7 <= len(digits) <= 15 or set(digits) <= {"0", "1"} or digits in "01234567890":
        return False
    return not DATE.search(number_in(match)) and not OTHER_NUMBER.search(before(match))


def is_international(match):
    """At least 10 digits, or 8 in groups; one point alone is that of a decimal."""
    digits, text = digits_in(match), match[0]
    groups = len(re.findall(r"\d+", text))
    if len(digits) < (8 if groups > 1 else 10) or (groups == 2 and "." in text):
        return False
    return is_phone(match)


def is_national(match):
    """A number that begins with 0 and has 9 to 12 digits."""
    return 9 <= len(digits_in(match)) <= 12 and is_phone(match)


def is_spaced(match):
    """Three numbers with spaces between could be anything, so a word must say what they are."""
    return is_phone(match) and bool(PHONE_WORD.search(before(match)))


def is_named_phone(match):
    """A number after a word such as "phone", but for quantities: "text 1234567 words"."""
    is_quantity = number_in(match).isdigit() and VERB.fullmatch(name_in(match).strip())
    return is_phone(match) and not is_quantity and not digits_in(match).endswith("000")


# Shapes

DATE = re.compile(r"^(?:19|20)\d\d[-./ ]|[-./](?:19|20)\d\d$")

CARD_BEGINNINGS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18}) | (?:5[1-5]|2[2-7])\d{14} | 3[47]\d{13} | 3[068]\d{12} "
    r"| 35\d{14} | 6\d{15,18}", re.X)

AT = r"(?: [@＠] | \s? [\[(] \s? at \s? [\])] \s? )"
DOT = r"(?: \. | \s? [\[(] \s? dot \s? [\])] \s? )"
EMAIL = re.compile(
    rf"(?<![A-Za-z0-9À-ÿ.+-]) (?P<user> [A-Za-z0-9À-ÿ] [A-Za-z0-9À-ÿ._%+'-]{{0,63}} ) {AT}"
    rf"(?: [A-Za-z0-9À-ÿ-]{{1,63}} {DOT} ){{1,5}} (?P<end> [A-Za-z]{{2,24}} ) {END}", re.X | re.I)

LOGIN = re.compile(r"""(?<=://) [^\s/?#@:'"<>]{0,100} : [^\s/?#@'"<>]{1,200} (?=@[A-Za-z0-9\[])""",
                   re.X)

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{0,10000}?"
                         r"-----END [A-Z ]{0,20}PRIVATE KEY-----")
KNOWN_KEY = re.compile(
    rf"""{START} (?: sk-(?=[A-Za-z_-]*\d)[\w-]{{16,}} | gh[pousr]_[A-Za-z0-9]{{20,}}
       | github_pat_\w{{20,}} | glpat-[\w-]{{16,}} | xox[abprs]-[A-Za-z0-9-]{{10,}}
       | (?:AKIA|ASIA)[A-Z0-9]{{16}} | AIza[\w-]{{30,}} | hf_[A-Za-z0-9]{{20,}}
       | [spr]k_(?:live|test)_[A-Za-z0-9]{{16,}}
       | eyJ[\w-]{{8,}}\.[\w-]{{8,}}\.[\w-]{{8,}} ) {END}""", re.X | re.ASCII)
NAMED_KEY = re.compile(
    r"""(?P<name> (?: (?<![A-Za-z]) (?:api|access|auth|secret|private)? (?:key|token|secret)
                      (?![A-Za-z]) | 密钥 | 令牌 | 口令 )
                  ["']? \s? (?: [:=：] | is\b | 是 | 为 )? \s? ["'“]? )
        (?P<value> [A-Za-z0-9+/_=.~!@#$%^&*-]{16,} )""", re.X | re.I)
PASSWORD = re.compile(
    r"""(?P<name> (?: (?<![A-Za-z]) (?:password|passwd|passphrase|pwd) (?![A-Za-z]) | 密码 )
                  (?: \s (?:for|to|of) (?: \s \w+ ){1,3} )?
                  ["']? \s? (?: [:=：] | is\b | 是 | 为 ) \s? ["'“]? )
        (?P<value> (?= [^\s\d]* \d ) [!#-&*+\--:=?-Z^_a-z|~]{6,} ) (?<![.:?]) (?! [(\[] )""",
    re.X | re.I)

# The first letters may be a bank's; further groups hold a digit, so that no word is taken in.
IBAN = re.compile(
    rf"""{START} (?: [A-Z]{{2}}\d{{2}} \s? [A-Z0-9]{{4}}
                     (?: \s? (?=[A-Z]{{0,3}}\d) [A-Z0-9]{{4}} ){{1,6}}
                     (?: \s? (?=[A-Z]{{0,2}}\d) [A-Z0-9]{{1,3}} )?
                   | [a-z]{{2}}\d{{2}}[a-z0-9]{{11,30}} ) {END}""", re.X | re.ASCII)
CARD = re.compile(
    rf"""(?<![\dA-Za-z_.]) (?: \d{{4}} (?P<a>[ -]) \d{{4}} (?P=a) \d{{4}} (?P=a) \d{{4}}
                               (?: (?P=a) \d{{3}} )?
                             | \d{{4}} (?P<b>[ -]) \d{{6}} (?P=b) \d{{4,5}}
                             | \d{{13,19}} ) {END}""".replace("[ -]", "[\\ -]"), re.X)
IDENTITY = re.compile(
    rf"{START}[1-9]\d{{5}} ?(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]) ?"
    rf"\d{{3}}[\dXx]{END}")
SOCIAL_SECURITY = re.compile(
    rf"(?P<name>{START}(?:SSN|social security)(?: number| no\.?)?(?: is| was)?[\s:#=\"'*(]{{0,4}})"
    rf"\d{{3}}(?P<a>[ -]?)\d\d(?P=a)\d{{4}}{END}", re.I)
IPV4 = re.compile(rf"(?<![\dA-Za-z_.])\d{{1,3}}(?:\.\d{{1,3}}){{3}}{END}(?!\.\d)", re.ASCII)
IPV6 = re.compile(
    rf"(?<![\dA-Za-z_:.])(?:[\dA-Fa-f]{{0,4}}:){{2,7}}[\dA-Fa-f]{{0,4}}{END}(?!:|\.\d)", re.ASCII)

# No more digits before or after, not even behind a mark.
ALONE, CLOSED = r"(?<![\dA-Za-z_.+/\[-])(?<!\d[ :])", rf"{END}(?![ .:-]?\d)"
PHONES = (
    (re.compile(rf"(?<![\dA-Za-z_+])\+[1-9]\d{{0,14}}(?:[ ./-]?(?:\(\d{{1,5}}\)|\d{{1,8}})){{0,6}}"
                rf"{END}"), is_international),
    (re.compile(rf"{ALONE}00[1-9]\d{{0,2}}(?:[ .-]\d{{2,8}}){{2,4}}{CLOSED}"), is_international),
    (re.compile(rf"(?<![\dA-Za-z_.])(?:86[ -]?)?1[3-9]\d(?P<a>[ -]?)\d{{4}}(?P=a)\d{{4}}{END}"
                r"(?!\.\d)"), is_phone),
    # (02) 5550 1234, (11) 91234-5678, 8 (999) 123-45-67, （0755）8600 1234
    (re.compile(rf"{ALONE}(?:\d[ -])?[(（](?:0\d{{1,4}}|\d{{2,3}})[)）] ?"
                rf"\d{{3,5}}[ .-]?\d{{2,4}}(?:[ .-]\d{{2,4}})?{CLOSED}"), is_national),
    (re.compile(rf"{ALONE}0\d{{1,4}}[ ./-]\d{{2,8}}(?:(?P<a>[ .-])\d{{2,4}}(?:(?P=a)\d{{2,4}})"
                rf"{{0,2}})?{CLOSED}"), is_national),
    (re.compile(rf"{ALONE}0[1-9]\d{{8,9}}{CLOSED}"), is_national),
    (re.compile(rf"{ALONE}(?:1[.-])?(?:(?![235-7]00)[2-9]\d\d(?P<a>[.-])[2-9]|[48]00(?P<b>-)\d)\d\d"
                rf"(?(a)(?P=a)|-)\d{{4}}{CLOSED}"), is_phone),
    (re.compile(rf"{ALONE}8(?P<a>[ -])9\d\d(?P=a)\d{{3}}(?P=a)\d\d(?P=a)\d\d{CLOSED}"), is_phone),
    (re.compile(rf"{ALONE}[2-9]\d\d [2-9]\d\d \d{{4}}{CLOSED}"), is_spaced),
    (re.compile(r"(?P<name>(?:(?<![A-Za-z])(?:(?:tele|mobile )?phone|ph|tel|mobile|cell|fax|sms|"
                r"whatsapp|contact|m[óo]vil|t[ée]l|(?:call|text|ring|dial)(?: me| us| him| her)?)"
                r"|电话|手机)"
                r"(?: number| no\.?|号码?)?(?: is| at| on|是|为)?[\s:：.*\"'=]{0,5})"
                rf"\d{{2,11}}(?:[ .-]\d{{2,8}}){{0,4}}{CLOSED}", re.I), is_named_phone),
)

# In this order: what is found first is hidden from what comes later.
RULES = (
    ("LOGIN", LOGIN, always),
    ("KEY", PRIVATE_KEY, always),
    ("KEY", KNOWN_KEY, always),
    ("KEY", PASSWORD, always),
    ("KEY", NAMED_KEY, looks_random),
    ("EMAIL", EMAIL, is_email),
    ("IBAN", IBAN, is_iban),
    ("ID", IDENTITY, is_identity),
    ("ID", SOCIAL_SECURITY, always),
    ("CARD", CARD, is_card),
    ("IP", IPV4, is_address),
    ("IP", IPV6, is_address),
    *(("PHONE", pattern, is_one) for pattern, is_one in PHONES),
)
