"""Columns that seem to contain personal data or secrets, by their names and types.

A name is no proof: the draft of a catalog only proposes rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts
from ar_sync_pipeline.sync.setup import personal_words as words

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zñáéíóúü]+|[0-9]+")
_WHOLE_NUMBER = re.compile(r"smallint|integer|bigint|oid")
_NUMBER = re.compile(r"numeric|real|double|integer|bigint")
_TIME = re.compile(r"timestamp|date\Z")
_NEVER = re.compile(r"boolean|smallint|time |time\Z|interval|oid")
_WRITTEN = re.compile(r"text|character varying|(.*\.)?citext|jsonb?\Z|xml|tsvector|(.*\.)?hstore")
# A geometry of another kind, such as a polygon, is rarely where a person was.
_POSITION = re.compile(
    r"(point|inet|cidr|(.*\.)?(geometry|geography)(\((point|geometry).*\))?)(\[\])?\Z",
    re.IGNORECASE,
)
_DEVICE = re.compile(r"macaddr8?(\[\])?\Z")
_DOCUMENT = re.compile(r"jsonb?\Z|xml|(.*\.)?hstore")


class Kind(StrEnum):
    """Kind of data that a column seems to contain."""

    SECRET = "secret"  # noqa: S105  the kind's name
    CONTACT = "contact"
    NAME = "name"
    IDENTITY = "identity"
    ACTIVITY = "activity"
    POSITION = "position"
    PICTURE = "picture"
    FREE_TEXT = "free text"


def personal_columns(tables: Mapping[str, TableFacts]) -> dict[str, dict[str, Kind]]:
    """Return the columns that look personal, by table.

    Args:
        tables: All replicated tables, by label. A column that refers to a personal one is personal.
    """
    by_names = {label: _by_names(table, tables) for label, table in tables.items()}
    return {label: _with_references(table, by_names) for label, table in tables.items()}


def _with_references(
    table: TableFacts, by_names: Mapping[str, Mapping[str, Kind]]
) -> dict[str, Kind]:
    found = dict(by_names[table.name])
    for key in table.foreign_keys:
        theirs = by_names.get(key.referenced_table, {})
        for here, there in zip(key.columns, key.referenced_columns, strict=True):
            column = table.column(here)
            if column is None or _WHOLE_NUMBER.match(column.type):
                found.pop(here, None)
            elif there in theirs:
                found.setdefault(here, theirs[there])
    # A computed column is not sent: the receiver's own is computed from what it gets.
    return {c.name: found[c.name] for c in table.columns if c.name in found and not c.generated}


def _by_names(table: TableFacts, tables: Mapping[str, TableFacts]) -> dict[str, Kind]:
    name = table.relname or table.name
    strong = {c.name: kind for c in table.columns if (kind := _strong(c)) is not None}
    # What is encrypted may be of a program.
    known = {kind for c in table.columns if (kind := _by_words(c)) is not None}
    known -= {Kind.FREE_TEXT, Kind.POSITION}
    contexts = [
        *([_CARDS] if not _CARD_TABLES.isdisjoint(split_name(name)) else []),
        *([_of_people(table)] if known or is_about_people(name) else []),
        *([_OWNERS] if _belongs_to_people(table, tables) or _is_of_entries(name) else []),
        *([_CODES] if _is_of_grants(name) else []),
    ]
    if known <= {Kind.SECRET} and _PROGRAMS.intersection(split_name(name)[-1:]):
        contexts = [{w: kind for w, kind in one.items() if w != "name"} for one in contexts]
    found = dict(strong)
    for column in table.columns:
        if column.name not in found and (kind := _weak(column, contexts)) is not None:
            found[column.name] = kind
    for column in table.columns:
        if column.name not in found and (kind := _beside(column, table, found)) is not None:
            found[column.name] = kind
    return _of_settings(table, found)


def _of_settings(table: TableFacts, found: dict[str, Kind]) -> dict[str, Kind]:
    """Return the kinds of a table's columns; of settings not the names are secret, but the values.

    Every look-up of a setting needs its name.
    """
    value = setting_value(table)
    if value is None:
        return found
    kinds = {
        name: kind
        for name, kind in found.items()
        if _SETTING_KEYS.isdisjoint(split_name(name)[-1:]) or _is_strong(table, name)
    }
    words_of_table = split_name(table.relname or table.name)
    if len(kinds) < len(found) or any(
        s in word for word in words_of_table for s in _SETTING_TABLES
    ):
        kinds.setdefault(value, Kind.SECRET)
    return kinds


def _is_strong(table: TableFacts, name: str) -> bool:
    column = table.column(name)
    return column is not None and _strong(column) is not None


def _beside(column: ColumnFacts, table: TableFacts, found: Mapping[str, Kind]) -> Kind | None:
    """Return the kind of a column that belongs to others of its table, by their common names.

    These are the other parts of an address, and copies of a column that was found.
    """
    split = split_name(column.name)
    if not split or not _WRITTEN.match(column.type):
        return None
    kind = _PEOPLE.get(split[-1])
    names = (split_name(other.name) for other in table.columns)
    streets = {name[:-1] for name in names if len(name) > 1 and name[-1] in _STREETS}
    if kind in {Kind.NAME, Kind.CONTACT} and split[:-1] in streets:
        return kind
    if split in streets:
        # `invoice_to` beside `invoice_to_street`: the address in one text.
        return Kind.CONTACT
    for prefix in _LOWER_CASE:
        name = column.name.lower().removeprefix(prefix).removeprefix("_")
        if name in found and name != column.name.lower():
            return found[name]
    return next(
        (other_kind for other, other_kind in found.items() if _is_copy(split, split_name(other))),
        None,
    )


def _is_copy(split: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether two names differ only in words that stand for a copy or a part."""
    mine, theirs = (
        name[:-1] if len(name) > 1 and name[-1] in _COPIES else name for name in (split, other)
    )
    return bool(mine) and mine == theirs


