"""Column rules for the application, and what they make of its rows, computed without PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.convergence.application import CATALOG, TABLES
from ar_sync_pipeline_tests.convergence.row_images import Row, State

KEY = "of the histories, so no secret"
_HOUR = 3_600_000_000  # microseconds
Value = bytes | None

RULES: dict[str, dict[str, object]] = {
    "app_parent": {"mask": {"code": "pseudonym", "label": "pseudonym"}},
    "app_child": {"mask": {"amount": {"round": 1}, "changed": {"truncate": "hour"}}},
    "app_tag": {"mask": {"value": "null"}},
    "app_account": {"mask": {"email": "pseudonym", "nick": "pseudonym", "mood": "null"}},
}
EXCLUDED: dict[str, dict[str, object]] = {
    "app_account": {"exclude": ["mood"], "mask": {"email": "pseudonym", "nick": "pseudonym"}}
}


def masked_catalog(*, excluding: bool) -> Catalog:
    """The application's catalog with column rules, also for the column by which partials look.

    Args:
        excluding: a column is not sent, rather than as NULL, so that the receiver keeps its values.
    """
    data = CATALOG.model_dump(by_alias=True)
    for table, rules in (RULES | (EXCLUDED if excluding else {})).items():
        data["table"].setdefault(table, {}).update(rules)
    return Catalog.model_validate(data)


def as_sent(state: State) -> State:
    """The sender's rows as archives must hold them."""
    return {
        name: {key: _masked(name, row) for key, row in rows.items()} for name, rows in state.items()
    }


def _masked(table: str, row: Row) -> Row:
    masks = _MASKS.get(table, {})
    return tuple(
        masks[column](value) if column in masks else value
        for column, value in zip(TABLES[table].columns, row, strict=True)
    )


def _pseudonym(value: Value) -> Value:
    if not value:
        return value
    return hmac.new(KEY.encode(), value, hashlib.sha256).hexdigest()[:32].encode()


def _rounded(value: Value) -> Value:
    if value is None:
        return None
    (number,) = struct.unpack("!d", value)
    tenths = Decimal(f"{number:.15g}").quantize(Decimal("0.1"), ROUND_HALF_UP)
    return struct.pack("!d", float(tenths) or 0.0)


def _hour(value: Value) -> Value:
    if value is None:
        return None
    since_2000 = int.from_bytes(value, signed=True)
    return (since_2000 // _HOUR * _HOUR).to_bytes(8, signed=True)


def _nothing(_value: Value) -> Value:
    return None


_MASKS: dict[str, dict[str, Callable[[Value], Value]]] = {
    "app_parent": {"code": _pseudonym, "label": _pseudonym},
    "app_child": {"amount": _rounded, "changed": _hour},
    "app_tag": {"value": _nothing},
    "app_account": {"mood": _nothing, "email": _pseudonym, "nick": _pseudonym},
}
