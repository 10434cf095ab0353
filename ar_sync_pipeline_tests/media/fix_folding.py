"""A folder as on a file system that takes two names for one, which few kernels of tests have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ar_sync_pipeline.files import HeldFolder


def fold_names(
    monkeypatch: pytest.MonkeyPatch, fold: Callable[[str], str], only: Path | None = None
) -> None:
    """Let `HeldFolder.facts` find an entry by any name that is the same after ``fold``.

    Args:
        only: The only folder that does so; its subfolders do not.
    """
    facts = HeldFolder.facts

    def folded(held: HeldFolder, name: str) -> os.stat_result | None:
        if only is not None and not os.path.samestat(only.stat(), os.fstat(held.fd)):
            return facts(held, name)
        with os.scandir(held.fd) as entries:
            same = [entry.name for entry in entries if fold(entry.name) == fold(name)]
        return facts(held, same[0] if same else name)

    monkeypatch.setattr(HeldFolder, "facts", folded)
