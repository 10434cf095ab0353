"""A receiver in a separate process: admits what waits, prints its peak memory."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.settings.model import load_receiver_settings
from ar_sync_pipeline.sync.load.admit import admit_archives


def main() -> None:
    given = json.loads(sys.argv[1])
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
