"""Archives in memory, for publishing."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

NAME = "NEW_backup_partial_20261123T153000.123456Z.tar"
APPLIED_NAME = "backup_partial_20261123T153000.123456Z.tar"
MIB = 2**20


@dataclass
class MemorySource:
    content: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def fingerprint(self) -> str:
        return self.sha256

    @property
    def head(self) -> bytes:
        return self.content[:MIB]

    @property
    def identity(self) -> bytes:
        return self.sha256.encode()

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


def some_archive(size_bytes: int = 3 * MIB + 17) -> MemorySource:
    return MemorySource(random.Random(1).randbytes(size_bytes))  # noqa: S311  not a secret
