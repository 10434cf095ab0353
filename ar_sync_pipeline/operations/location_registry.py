"""Detection, by sensors, of two code locations of one Dagster instance that define the same keys.

Dagster loads both without an error and confuses their runs, windows and checks. Neither can see
the definitions of the other, so each location records in the instance that it is active.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import dagster as dg
from pydantic import TypeAdapter, ValidationError

from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.visible_text import listed

_SEEN_WITHIN = timedelta(minutes=5)
_Seen = TypeAdapter(dict[str, datetime])


def other_locations(
    instance: dg.DagsterInstance, side: str, location: str, since: datetime, now: datetime
) -> list[str]:
    """Record that a code location is active, and return others with the same definitions.

    Args:
        instance: Dagster instance.
        side: Value of the tag ``ar_sync/side``, which both would have.
        location: Name of this code location.
        since: When this process of the location started; records from before then, for example of a
            location that was renamed or removed, do not count.
        now: The current time.
    """
    storage, key = instance.daemon_cursor_storage, f"ar_sync/locations/{side}"
    seen = _read(storage.get_cursor_values({key}).get(key))
    alive = {name: at for name, at in seen.items() if now - at < _SEEN_WITHIN}
    storage.set_cursor_values({key: _Seen.dump_json(alive | {location: now}).decode()})
    return sorted(name for name, at in alive.items() if name != location and at > since)


def same_keys(side: str, location: str, others: list[str]) -> Finding:
    """Return the finding about code locations with the same definitions, and its remedy."""
    return Finding(
        Level.ERROR,
        f"the code locations {' and '.join(listed([location, *others]))} define the same assets and"
        f" jobs ({side}), so Dagster takes the runs of one for those of the other",
        "give each pair of servers its own AR_SYNC_PAIR, the same on both of its sides, or remove"
        " all but one of these locations from workspace.yaml",
    )


def _read(text: str | None) -> Mapping[str, datetime]:
    try:
        return _Seen.validate_json(text or "{}")
    except ValidationError:  # of another version
        return {}
