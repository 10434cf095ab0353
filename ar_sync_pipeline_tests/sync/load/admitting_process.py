"""A receiver in a separate process: admits what waits, prints its peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.settings.model import load_receiver_settings
from ar_sync_pipeline.sync.load.admit import admit_archives


def admitted_by(environment: Mapping[str, str], catalog: Catalog) -> tuple[int, int]:
    """Return the number of archives that the process quarantines, and its peak memory in KiB."""
    given = {"environment": environment, "catalog": catalog.model_dump(mode="json", by_alias=True)}
    measured = subprocess.run(
        [sys.executable, "-m", "ar_sync_pipeline_tests.sync.load.admitting_process"],
        input=json.dumps(given).encode(),
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    quarantined, peak_kib = json.loads(measured.stdout)
    return quarantined, peak_kib


def main() -> None:
    given = json.load(sys.stdin)
    admission = admit_archives(
        load_receiver_settings(given["environment"]),
        Catalog.model_validate(given["catalog"]),
        lambda: datetime.now(UTC),
    )
    # Not ru_maxrss, which a process inherits from its parent.
    words = Path("/proc/self/status").read_text().split()
    peak_kib = int(words[words.index("VmHWM:") + 1])
    print(json.dumps([len(admission.quarantined), peak_kib]))  # noqa: T201  what the test reads


if __name__ == "__main__":
    main()
