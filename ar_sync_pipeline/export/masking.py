"""Masked values of columns, as SQL expressions of the column's own type.

A pseudonym is HMAC-SHA256 (RFC 2104) with the sender's secret, computed by PostgreSQL's own
``sha256``, since pgcrypto may be absent. It does not depend on table or column, so that joins still
work. It has 32 hexadecimal digits in a text (or as many as fit), the first 16 bytes as a uuid, the
first 63 bits as a bigint. NULL stays NULL, and an empty text stays empty: unique indexes leave out
both.

The secret is passed to SQL by settings of the transaction, so no statement contains it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from psycopg import sql

from ar_sync_pipeline.catalog.masks import Mask, MaskFunction
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.column_masks import Family, family_of, largest_integer, type_length
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.exported_table import Expression
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

_BLOCK_BYTES = 64  # of SHA-256
_INNER_PAD, _OUTER_PAD = 0x36, 0x5C
_INNER, _OUTER = "ar_sync.pseudonym_inner", "ar_sync.pseudonym_outer"
_HEX_DIGITS = 32
_BIGINT_BYTES = 8
# Below them, the error of a product of floating-point numbers is far below one thousandth.
_MOST_FAST_DIGITS, _LARGEST_FAST = 9, 10**9
KEY_VARIABLE = "AR_SYNC_PSEUDONYM_KEY"
NO_RULES = ""


def masked_values(rules: TableRules, facts: TableFacts) -> dict[str, Expression]:
    """Return the expression to read instead of each masked column that the table has."""
    return {
        name: _masked(mask, column)
        for name, mask in rules.mask.items()
        if (column := facts.column(name)) is not None
    }


def costly_masks(rules: TableRules, facts: TableFacts) -> frozenset[str]:
    """Return the masked columns that the table has whose expression is expensive: pseudonyms."""
    return frozenset(
        name
        for name, mask in rules.mask.items()
        if mask.function is MaskFunction.PSEUDONYM and facts.column(name) is not None
    )


def require_pseudonym_key(catalog: Catalog, key: str | None) -> None:
    """Check that a catalog with pseudonyms has a secret.

    Raises:
        SchemaError: The catalog has pseudonyms and there is no secret.
    """
    named = [
        f"{name} of {label}"
        for label, rules in sorted(catalog.table.items())
        for name, mask in rules.mask.items()
        if mask.function is MaskFunction.PSEUDONYM
    ]
    if named and key is None:
        raise SchemaError(
            f"the catalog pseudonymizes {named[0]}, and {KEY_VARIABLE} is not set",
            remedy=f"set {KEY_VARIABLE} at the sender to a secret that never leaves it, such as"
            " that of: openssl rand -hex 32",
        )


def set_pseudonym_key(connection: Connection, key: str | None) -> None:
    """Set the secret for the expressions, until the transaction ends."""
    if key is None:
        return
    secret = key.encode()
    block = hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret
    block = block.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (bytes(b ^ pad for b in block).hex() for pad in (_INNER_PAD, _OUTER_PAD))
    connection.execute(
        "SELECT set_config(%s, %s, true), set_config(%s, %s, true)",
        [_INNER, inner, _OUTER, outer],
    )


def rule_digests(
    catalog: Catalog, tables: Mapping[str, TableFacts], key: str | None
) -> dict[str, str]:
    """Return a digest of the column rules of every table; `NO_RULES` for one without any.

    If the digest of a table differs between two archives, or only one has it, the exported values
    of its unchanged rows differ too.
    """
    found = {}
    for name, facts in tables.items():
        rules = catalog.rules(name)
        here = {column.name for column in facts.columns if not column.generated}
        masks = {c: mask.model_dump_json() for c, mask in sorted(rules.mask.items()) if c in here}
        withheld = sorted(here & rules.not_replicated)
        found[name] = NO_RULES
        if masks or withheld:
            hashed = any(m.function is MaskFunction.PSEUDONYM for m in rules.mask.values())
            secret = hashlib.sha256(b"id of " + key.encode()).hexdigest() if hashed and key else ""
            text = repr((withheld, masks, secret)).encode()
            found[name] = hashlib.sha256(text).hexdigest()[:_HEX_DIGITS]
    return found


def _masked(mask: Mask, column: ColumnFacts) -> Expression:
    make = _FUNCTIONS[mask.function]

    def expression(value: sql.Composable) -> sql.Composed:
        return sql.SQL("({})::{}").format(make(mask, column, value), sql.SQL(column.type))

    return expression


def _null(_mask: Mask, _column: ColumnFacts, _value: sql.Composable) -> sql.Composable:
    return sql.SQL("NULL")


def _constant(mask: Mask, _column: ColumnFacts, _value: sql.Composable) -> sql.Composable:
    return sql.Literal(mask.constant_text)


def _pseudonym(_mask: Mask, column: ColumnFacts, value: sql.Composable) -> sql.Composed:
    family, text = family_of(column.type), sql.SQL("{}::text").format(value)
    if family is Family.CASELESS:
        text = sql.SQL("pg_catalog.lower({})").format(text)
    # `textsend` returns UTF-8, which every session has as its client encoding, and is faster than
    # `convert_to`.
    digest = sql.SQL(
        "pg_catalog.substr(pg_catalog.sha256({outer} || pg_catalog.sha256("
        "{inner} || pg_catalog.textsend({text}))), 1, {size})"
    ).format(
        outer=_setting(_OUTER),
        inner=_setting(_INNER),
        text=text,
        size=sql.Literal(_BIGINT_BYTES if family is Family.INTEGER else _HEX_DIGITS // 2),
    )
    digits = sql.SQL("pg_catalog.encode({}, 'hex')").format(digest)
    if family is Family.UUID:
        return digits
    if family is Family.INTEGER:
        bits = sql.SQL("('x' || {})::bit(64)::bigint").format(digits)
        return sql.SQL("{} & 9223372036854775807").format(bits)
    length = type_length(column.type) or _HEX_DIGITS
    if length < _HEX_DIGITS:
        digits = sql.SQL("pg_catalog.left({}, {})").format(digits, sql.Literal(length))
    return sql.SQL("CASE WHEN {} = '' THEN '' ELSE {} END").format(text, digits)


def _setting(name: str) -> sql.Composed:
    """Return a setting as bytes; a scalar subquery is evaluated once per query, not per row."""
    return sql.SQL("(SELECT pg_catalog.decode(pg_catalog.current_setting({}), 'hex'))").format(
        sql.Literal(name)
    )


def _truncate(mask: Mask, column: ColumnFacts, value: sql.Composable) -> sql.Composed:
    if isinstance(mask.argument, int):
        return sql.SQL("pg_catalog.left({}::text, {})").format(value, sql.Literal(mask.argument))
    through = {Family.DATE: "{}::timestamp", Family.TIME_OF_DAY: "{}::interval"}
    value = sql.SQL(through.get(family_of(column.type), "{}")).format(value)
    return sql.SQL("pg_catalog.date_trunc({}, {})").format(sql.Literal(mask.argument), value)


def _round(mask: Mask, column: ColumnFacts, value: sql.Composable) -> sql.Composed:
    """Round toward zero if the nearest number does not fit; keep NaN and infinity."""
    if column.type == "double precision" and 0 <= int(str(mask.argument)) <= _MOST_FAST_DIGITS:
        return _fast_round(mask, value, _exact_round(mask, column, value))
    return _exact_round(mask, column, value)


def _fast_round(mask: Mask, value: sql.Composable, exact: sql.Composable) -> sql.Composed:
    """Round by arithmetic of the processor, ten times faster, where it has the exact result.

    The quotient of two whole numbers below 2^53 is the number nearest to the decimal fraction.
    Values near the middle between two results, large ones, infinity and NaN are rounded exactly.
    The last addition turns -0 into 0.
    """
    power = 10 ** int(str(mask.argument))
    return sql.SQL(
        "CASE WHEN {value} > -{limit}::float8 AND {value} < {limit}::float8"
        " AND pg_catalog.abs({value} * {power}::float8 - {rounded}) < 0.499::float8"
        " THEN {rounded} / {power}::float8 + 0::float8 ELSE {exact} END"
    ).format(
        value=value,
        rounded=sql.SQL("pg_catalog.round({} * {}::float8)").format(value, sql.Literal(power)),
        limit=sql.Literal(_LARGEST_FAST // power),
        power=sql.Literal(power),
        exact=exact,
    )


def _exact_round(mask: Mask, column: ColumnFacts, value: sql.Composable) -> sql.Composed:
    digits, number = sql.Literal(mask.argument), sql.SQL("{}::numeric").format(value)
    rounded = sql.SQL("pg_catalog.round({}, {})").format(number, digits)
    if family_of(column.type) is Family.FLOAT:
        return sql.SQL(
            "CASE WHEN {0} IN ('NaN', 'Infinity', '-Infinity') THEN {0} ELSE {1}::float8 END"
        ).format(value, rounded)
    largest = largest_integer(column.type)
    if largest is None:
        return rounded
    return sql.SQL(
        "CASE WHEN pg_catalog.abs({}) >= {}::numeric THEN pg_catalog.trunc({}, {}) ELSE {} END"
    ).format(rounded, sql.SQL(str(largest + 1)), number, digits, rounded)


_FUNCTIONS: dict[MaskFunction, Callable[[Mask, ColumnFacts, sql.Composable], sql.Composable]] = {
    MaskFunction.NULL: _null,
    MaskFunction.CONSTANT: _constant,
    MaskFunction.PSEUDONYM: _pseudonym,
    MaskFunction.TRUNCATE: _truncate,
    MaskFunction.ROUND: _round,
}
