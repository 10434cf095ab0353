"""Where the values under column rules were at the last dump: a file in the sender's scratch folder.

If it is lost, or of another cluster, values that have moved since are recognized only where their
new table is like a copy of the old one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ar_sync_pipeline.export.masking import NO_RULES
from ar_sync_pipeline.export.ruled_values import RuledBefore, RuledValues
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.sync.dump.kept_manifests import tables_of_complete
from ar_sync_pipeline.sync.dump.sender_journal_file import (
    RulesFrom,
    locked,
    read_content,
    read_journal,
)

RULED_FILE = "ar_sync_ruled.json"


def ruled_before(scratch: Path) -> RuledBefore:
    """Return what earlier dumps found."""
    return RuledBefore(
        _read(scratch), frozenset(_sent_before(read_journal(scratch).rules, scratch))
    )


def _sent_before(rules: Sequence[RulesFrom], scratch: Path) -> Iterator[str]:
    """Yield the tables of the newest archive, and those that were last sent without any rule.

    A table that is dropped and created again each night was sent before, although a dump between
    the two did not find it.
    """
    last: dict[str, str] = {}
    for one in rules:
        last |= one.digests
    yield from (name for name, digest in last.items() if digest == NO_RULES)
    for newest in rules[-1:]:
        yield from newest.digests
        if not newest.every_table:
            yield from tables_of_complete(scratch, newest.snapshot_at)


@dataclass(frozen=True)
class FoundRuled:
    """What a dump in progress found.

    Attributes:
        recorded: What it recorded when it began, with what was known before.
    """

    scratch: Path
    values: RuledValues
    recorded: RuledValues

    @classmethod
    def begin(cls, scratch: Path, values: RuledValues) -> Self:
        """Record it before a row is read, so that it counts even if the dump fails."""
        with locked(scratch):
            known = _read(scratch)
            recorded = values.with_earlier(known)
            if recorded != known:
                _write(scratch, recorded)
        return cls(scratch, values, recorded)

    def remember(self) -> None:
        """Forget what was known before, unless another dump has found something meanwhile."""
        if self.values != self.recorded:
            with locked(self.scratch):
                if _read(self.scratch) == self.recorded:
                    _write(self.scratch, self.values)


def _write(scratch: Path, values: RuledValues) -> None:
    write_atomically(scratch / RULED_FILE, values.model_dump_json().encode())


def _read(scratch: Path) -> RuledValues | None:
    return read_content(scratch / RULED_FILE, RuledValues)
