"""A folder as on a file system that takes two names for one, which few kernels of tests have."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from ar_sync_pipeline.files import HeldFolder


def fold_names(monkeypatch: pytest.MonkeyPatch, fold: Callable[[str], str]) -> None:
    """Let `HeldFolder.facts` find an entry by any name that is the same after ``fold``."""
    facts = HeldFolder.facts

    def folded(held: HeldFolder, name: str) -> os.stat_result | None:
        with os.scandir(held.fd) as entries:
            same = [entry.name for entry in entries if fold(entry.name) == fold(name)]
        return facts(held, same[0] if same else name)

    monkeypatch.setattr(HeldFolder, "facts", folded)
