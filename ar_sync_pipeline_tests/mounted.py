"""File systems that a test mounts over a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ar_sync_pipeline_tests.missing_parts import require_root


@contextmanager
def mounted(target: Path, *words: str | Path) -> Iterator[None]:
    """Mount by ``mount(8)`` with these words over a folder."""
    require_root("mount")
    subprocess.run(["mount", *words, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)
