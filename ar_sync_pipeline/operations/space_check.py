"""Check of free disk space: it raises an incident before a disk is full."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from ar_sync_pipeline.disk_errors import measure_free_space
from ar_sync_pipeline.operations.check_history import last_evaluation
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.sync.watch.disk_space import existing_folder, unwritable_folders

# A disk whose free space varies around the floor would send two mails every few minutes.
_PERCENT_TO_RECOVER = 1
_LOW = "low"


def space_check_spec(key: dg.AssetKey, places: str) -> dg.AssetCheckSpec:
    """Return the specification of the check, on the asset that fills the disks.

    Args:
        key: Asset of the check.
        places: Description of the disks.
    """
    return check_spec(
        "free_space",
        key,
        meaning=f"The disks of {places}, of AR_SYNC_STATE_FLDR and of DAGSTER_HOME have more"
        " free space than AR_SYNC_FREE_SPACE_FLOOR percent; a disk that had less, one percent more."
        " None is mounted read-only or out of inodes",
        remedy="free space before they are full (then work waits, and nothing is lost); mount a"
        " read-only one writable",
        page="disk_full",
    )


def space_check_result(
    instance: dg.DagsterInstance,
    spec: dg.AssetCheckSpec,
    folders: Mapping[str, Path],
    floor_percent: int,
) -> dg.AssetCheckResult:
    """Measure the disks of some folders, given by their names in the metadata, and of DAGSTER_HOME.

    Raises:
        DiskFailedError: A folder does not exist.
    """
    before = last_evaluation(instance, spec.key)
    known = before.metadata.get(_LOW) if before is not None and not before.passed else None
    were_low = str(known.value).split(", ") if known is not None else ()
    folders = {**folders, "dagster_home": existing_folder(Path(instance.root_directory))}
    spaces = {name: measure_free_space(folder) for name, folder in folders.items()}
    floors = {name: floor_percent + _PERCENT_TO_RECOVER * (name in were_low) for name in spaces}
    low = [name for name, space in spaces.items() if space.is_below(floors[name])]
    closed = unwritable_folders(spaces)
    said = [f"{clause[0].upper()}{clause[1:]}." for clause in closed]
    if low:
        said.append(f"Less than {max(floors[n] for n in low)} % free: {', '.join(low)}.")
    metadata: dict[str, Any] = {_LOW: ", ".join(low)} if low else {}
    for name, space in spaces.items():
        if not space.is_known:
            continue
        metadata[f"{name}_free_percent"] = round(space.free_percent, 1)
        metadata[f"{name}_free_gb"] = round(space.free_bytes / 1e9, 2)
    return result_for(
        spec,
        passed=not low and not closed,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(said)
        or f"Every disk has at least {floor_percent} % of its space free.",
        metadata=metadata,
    )
