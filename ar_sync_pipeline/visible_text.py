r"""Makes text from outside, such as a name from an archive, safe to show.

A terminal obeys control characters, bidirectional marks reorder a line, a line break adds an entry
to a log, and markup makes links and tables. Invisible characters are spelled as in Python: ``\n``,
``\x1b``, ``\u202e``. Letters of every script and emoji stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_LONGEST_QUOTED = 200
_LONGEST_NAME = 130
_ZERO_WIDTH_JOINER = "\u200d"
# The joiner combines emoji only after a symbol, a skin tone or a variation selector.
_EMOJI_PARTS = frozenset({"So", "Sk", "Mn"})
_IDEOGRAPHIC_SPACE = "\u3000"
# Unicode classifies these as letters or marks, but they are invisible.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_LINK = re.compile(r"@|://|\bwww\.|`", re.IGNORECASE)
# An underscore within a word is no markup, and a block begins only at the start of a line.
_MARKUP = re.compile(r"[\\*\[\]<>!|~&]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK = re.compile(r"^(\d*)([#+=.)-])")


def visible(text: str, longest: int | None = None) -> str:
    r"""Return text as one line with invisible characters spelled out, truncated with a mark.

    >>> visible("ñandú\x1b[2J\n\u202eexe.gpj")
    'ñandú\\x1b[2J\\n\\u202eexe.gpj'
    >>> visible("aaaa", longest=3)
    'aa…'
    """
    # Spelling makes text longer, so what is truncated anyway need not be spelled.
    shown = text if longest is None else text[: longest + 1]
    if not shown.isprintable() or not _BLANK.isdisjoint(shown):
        shown = "".join(_seen(shown, place) for place in range(len(shown)))
    if longest is not None and len(shown) > longest:
        return shown[: longest - 1] + "…"
    return shown


def visible_name(name: str) -> str:
    """Return the visible name of a table or the like, as long as PostgreSQL's names may be."""
    return visible(name, _LONGEST_NAME)


def visible_lines(text: str, longest: int) -> str:
    """Return text of several lines that this product wrote, with each line visible."""
    return "\n".join(visible(line, longest) for line in text.split("\n"))


def one_line(text: str, longest: int) -> str:
    """Return text as one visible line, with line breaks and runs of blanks as one blank."""
    return visible(" ".join(text[: 2 * longest].split()), longest)


def quoted(text: str) -> str:
    """Return a visible name in single quotes."""
    return f"'{visible(text, _LONGEST_QUOTED)}'"


def listed(items: list[str], most: int = 5) -> list[str]:
    """Return the first items of a list and the number of the others."""
    rest = len(items) - most
    return items if rest <= 0 else [*items[:most], f"and {rest:,} more"]


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "file"), counted(2004, "file")
    ('1 file', '2,004 files')
    >>> counted(2, "archive waits", "archives wait")
    '2 archives wait'
    """
    return f"1 {one}" if number == 1 else f"{number:,} {several or one + 's'}"


def names_in_words(names: Iterable[str]) -> str:
    """Return the first names of tables or the like, and the number of the others, as one text."""
    return ", ".join(listed([visible_name(name) for name in names]))


def as_markdown(text: str) -> str:
    """Return text for Markdown, also in a table: without markup, links and line breaks.

    A word that a renderer would turn into a link, such as the cipher ``aes128-gcm@openssh.com``,
    becomes a code span, which contains no links.
    """
    shown = " ".join(
        as_code(word) if _LINK.search(word) else _MARKUP.sub(r"\\\g<0>", word)
        for word in visible(text).split(" ")
    )
    return _BLOCK.sub(r"\1\\\2", shown)


def as_code(word: str) -> str:
    """Return a code span (CommonMark 0.31, section 6.1) whose pipes are escaped for tables."""
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
