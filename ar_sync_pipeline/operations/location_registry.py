"""Two code locations of one Dagster instance that define the same keys, found by their sensors.

Dagster loads both without a word and takes the runs, windows and checks of one for the other's.
Neither can see the other's definitions, so each location writes into the instance that it is there.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import dagster as dg
from pydantic import TypeAdapter, ValidationError

from ar_sync_pipeline.postgres.findings import Finding, Level
from ar_sync_pipeline.visible_text import listed

_SEEN_WITHIN = timedelta(minutes=5)
_Seen = TypeAdapter(dict[str, datetime])


def other_locations(
    instance: dg.DagsterInstance, side: str, location: str, since: datetime, now: datetime
) -> list[str]:
    """Record that a code location is at work, and return the others that define the same.

    Args:
        side: the value of the tag ``ar_sync/side``, which both would have.
        since: when this process of the location began to look; a location that was renamed or
            removed before does not count.
    """
    storage, key = instance.daemon_cursor_storage, f"ar_sync/locations/{side}"
    seen = _read(storage.get_cursor_values({key}).get(key))
    alive = {name: at for name, at in seen.items() if now - at < _SEEN_WITHIN}
    storage.set_cursor_values({key: _Seen.dump_json(alive | {location: now}).decode()})
    return sorted(name for name, at in alive.items() if name != location and at > since)


def same_keys(side: str, location: str, others: list[str]) -> Finding:
    """What is wrong with two such locations, and what to do."""
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
