r"""Text that somebody else made, such as a name from an archive, made safe to show.

A terminal obeys control characters, bidirectional marks reorder a line, a line break makes a second
entry of a log, and markup makes links and tables. What a person cannot see is spelled as in Python:
``\n``, ``\x1b``, ``\u202e``. Letters of every script and emoji stay as they are.
"""

from __future__ import annotations

import re
import unicodedata

_ZERO_WIDTH_JOINER = "\u200d"
# What joins emoji to one: it follows a symbol, a skin tone or a variation selector.
_EMOJI_PARTS = frozenset({"So", "Sk", "Mn"})
_IDEOGRAPHIC_SPACE = "\u3000"
# They count as letters or marks, and nothing is drawn for them.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_LINK = re.compile(r"@|://|\bwww\.|`", re.IGNORECASE)
# Within a word an underscore is none, and what begins a block does so at a line's beginning only.
_MARKUP = re.compile(r"[\\*\[\]<>!|~&]|\b_|_\b")
_BLOCK = re.compile(r"^(\d*)([#+=.)-])")


def visible(text: str, longest: int | None = None) -> str:
    r"""Text on one line, each character that cannot be seen spelled out; cut with a mark.

    >>> visible("ñandú\x1b[2J\n\u202eexe.gpj")
    'ñandú\\x1b[2J\\n\\u202eexe.gpj'
    >>> visible("aaaa", longest=3)
    'aa…'
    """
    # Spelling makes text longer: what is cut anyway is not spelled.
    shown = text if longest is None else text[: longest + 1]
    if not shown.isprintable() or not _BLANK.isdisjoint(shown):
        shown = "".join(_seen(shown, place) for place in range(len(shown)))
    if longest is not None and len(shown) > longest:
        return shown[: longest - 1] + "…"
    return shown


def visible_lines(text: str, longest: int) -> str:
    """Text of several lines of this product's making, each of them visible."""
    return "\n".join(visible(line, longest) for line in text.split("\n"))


def one_line(text: str, longest: int) -> str:
    """Text whose line breaks and runs of blanks mean nothing, as one visible line."""
    return visible(" ".join(text[: 2 * longest].split()), longest)


def quoted(text: str, longest: int = 200) -> str:
    """A name in single quotes, visible."""
    return f"'{visible(text, longest)}'"


def listed(items: list[str], most: int = 5) -> list[str]:
    """The first items of a list, and how many more there are."""
    rest = len(items) - most
    return items if rest <= 0 else [*items[:most], f"and {rest:,} more"]


def as_markdown(text: str) -> str:
    """Text for Markdown, in a table too: no markup, no link, no line break, as it reads.

    A word of which a renderer would make a link, as of the cipher ``aes128-gcm@openssh.com``, is
    shown as code, in which nothing is a link.
    """
    shown = " ".join(
        as_code(word) if _LINK.search(word) else _MARKUP.sub(r"\\\g<0>", word)
        for word in visible(text).split(" ")
    )
    return _BLOCK.sub(r"\1\\\2", shown)


def as_code(word: str) -> str:
    """A code span (CommonMark 0.31, section 6.1); within a table a pipe is escaped all the same."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", word)), default=0))
    blank = " " if "`" in word else ""
    return f"{ticks}{blank}{word.replace('|', chr(92) + '|')}{blank}{ticks}"


def _seen(text: str, place: int) -> str:
    character = text[place]
    if character in _BLANK:
        return character.encode("unicode_escape").decode("ascii")
    if character.isprintable() or character == _IDEOGRAPHIC_SPACE or _joins_emoji(text, place):
        return character
    return character.encode("unicode_escape").decode("ascii")


def _joins_emoji(text: str, place: int) -> bool:
    if text[place] != _ZERO_WIDTH_JOINER or not 0 < place < len(text) - 1:
        return False
    before, after = unicodedata.category(text[place - 1]), unicodedata.category(text[place + 1])
    return before in _EMOJI_PARTS and after == "So"
