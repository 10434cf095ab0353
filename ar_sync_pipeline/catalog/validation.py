"""From the content of a catalog file to a catalog, or to all errors in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ar_sync_pipeline.catalog.labels import canonical, is_literal
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.errors import ValidationProblem

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NAME_BYTES = 63  # NAMEDATALEN - 1 of PostgreSQL as it is built everywhere
_LABEL_LISTS = ("tables", "exclude", "receiver_tables")


def validated(data: Mapping[str, Any]) -> tuple[Catalog | None, list[ValidationProblem]]:
    """Return the catalog of a file's content, and every error in it.

    What a wrong value makes unreadable is left out, and the rest is still checked.
    """
    problems = list(_repeated_sections(data))
    left = deepcopy(dict(data))
    while True:
        try:
            catalog = Catalog.model_validate(left)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            found = list(dict.fromkeys(map(_described, details)))
            if not [_leave_out(left, detail["loc"]) for detail in details]:
                return None, problems + found
            problems += found
        else:
            return catalog, problems + list(_contradictions(catalog))


def place(*keys: str) -> str:
    """Return the place of a value in the file: ``[table."x.bus"] children``."""
    if keys[0] != "table" or len(keys) == 1:
        return ".".join(map(_quoted, keys))
    section = f"[table.{_quoted(keys[1])}]"
    return " ".join([section, ".".join(map(_quoted, keys[2:]))]).rstrip()


def _quoted(key: str) -> str:
    if _BARE_KEY.fullmatch(key):
        return key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if key.isprintable() else ascii(key)


def _described(detail: ErrorDetails) -> ValidationProblem:
    keys = _meaningful(detail["loc"])
    match detail["type"]:
        case "missing":
            return ValidationProblem(place(*keys), "is missing", "add it")
        case "extra_forbidden":
            return ValidationProblem(place(*keys), "is no key of a catalog", _meant(keys))
        case "too_short":
            return ValidationProblem(place(*keys), "is empty", "name a table or a pattern")
        case "tuple_type" | "frozen_set_type" | "set_type" | "list_type":
            remedy = 'write a list: ["name", "other"]'
            return ValidationProblem(place(*keys), "has a wrong value (it is no list)", remedy)
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type":
            remedy = "write a table: { name = VALUE }"
            return ValidationProblem(place(*keys), "has a wrong value (it is no table)", remedy)
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    return ValidationProblem(place(*keys), f"has a wrong value ({message})", "correct the value")


def _meaningful(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Return the file's keys in a location; pydantic appends items, types and the word [key]."""
    keys = tuple(takewhile(lambda key: isinstance(key, str) and key != "[key]", loc))
    return tuple(map(str, keys[:4] if keys[0] == "table" else keys[:1]))


