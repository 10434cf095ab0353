"""What of a server's answer may be shown: never the values of rows, which may be personal data.

Only these errors repeat values: class 22 (PostgreSQL manual, appendix A), syntax errors, as of a
`tsquery` in a column, errors of extensions, such as GEOS with its coordinates, and those that the
application's own functions raise. PostgreSQL
quotes a value, except in some translations (Georgian, Japanese). All other messages name only
tables, columns, types, constraints and limits, as do those of damage; of bytes that an encoding
lacks, only the encodings are quoted. DETAIL, which repeats rows, is never shown.
"""

from __future__ import annotations

import re

import psycopg

from ar_sync_pipeline.archive.errors import printable

RAISE = "exec_stmt_raise"
"""The server's C function of RAISE in PL/pgSQL."""
# Of PL/pgSQL, Perl, Python and Tcl with their default states: the application writes the text.
_OF_FUNCTIONS = frozenset({"P0", "38", "39"})
_ABOUT_VALUES = (psycopg.DataError, psycopg.errors.SyntaxError, psycopg.errors.InvalidName)
_OF_ENCODINGS = (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter)
_OF_DAMAGE = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted)
_LONGEST = 2_000
_MASK = '"..."'
_APOSTROPHES = "'\u2018\u2019"
_QUOTES = '"\u00ab\u00bb\u2039\u203a\u201c\u201d\u201e\u201a\u300c\u300d\u300e\u300f'
# An apostrophe within a word is no quote. A quoted value may contain quotes.
_QUOTED = re.compile(
    rf"(?:[{_QUOTES}]|(?<!\w)[{_APOSTROPHES}]).*(?:[{_QUOTES}]|[{_APOSTROPHES}](?!\w))", re.DOTALL
)
_ENCODING = re.compile(rf"[{_QUOTES}]\s?[A-Z0-9_]+\s?[{_QUOTES}]")
# Bytes of a text, addresses, coordinates.
_UNQUOTED = re.compile(r"\b0x\w+|(?<!\S)[^\s@]*@\S*|(?<!\S)[-+]?\d+[.,]\d\S*")
# The application's own text need not have quotes.
_ANY_NUMBER = re.compile(r"(?<!\S)[^\s\d@]*[\d@]\S*")


def shown(error: psycopg.Error, text: str | None = None) -> str:
    """Return what of a text of a server's answer may be shown, on one line.

    Args:
        text: The text, such as the hint; the message by default.
    """
    text = text or error.diag.message_primary or str(error) or type(error).__name__
    # A quoted value may be as long as a column's; one that is truncated needs its second quote.
    head = text if len(text) <= _LONGEST else text[:_LONGEST] + '"'
    masked = _QUOTED.sub(_MASK, head)
    if (error.sqlstate or "")[:2] in _OF_FUNCTIONS or error.diag.source_function == RAISE:
        return printable(_ANY_NUMBER.sub("...", masked))
    if isinstance(error, _OF_ENCODINGS) and not _QUOTED.search(_ENCODING.sub("", head)):
        return printable(_UNQUOTED.sub("...", head))
    if isinstance(error, _ABOUT_VALUES):
        words = masked.partition(":")[0].rstrip()
        # A translation need not quote the value.
        frame = _QUOTED.sub(lambda quoted: quoted[0][0] + quoted[0][-1], head)
        tells = (frame + text[_LONGEST:]).isascii() and words != _MASK
        return printable(_UNQUOTED.sub("...", words)) if tells else _kind(error)
    if isinstance(error, psycopg.InternalError) and not isinstance(error, _OF_DAMAGE):
        return printable(_UNQUOTED.sub("...", masked))
    return printable(text)


def shown_place(error: psycopg.Error) -> str:
    """Return where it happened, such as a line of COPY, without the value or statement there."""
    line = (error.diag.context or "").partition("\n")[0]
    return printable(re.split(rf"[:{_QUOTES}{_APOSTROPHES}]", line, maxsplit=1)[0].rstrip())


def _kind(error: psycopg.Error) -> str:
    name = type(error).__name__
    return f"{name}, SQLSTATE {error.sqlstate}" if error.sqlstate else name
