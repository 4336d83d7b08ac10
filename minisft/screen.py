"""Text that is shown: what a model or a row says is shown, never obeyed by the screen or the page.

A model can write anything, escape sequences that clear a terminal and HTML among it.
"""

import html


def visible(text, kept="\n\t"):
    """Text whose characters that cannot be printed are written out, but for those in `kept`.

    >>> visible("a\\x1b[2J"), visible("two\\nlines"), visible("two\\nlines", kept="")
    ('a<U+001B>[2J', 'two\\nlines', 'two<U+000A>lines')
    """
    return "".join(char if char.isprintable() or char in kept else f"<U+{ord(char):04X}>"
                   for char in text)


def one_line(text):
    """Text on one line, " / " for each line end; "(nothing)" for blank text."""
    return visible(text.strip().replace("\n", " / "), kept="") or "(nothing)"


def table_cell(text):
    """Text as a cell of a Markdown table: on one line, nothing in it marks up the page.

    >>> table_cell("<b>a|b")
    '&lt;b&gt;a\\\\|b'
    """
    return html.escape(one_line(text), quote=False).replace("|", "\\|").replace("`", "\\`")
