"""What the merge of one archive does, in rows: computed before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class TablePlan:
    """What a merge does to one table, in rows.

    The table may be one that the archive does not contain: its rows depend on those of others, and
    are deleted with them or follow a changed value.

    Attributes:
        drift: Number of rows of a complete that differ although the sender did not write them since
            the receiver's checkpoint: earlier partials missed them. None: unknown.
        unverified: Number of chunks that are not compared until the next complete carries them: a
            late complete does not carry them whole, and later archives have changed them.
        sent: Whether the archive contains the table.
    """

    table: str
    added: int
    changed: int
    deleted: int
    row_count: int
    drift: int | None = None
    unverified: int = 0
    sent: bool = True

    @property
    def writes(self) -> bool:
        """Whether rows are written or deleted."""
        return bool(self.added or self.changed or self.deleted)

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Self:
        """Return a plan as the ledger has it; rows of older versions lack some values."""
        return cls(**{one.name: recorded[one.name] for one in fields(cls) if one.name in recorded})

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, for the ledger and for metadata."""
        return asdict(self)
