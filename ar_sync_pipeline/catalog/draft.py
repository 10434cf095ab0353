"""A catalog as text: a file that a person reads, corrects and keeps.

What is known is written as keys. What a person should decide is a comment that becomes a key when
its ``#`` is removed. Names and values come from a database, so everything is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ar_sync_pipeline.catalog.validation import place
from ar_sync_pipeline.visible_text import visible

Value = str | bool | int | Sequence[str] | Mapping[str, object]

_LINE = 96
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True)
class ListedTable:
    """A table in one of the lists of a catalog, with a comment.

    Attributes:
        about: Comment after its name; empty for none.
    """

    label: str
    about: str = ""


@dataclass(frozen=True)
class DraftSection:
    """The rules of one table.

    Attributes:
        notes: Comments above the section, one sentence each.
        rules: Keys of the section.
        choices: Keys that are commented out, each with its reason.
    """

    label: str
    notes: tuple[str, ...] = ()
    rules: Mapping[str, Value] = field(default_factory=dict)
    choices: tuple[tuple[str, Value, str], ...] = ()


@dataclass(frozen=True)
class Draft:
    """A proposed catalog.

    Attributes:
        notes: Comments at the beginning of the file.
        tables: Replicated tables by schema.
        exclude: Tables that are not replicated, with the reasons.
        receiver_tables: Receiver-only tables.
        django_app: App whose migrations are compared.
        django_apps: Candidates for `django_app`; one alone is a guess.
    """

    name: str
    schema: str
    notes: tuple[str, ...]
    tables: Mapping[str, tuple[ListedTable, ...]]
    exclude: tuple[ListedTable, ...] = ()
    receiver_tables: tuple[ListedTable, ...] = ()
    django_app: str | None = None
    django_apps: tuple[str, ...] = ()
    sections: tuple[DraftSection, ...] = ()

    @property
    def table_count(self) -> int:
        """Number of replicated tables."""
        return sum(map(len, self.tables.values()))


def as_toml(draft: Draft) -> str:
    """Return the file of a proposed catalog."""
    lines = [*_comments(draft.notes), ""]
    lines += [f"name = {toml_text(draft.name)}", f"schema = {toml_text(draft.schema)}"]
    lines += [*_django(draft), ""]
    lines += [*_tables(draft.tables), ""]
    lines += _list("exclude", draft.exclude)
    lines += _list("receiver_tables", draft.receiver_tables)
    for section in draft.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip("\n") + "\n"


def toml_text(text: str) -> str:
    r"""Return a basic string of TOML 1.0, with invisible characters escaped.

    >>> print(toml_text('a"b'), toml_text("line\n"))
    "a\"b" "line\u000a"
    """
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004  4 digits


def _comments(sentences: Iterable[str]) -> Iterator[str]:
    for sentence in sentences:
        yield from _wrapped(sentence)


def _wrapped(sentence: str) -> Iterator[str]:
    line = "#"
    for word in visible(sentence).split(" "):
        if len(line) + 1 + len(word) > _LINE and line != "#":
            yield line
            line = "#  "
        line += f" {word}"
    yield line


def _beside(about: str) -> str:
    return f"  # {visible(about)}" if about else ""


def _django(draft: Draft) -> Iterator[str]:
    if draft.django_app is not None:
        yield f"django_app = {toml_text(draft.django_app)}"
    elif draft.django_apps:
        app, *rest = draft.django_apps
        others = ", ".join(map(toml_text, rest))
        yield from _wrapped(
            "The migrations of one Django app are compared before a load: the one whose migrations"
            f" make most tables, or another ({others})."
            if rest
            else "The migrations of one Django app are compared before a load. This is a guess by"
            " the names of tables: the role may not read django_migrations."
        )
        yield f"# django_app = {toml_text(app)}"


def _tables(schemas: Mapping[str, Sequence[ListedTable]]) -> Iterator[str]:
    yield "tables = ["
    for schema, tables in schemas.items():
        count = "1 table" if len(tables) == 1 else f"{len(tables)} tables"
        yield f"    # Schema {visible(schema)}: {count}."
        yield from _entries(tables)
    yield "]"


def _list(key: str, tables: Sequence[ListedTable]) -> Iterator[str]:
    if tables:
        yield f"{key} = ["
        yield from _entries(tables)
        yield from ("]", "")


def _entries(tables: Sequence[ListedTable]) -> Iterator[str]:
    for table in tables:
        yield f"    {toml_text(table.label)},{_beside(table.about)}"


def _section(section: DraftSection) -> Iterator[str]:
    yield from _comments(section.notes)
    # A section without keys has no effect; a choice becomes a key in it.
    yield toml_header(section.label)
    for key, value in section.rules.items():
        yield f"{key} = {toml_value(value)}"
    for key, value, why in section.choices:
        yield from _wrapped(why)
        yield f"# {key} = {toml_value(value)}"
    yield ""


def toml_value(value: object) -> str:
    """Return a value of TOML 1.0.

    >>> print(toml_value({"transformed": False}), toml_value(["point"]))
    { transformed = false } ["point"]
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, Mapping):
        pairs = (f"{toml_key(str(key))} = {toml_value(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    items = value if isinstance(value, Sequence) else ()
    return f"[{', '.join(map(toml_text, items))}]"


def toml_key(key: str) -> str:
    """Return a key of TOML 1.0, in quotes if it needs them.

    >>> print(toml_key("e_mail"), toml_key("e mail"))
    e_mail "e mail"
    """
    return key if _BARE_KEY.fullmatch(key) else toml_text(key)


def toml_header(label: str) -> str:
    """Return the header of a table's section.

    >>> print(toml_header("bus"), toml_header("billing.invoice"))
    [table.bus] [table."billing.invoice"]
    """
    if label.isprintable():
        return place("table", label)
    return f"[table.{toml_text(label)}]"
