"""Connectivity check of the sender: all steps to the receiver's spool, and reading receipts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.probe import ProbeOutcome, ProbeStep, probe
from ar_sync_pipeline.spool.agreed_settings import AgreedSettings
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receipts import RECEIPT_SUFFIX, parse_receipt
from ar_sync_pipeline.sync.dump.sender_endpoint import endpoint

CLOCK_DIFFERENCE = "clock_difference_seconds"


@dataclass(frozen=True)
class EndpointCheck:
    """Result of the check.

    Attributes:
        steps: All steps in order; steps after a failed one were not tried.
        checkpoint: Checkpoint of the receiver, read over the link.
        agreed: Receiver settings that must be equal at the sender, read over the link.
    """

    steps: tuple[ProbeStep, ...]
    checkpoint: Checkpoint | None = None
    agreed: AgreedSettings | None = None

    @property
    def failed(self) -> ProbeStep | None:
        """The step that failed; None if archives can be published."""
        return next((s for s in self.steps if s.outcome is ProbeOutcome.FAILED), None)

    @property
    def warnings(self) -> tuple[ProbeStep, ...]:
        """Steps that passed with a recommendation."""
        return tuple(s for s in self.steps if s.outcome is ProbeOutcome.WARNED)

    @property
    def seconds(self) -> float:
        """Duration of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def figures(self) -> dict[str, float]:
        """All measurements, by names that end with their unit."""
        tried = [s for s in self.steps if s.outcome is not ProbeOutcome.NOT_TRIED]
        found = {_duration(step.name): step.seconds for step in tried}
        for step in tried:
            found |= step.figures
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the stable format of ``ar-sync check --json``."""
        return {
            "ok": self.failed is None,
            "warnings": len(self.warnings),
            "seconds": round(self.seconds, 3),
            "steps": [
                {
                    "name": step.name,
                    "outcome": str(step.outcome),
                    "seconds": round(step.seconds, 4),
                    "detail": step.detail,
                    "remedy": step.remedy,
                    "figures": {name: round(value, 4) for name, value in step.figures.items()},
                }
                for step in self.steps
            ],
        }


def check_endpoint(settings: SenderSettings, clock: Clock) -> EndpointCheck:
    """Publish a test file like an archive, remove it, and read the receiver's files.

    It ends within two minutes even if a server hangs. A problem is a failed step, not an error.
    """
    keys = settings.signing_keys.accepted(clock())
    checkpoint: Checkpoint | None = None
    agreed: AgreedSettings | None = None

    def judge(name: str, content: bytes) -> None:
        nonlocal checkpoint, agreed
        if name == Checkpoint.FILE:
            checkpoint = Checkpoint.parse(content, signing_keys=keys)
        elif name == AgreedSettings.FILE:
            agreed = AgreedSettings.parse(content, signing_keys=keys)
        elif ArchiveName.parse(name.removesuffix(RECEIPT_SUFFIX)) is not None:
            parse_receipt(content, signing_keys=keys)

    steps = probe(
        endpoint(settings),
        settings.remote_bkp_fldr,
        clock=clock,
        judge_receipt=judge,
        free_floor_percent=settings.free_space_floor,
        read_also=(AgreedSettings.FILE, Checkpoint.FILE),
    )
    return EndpointCheck(tuple(steps), checkpoint, agreed)


def milliseconds(step: ProbeStep) -> str:
    """Return the duration of a step, for a table; empty if it was not tried."""
    return "" if step.outcome is ProbeOutcome.NOT_TRIED else f"{1000 * step.seconds:.1f}"


def _duration(step: str) -> str:
    """Return the key of a step's duration, which must differ from the difference of the clocks."""
    key = f"{_key(step)}_seconds"
    return "clock_check_seconds" if key == CLOCK_DIFFERENCE else key


def _key(name: str) -> str:
    return name.replace(" ", "_")
