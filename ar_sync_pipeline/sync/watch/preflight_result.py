"""Result of the preflight of a side, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ar_sync_pipeline.postgres.checks.findings import Finding, Level, errors_of

if TYPE_CHECKING:
    # It imports the SSH client, which the receiver does not need.
    from ar_sync_pipeline.sync.watch.endpoint_check import EndpointCheck


@dataclass(frozen=True)
class Preflight:
    """Result of the preflight of a side.

    Attributes:
        side: ``sender`` or ``receiver``.
        findings: Findings, errors first.
        unwise: Warnings about the settings.
        link: Steps to a published archive; None at the receiver, or if they did not end.
        seconds: Duration of everything.
        unexamined: Areas of which more than single tables could not be examined now.
    """

    side: str
    findings: tuple[Finding, ...]
    unwise: tuple[str, ...]
    link: EndpointCheck | None
    seconds: float
    unexamined: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """Whether archives can be made and published, or loaded."""
        return not errors_of(self.findings) and (self.link is None or self.link.failed is None)

    def count(self, level: Level) -> int:
        """Return the number of findings of a level."""
        return sum(found.level is level for found in self.findings)

    @property
    def warnings(self) -> int:
        """Number of warnings, including those of the link."""
        return self.count(Level.WARNING) + (len(self.link.warnings) if self.link else 0)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.link is not None and self.link.failed is not None:
            return f"{self.link.failed.name} failed."
        errors = self.count(Level.ERROR)
        if errors:
            return f"{errors} finding{'s are errors' if errors > 1 else ' is an error'}."
        noted = f", with {self.warnings} warning{'s' * (self.warnings > 1)}" * bool(self.warnings)
        done = "published" if self.side == "sender" else "loaded"
        known = ", as far as it could be examined" if self.unexamined else ""
        return f"Archives can be {done}{known}{noted}."

    def as_dict(self) -> dict[str, Any]:
        """Return the stable format of ``ar-sync check --json``."""
        return {
            "ok": self.ok,
            "side": self.side,
            "warnings": self.warnings,
            "seconds": round(self.seconds, 3),
            "steps": self.link.as_dict()["steps"] if self.link else [],
            "findings": [
                {
                    "area": found.area,
                    "level": str(found.level),
                    "problem": found.problem,
                    "remedy": found.remedy,
                    "sql": found.sql or None,
                }
                for found in self.findings
            ],
            "settings": list(self.unwise),
        }
