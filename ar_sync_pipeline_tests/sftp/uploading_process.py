"""A sender in a process of its own: publishes one archive, prints what happened as JSON.

Run as ``python -m``, with one JSON object of arguments; see `test_two_networks`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath

from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.publish import SpoolPlace, TransferLimits
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline.sftp.retry_budget import RetryPlan
from ar_sync_pipeline_tests.archive.building import make_source


def main() -> None:
    given = json.loads(sys.argv[1])
    content = Path(given["content"]).read_bytes()
    source = make_source(Path(given["folder"]), media={"large.jpeg": content})
    endpoint = SftpEndpoint(
        given["host"], given["port"], given["user"], Path(given["key"]), Path(given["known_hosts"])
    )
    place = SpoolPlace(PurePosixPath(given["spool"]), "complete", source.manifest.name.waiting)
    failures = list[str]()
    result = publish_with_retries(
        endpoint,
        source,
        place,
        plan=RetryPlan(
            fruitless_seconds=30,
            first_wait_seconds=0.2,
            longest_wait_seconds=0.5,
            session=SessionLimits(connect_seconds=1, opening_seconds=3, silence_seconds=1),
        ),
        transfer=TransferLimits(bytes_per_second=given["bytes_per_second"]),
        on_retry=lambda error: failures.append(type(error).__name__),
    )
    print(  # noqa: T201  what the test reads
        json.dumps(
            {
                "name": source.manifest.name.waiting,
                "sha256": source.sha256,
                "size_bytes": source.size_bytes,
                "sent_bytes": result.sent_bytes,
                "resumed_bytes": result.resumed_bytes,
                "attempts": result.attempts,
                "failures": failures,
            }
        )
    )


if __name__ == "__main__":
    main()