def is_about_people(name: str) -> bool:
    """Return whether the rows of a table seem to be people, or their addresses."""
    split = split_name(name)
    if not split or split[-1] in _OTHER_TABLES:
        return False
    return split[-1].endswith(_ADDRESSES) or _any_ends(split, _SUBJECTS)


def _of_people(table: TableFacts) -> dict[str, Kind]:
    """Return the words that are personal in a table about people."""
    if any(not _PLACES.isdisjoint(split_name(column.name)) for column in table.columns):
        return _PEOPLE
    return {word: kind for word, kind in _PEOPLE.items() if word not in _AMBIGUOUS}


def _belongs_to_people(table: TableFacts, tables: Mapping[str, TableFacts]) -> bool:
    names = [_reference(column) for key in table.foreign_keys for column in key.columns]
    traces = {*_EDITORS, *(_MAKERS if not _EDITORS.isdisjoint(names) else ())}
    referenced = (
        tables.get(key.referenced_table)
        for key in table.foreign_keys
        if not traces.issuperset(map(_reference, key.columns))
    )
    return any(is_about_people(other.relname or other.name) for other in referenced if other)


def _reference(column: str) -> tuple[str, ...]:
    """Return the words of the name of a referring column: `created_by_id` has those without id."""
    split = split_name(column)
    return split[:-1] if split[-1:] == ("id",) else split


def _is_of_entries(name: str) -> bool:
    split = split_name(name)
    return bool(split) and split[-1] not in _OTHER_TABLES and _any_ends(split, _ENTRIES)


def _is_of_grants(name: str) -> bool:
    split = split_name(name)
    return bool(split) and split[-1].endswith(_GRANTS)


def _any_ends(split: tuple[str, ...], ends: tuple[str, ...]) -> bool:
    return any(word.endswith(ends) for word in split)


def _strong(column: ColumnFacts) -> Kind | None:
    """Return the kind of a column that is personal in any table."""
    return _by_words(column) or (Kind.SECRET if _is_encrypted(column) else None)


def _by_words(column: ColumnFacts) -> Kind | None:
    if (kind := _by_type(column.type)) is not None:
        return kind
    split = split_name(column.name)
    if _describes_data(split):
        return None
    for pair in pairwise(split):
        if (kind := _BY_PAIR.get(pair)) is not None and _fits(column, kind, split):
            return kind
    if column.type == "bytea" and split[-1:] == ("key",):
        # A key of bytes is cryptographic; of text it may be any name.
        return Kind.SECRET
    for word in split:
        kind = _BY_WORD.get(word)
        if kind is not None and _fits(column, kind, split):
            return kind
    return None


