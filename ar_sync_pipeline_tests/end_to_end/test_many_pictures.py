"""D16: 60,000 pictures made the old system's command line too long, so that every dump failed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute

_PICTURES = 60_000
# Dagster and the product use 190 MiB without a picture; caches of databases take the rest.
_MOST_MEMORY_BYTES = 240 * 2**20
_MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.fixture
def pictures() -> Iterator[Path]:
    """A folder of 60,000 tiny pictures of last week; in memory if there is such a folder."""
    shared, last_week = Path("/dev/shm"), time.time() - 7 * 86400  # noqa: S108  a folder in it
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        for number in range(_PICTURES):
            picture = f"{name}/report-{number:06}.jpeg"
            with open(picture, "wb") as file:  # noqa: PTH123  a Path costs as much as the file
                file.write(b"%d" % number)
            os.utime(picture, (last_week, last_week))
        yield Path(name)


def run_job(side: str, job: str, environment: dict[str, str], home: Path) -> int:
    """Run a job as a user does; return its peak memory in bytes."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AR_SYNC_", "DAGSTER_"))}
    program = Path(sys.executable).with_name("dagster")
    command = [str(program), "job", "execute", "-m", f"ar_sync_pipeline.{side}", "-j", job]
    # A child's peak starts with that of its parent, so a small process is in between.
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command],
        env={**clean, **environment, "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.long
@pytest.mark.timeout(600)  # on a machine that does much else
def test_d16_sixty_thousand_pictures_are_replicated_in_bounded_memory(
    deployment: Deployment, pictures: Path
) -> None:
    """A complete contains all of them; a partial only the new one that a changed row names."""
    deployment.sender_changes["AR_SYNC_SENDER_MEDIA_FLDR"] = str(pictures)
    used = run_job("sender", "complete_dump", deployment.sender_environment(), deployment.home)
    assert used < _MOST_MEMORY_BYTES
    (pictures / "new.jpeg").write_bytes(b"new")
    os.utime(pictures / "new.jpeg", (0, 0))
    execute(
        deployment.sender_url,
        "UPDATE app_child SET picture = 'report-059999.jpeg', changed = now() WHERE id = 7",
        "UPDATE app_child SET picture = 'new.jpeg', changed = now() WHERE id = 8",
    )
    used = run_job("sender", "partial_dump", deployment.sender_environment(), deployment.home)
    assert used < _MOST_MEMORY_BYTES
    assert len(media(deployment, "complete")) == _PICTURES
    assert media(deployment, "partial") == ["new.jpeg"]
    environment = deployment.receiver_environment()
    used = run_job("receiver", "complete_loaddata", environment, deployment.home)
    assert used < _MOST_MEMORY_BYTES
    received = Path(environment["AR_SYNC_RECEIVER_MEDIA_FLDR"])
    assert sum(1 for _ in os.scandir(received)) >= _PICTURES


def media(deployment: Deployment, kind: str) -> list[str]:
    (archive,) = (deployment.spool / kind).iterdir()
    with open_archive(archive) as reader:
        return [entry.path for entry in reader.media()]
