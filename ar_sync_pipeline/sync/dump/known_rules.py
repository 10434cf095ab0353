"""Where the values under column rules were at the last dump: a file in the sender's scratch folder.

If it is lost, or of another cluster, values that have moved since are recognized only where their
new table is like a copy of the old one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ar_sync_pipeline.export.masking import NO_RULES
from ar_sync_pipeline.export.ruled_values import RuledBefore, RuledValues
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.sync.dump.kept_manifests import tables_of_complete
from ar_sync_pipeline.sync.dump.sender_journal_file import (
    RulesFrom,
    locked,
    read_journal,
    read_scratch_file,
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


def remember_ruled(scratch: Path, values: RuledValues) -> None:
    """Record what a dump found, before it reads a row: what it may send depends on nothing else."""
    if _read(scratch) != values:
        with locked(scratch):
            write_atomically(scratch / RULED_FILE, values.model_dump_json().encode())


def _read(scratch: Path) -> RuledValues | None:
    try:
        return RuledValues.model_validate_json(read_scratch_file(scratch / RULED_FILE))
    except (FileNotFoundError, ValueError):
        return None