def _is_encrypted(column: ColumnFacts) -> bool:
    split = split_name(column.name)
    if len(split) <= 1 or split[-1] in _ABOUT_ENCRYPTED or split[0] in _COUNTS:
        return False
    named = split[0] == words.ENCRYPTED or split[-1] in _ENCRYPTED_ENDS
    return named and _fits(column, Kind.SECRET, split)


def _by_type(type_name: str) -> Kind | None:
    """Return the kind of a column that is personal by its type, whatever its name."""
    if type_name == "tsvector":
        # The words of other columns, whatever rules those have.
        return Kind.FREE_TEXT
    if _POSITION.match(type_name):
        return Kind.POSITION
    return Kind.IDENTITY if _DEVICE.match(type_name) else None


def _describes_data(split: tuple[str, ...]) -> bool:
    if len(split) <= 1 or split[-2:] in _NOT_DESCRIPTIONS:
        return False
    return split[-1] in _DESCRIPTIONS or split[0] in _COUNTS or words.RATE in split


def _weak(column: ColumnFacts, contexts: list[dict[str, Kind]]) -> Kind | None:
    """Return the kind of a column that is personal in a table about, or of, people."""
    split = split_name(column.name)
    core = [word for word in split if word not in _PREFIXES and not word.isdigit()] or split[-1:]
    for context in contexts:
        # Of a card, any part of a name counts: `partner_reference`.
        among = split[-2:] if context is _CARDS else core if len(core) == 1 else ()
        for word in among:
            kind = context.get(word)
            if kind is not None and split[-1] not in _NOT_OF_PEOPLE and _fits(column, kind, split):
                return kind
    if is_document(column) and any(context is not _CODES for context in contexts):
        return Kind.FREE_TEXT
    return None


def _fits(column: ColumnFacts, kind: Kind, split: tuple[str, ...]) -> bool:
    """Return whether a column of this type can contain data of a kind."""
    if _NEVER.match(column.type):
        return False
    if kind is Kind.FREE_TEXT:
        core = [word for word in split if word not in _FORMATS and not word.isdigit()]
        heads = {*core[-1:], *split[-1:]}
        return bool(_WRITTEN.match(column.type)) and any(h in _FREE_WORDS for h in heads)
    if _TIME.match(column.type):
        return kind in {Kind.IDENTITY, Kind.ACTIVITY}
    if column.type == "uuid":
        return kind in {Kind.IDENTITY, Kind.SECRET}
    if _NUMBER.match(column.type):
        numbered = kind in {Kind.POSITION, Kind.CONTACT} or split[-1] in _NUMBERED
        return numbered and "id" not in split
    return True


def is_document(column: ColumnFacts) -> bool:
    """Return whether the values have keys of their own, which the column's name does not tell."""
    return bool(_DOCUMENT.match(column.type))


def is_text_document(column: ColumnFacts) -> bool:
    """Return whether a text column often contains a document, by its name."""
    written = _WRITTEN.match(column.type) and not is_document(column)
    return bool(written) and split_name(column.name) in _DOCUMENTS


def secret_key(table: TableFacts) -> str | None:
    """Return a key column that seems to let its bearer in, such as a token; None if there is none.

    Columns that refer to another table do not count.
    """
    references = {name for key in table.foreign_keys for name in key.columns}
    of_tokens = _names_secret(split_name(table.relname or table.name))
    for column in table.columns:
        split = split_name(column.name)
        if column.name not in table.fixed - references or split[-1:] == ("id",):
            continue
        if _strong(column) is Kind.SECRET and _names_secret(split):
            return column.name
        if of_tokens and split[-1:] in _OF_TOKENS and _fits(column, Kind.SECRET, split):
            return column.name
    return None


def _names_secret(split: tuple[str, ...]) -> bool:
    pairs = (_BY_PAIR.get(pair) for pair in pairwise(split))
    return _any_ends(split, _TOKENS) or Kind.SECRET in pairs


