"""The secrets that both sides share: one signs, and an old one is accepted for a while longer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class SigningKeys:
    """The keys of one side.

    Attributes:
        current: signs and verifies; None: nothing is signed, and no signature is demanded.
        old: verifies until `old_until`, and signs receipts too, for a sender that has no other.
        old_until: when the old key ends.
    """

    current: bytes | None = field(default=None, repr=False)
    old: bytes | None = field(default=None, repr=False)
    old_until: datetime | None = None

    def accepted(self, now: datetime) -> tuple[bytes, ...]:
        """The keys whose signatures count at an instant, the current one first."""
        if self.current is None:
            return ()
        if self.old is None or self.old_until is None or now >= self.old_until:
            return (self.current,)
        return (self.current, self.old)
