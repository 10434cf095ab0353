"""The secrets that both sides share: the current key signs, an old one is accepted for a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class SigningKeys:
    """The signing keys of one side.

    Attributes:
        current: Key that signs and verifies. None: nothing is signed, no signature is required.
        old: Key that verifies until `old_until`. It also signs receipts, for a sender that does
            not have the current key yet.
        old_until: Time after which the old key is no longer accepted.
    """

    current: bytes | None = field(default=None, repr=False)
    old: bytes | None = field(default=None, repr=False)
    old_until: datetime | None = None

    def accepted(self, now: datetime) -> tuple[bytes, ...]:
        """Return the keys whose signatures are accepted at a time, the current one first."""
        if self.current is None:
            return ()
        if self.old is None or self.old_until is None or now >= self.old_until:
            return (self.current,)
        return (self.current, self.old)