def setting_value(table: TableFacts) -> str | None:
    """Return the column with the values of a table of settings, by key; None of another table."""
    written = [column.name for column in table.columns if _WRITTEN.match(column.type)]
    last = {split[-1]: name for name in written if (split := split_name(name))}
    settings = len(written) == len(last) == _PAIR and not _SETTING_KEYS.isdisjoint(last)
    return last.get(words.SETTING_VALUE) if settings else None


@lru_cache(maxsize=2**16)
def split_name(name: str) -> tuple[str, ...]:
    """Return the words of a name in the singular.

    ``phoneIds``, ``phone_ids`` and ``PHONE_ID`` have the same two.
    """
    return tuple(_singular(word.lower()) for word in _WORD.findall(name))


def _singular(word: str) -> str:
    if word in _KNOWN or not word.endswith("s"):
        return word
    return next((s for s in (word[:-1], word[:-2]) if s in _KNOWN), word)


def _kinds(lists: Mapping[str, str]) -> dict[str, Kind]:
    return {word: Kind(kind) for kind, text in lists.items() for word in text.split()}


_BY_WORD, _PEOPLE = _kinds(words.PERSONAL), _kinds(words.OF_PEOPLE)
_BY_PAIR = {
    (first, second): Kind(kind)
    for kind, text in words.PAIRS.items()
    for first, second in (pair.split() for pair in text.split(","))
}
_CARDS = dict.fromkeys(words.OF_CARDS.split(), Kind.IDENTITY)
_OWNERS = _kinds(words.OF_OWNERS)
_CARD_TABLES, _PLACES = frozenset(words.CARDS.split()), frozenset(words.PLACES.split())
_AMBIGUOUS = frozenset(words.AMBIGUOUS.split())
_SUBJECTS, _ADDRESSES = tuple(words.PEOPLE.split()), tuple(words.ADDRESSES.split())
_ENTRIES, _GRANTS = tuple(words.ENTRIES.split()), tuple(words.GRANTS.split())
_CODES = {"code": Kind.SECRET}
_PROGRAMS, _LOWER_CASE = frozenset(words.PROGRAMS.split()), words.LOWER_CASE.split()
_ENCRYPTED_ENDS = frozenset(words.ENCRYPTED_ENDS.split())
_ABOUT_ENCRYPTED = frozenset(words.ABOUT_ENCRYPTED.split())
_COPIES, _STREETS = frozenset(words.COPIES.split()), frozenset(words.STREETS.split())
_DOCUMENTS = {tuple(name.split()) for name in words.DOCUMENTS.split(",")}
# A key and its value.
_PAIR = 2
_SETTING_KEYS = frozenset(words.SETTING_KEYS.split())
_SETTING_TABLES, _TOKENS = words.SETTING_TABLES.split(), tuple(words.TOKENS.split())
_OF_TOKENS = {(word,) for word in words.OF_TOKENS.split()}
_EDITORS = frozenset(tuple(name.split()) for name in words.EDITORS.split(","))
_MAKERS = frozenset(tuple(name.split()) for name in words.MAKERS.split(","))
_PREFIXES, _COUNTS = set(words.PREFIXES.split()), set(words.COUNTS.split())
_DESCRIPTIONS, _OTHER_TABLES = set(words.DESCRIPTIONS.split()), set(words.OTHER_TABLES.split())
# `website_url`, `marital_status`
_NOT_DESCRIPTIONS = {pair for pair in _BY_PAIR if pair[-1] in _DESCRIPTIONS}
_NOT_OF_PEOPLE = _DESCRIPTIONS - {"state", "expiry"}
_NUMBERED, _FORMATS = set(words.NUMBERED.split()), set(words.FORMATS.split())
_FREE_WORDS = {
    *(word for kinds in (_BY_WORD, _PEOPLE) for word, k in kinds.items() if k is Kind.FREE_TEXT),
    *(word for word, kind in _OWNERS.items() if kind is Kind.FREE_TEXT),
}
_KNOWN = {
    *_BY_WORD, *_PEOPLE, *_CARDS, *_OWNERS, *_PREFIXES, *_DESCRIPTIONS, *_OTHER_TABLES,
    *(word for pair in _BY_PAIR for word in pair), *words.PEOPLE.split(), *words.CARDS.split(),
    *words.ADDRESSES.split(), *_NUMBERED, *words.ENTRIES.split(), *_COPIES, *_PROGRAMS,
}  # fmt: skip
