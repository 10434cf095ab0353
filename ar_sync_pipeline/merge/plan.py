"""What the merge of one archive does, in rows: computed before anything is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TablePlan:
    """What a merge does to one table, in rows.

    Attributes:
        shipped: whether the archive brings the table; False for tables whose rows only depend on
            those of others: they are deleted with them, or follow a changed value.
        drift: of the added and changed rows of a complete, those that had not been written since
            the point that the receiver was known to have: what partials should have brought; None
            in a partial, and where the complete cannot tell.
    """

    table: str
    shipped: bool
    added: int
    changed: int
    deleted: int
    row_count: int
    drift: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values, for the ledger and for metadata."""
        return asdict(self)