def _meant(keys: tuple[str, ...]) -> str:
    known = _file_keys(TableRules if len(keys) > 1 else Catalog)
    close = difflib.get_close_matches(keys[-1], known, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"


def _file_keys(model: type[Catalog | TableRules]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _leave_out(data: dict[str, Any], loc: tuple[int | str, ...]) -> bool:
    """Remove what a location names; a required value is replaced by one without conflicts."""
    keys = _meaningful(loc)
    required = {"name": "?", "tables": ["*.*"]}
    if keys[0] in required:
        data[keys[0]] = required[keys[0]]
        return True
    if keys[-1] == "changed_at":
        data["table"][keys[1]]["changed_at"] = "?"
        return True
    holder: Any = data
    for key in keys[:-1]:
        holder = holder.get(key, {}) if isinstance(holder, dict) else {}
    return isinstance(holder, dict) and holder.pop(keys[-1], data) is not data


def _repeated_sections(data: Mapping[str, Any]) -> Iterator[ValidationProblem]:
    schema, sections = data.get("schema", "public"), data.get("table")
    if not isinstance(schema, str) or not isinstance(sections, dict):
        return
    for label in sections:
        other = canonical(label, schema)
        if other != label and other in sections:
            yield ValidationProblem(
                place("table", label),
                f"means the same table as {place('table', other)}",
                "put the rules into one section",
            )


def _contradictions(catalog: Catalog) -> Iterator[ValidationProblem]:
    for name in _LABEL_LISTS:
        for pattern in getattr(catalog, name):
            yield from _impossible_name(catalog, pattern, place(name))
    for pattern in filter(is_literal, catalog.tables):
        if catalog.matches_any(catalog.exclude, pattern):
            yield ValidationProblem(
                "tables",
                f"names {pattern}, which is excluded",
                "remove it here or from `exclude`",
            )
    for label, rules in catalog.table.items():
        yield from _impossible_name(catalog, label, place("table", label))
        yield from _unreplicated(catalog, label)
        yield from _wrong_children(catalog, label, rules)
        yield from _wrong_rules(label, rules)
        yield from _wrong_column_rules(label, rules)
        if (rules.exclude or rules.mask) and catalog.is_receiver_only(label):
            yield ValidationProblem(
                place("table", label),
                "has `exclude` or `mask`, but only the receiver has this table",
                "remove them, or take it out of `receiver_tables`",
            )


def _impossible_name(catalog: Catalog, label: str, where: str) -> Iterator[ValidationProblem]:
    parts = catalog.locate(label)
    if not all(parts):
        yield ValidationProblem(
            where, f"{label!r} lacks a name beside the dot", "write it as `schema.table`"
        )
    elif any(is_literal(p) and len(p.encode()) > _LONGEST_NAME_BYTES for p in parts):
        yield ValidationProblem(
            where,
            f"{label!r} is longer than a name of PostgreSQL, which has {_LONGEST_NAME_BYTES} bytes",
            "write the name as `\\d` of psql shows it",
        )


def _unreplicated(catalog: Catalog, label: str) -> Iterator[ValidationProblem]:
    """Yield errors of a section whose table is not replicated and not receiver-only."""
    where = place("table", label)
    if catalog.matches_any(catalog.exclude, label):
        yield ValidationProblem(
            where, "has rules, but the table is excluded", "remove it here or from `exclude`"
        )
    elif not catalog.replicates(label) and not catalog.is_receiver_only(label):
        yield ValidationProblem(
            where, "matches no pattern of `tables`", _add_to_tables(catalog, label)
        )


def _wrong_children(catalog: Catalog, label: str, rules: TableRules) -> Iterator[ValidationProblem]:
    for child in rules.children:
        where = place("table", label, "children")
        if not catalog.replicates(child):
            yield ValidationProblem(
                where, f"{child} is not replicated", _add_to_tables(catalog, child)
            )


def _add_to_tables(catalog: Catalog, label: str) -> str:
    if catalog.matches_any(catalog.exclude, label):
        return "remove it here or from `exclude`"
    if catalog.is_receiver_only(label):
        return "remove it here or from `receiver_tables`"
    return f"add {quoted_value(label)} to `tables`, or remove it here"


def _wrong_rules(label: str, rules: TableRules) -> Iterator[ValidationProblem]:
    zone, where = rules.changed_at_zone, place("table", label, "changed_at_zone")
    if zone is not None and rules.changed_at is None:
        yield ValidationProblem(
            where, "has no `changed_at` beside it", "name the column, or remove the zone"
        )
    if zone is not None and not _is_zone(zone):
        yield ValidationProblem(
            where,
            f"{zone!r} is no time zone",
            "name one of the IANA database, such as America/Santiago",
        )


def _wrong_column_rules(label: str, rules: TableRules) -> Iterator[ValidationProblem]:
    """Yield errors of columns with two contradictory rules."""
    withheld = {
        "receiver_columns": "is no column of the sender by `receiver_columns`",
        "rewritten_by_transform": "is replicated by `rewritten_by_transform`",
    }
    for name in rules.exclude:
        where = place("table", label, "exclude")
        for key, problem in withheld.items():
            if name in getattr(rules, key):
                yield ValidationProblem(where, f"{name} {problem}", "remove it here or there")
        if name == rules.changed_at:
            yield ValidationProblem(
                where,
                f"{name} is `changed_at`, by which partials find changed rows",
                "give it a `mask`, or remove `changed_at`",
            )
    for name in rules.mask:
        where = place("table", label, "mask", name)
        if name in rules.not_replicated:
            yield ValidationProblem(
                where, "is not replicated, so there is nothing to mask", "remove it"
            )
        if name in rules.media_columns:
            yield ValidationProblem(
                where,
                "names media files, which a masked name would not find",
                "remove it, or name the column in `exclude`, which keeps its files at the sender",
            )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # LookupError: ZoneInfoNotFoundError
        return False
    return True


def quoted_value(label: str) -> str:
    """Return a label as a value of TOML."""
    return '"' + label.replace("\\", "\\\\").replace('"', '\\"') + '"'
