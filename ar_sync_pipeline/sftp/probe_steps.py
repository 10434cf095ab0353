"""Steps of the connectivity check: each is named, timed and explained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.limits import OpeningStep
from ar_sync_pipeline.sftp.session import SftpSession

# In the order of the check.
NOT_OF_UPLOADS = ("round trip", "free space", "clock difference", "receipts readable")
"""Steps that an upload does not prove."""

STEPS = (*map(str, OpeningStep), "spool exists", "spool writable", *NOT_OF_UPLOADS)


class ProbeOutcome(StrEnum):
    """Outcome of a step."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class ProbeStep:
    """One step of the check.

    Attributes:
        name: Short name of the step.
        outcome: Passed, passed with a warning, failed, or not tried because an earlier step failed.
        seconds: Duration of the step.
        detail: Finding of the step, as one sentence.
        remedy: What to do; None if nothing.
        figures: Measured numbers, by names that end with the unit.
        code: Code of the error by which the step failed; empty if it did not.
    """

    name: str
    outcome: ProbeOutcome
    seconds: float
    detail: str
    remedy: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    code: str = ""

    @property
    def ok(self) -> bool:
        """Whether the step passed, perhaps with a warning."""
        return self.outcome in {ProbeOutcome.PASSED, ProbeOutcome.WARNED}


@dataclass(frozen=True)
class Finding:
    """Finding of a step: a sentence, what to do, and numbers."""

    detail: str
    remedy: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


class StepRecord:
    """Collects steps; a step that raises an error is the one that failed."""

    def __init__(self, endpoint: SftpEndpoint) -> None:
        self.steps: list[ProbeStep] = []
        self._endpoint = endpoint
        self._failed: tuple[str, float] = ("settings", 0.0)

    @contextmanager
    def step(self, name: str) -> Iterator[list[Finding]]:
        """Time one step; the block appends its findings."""
        started, found = time.monotonic(), list[Finding]()
        try:
            yield found
        except Exception:
            # An error that is translated by an outer block is also a failure of this step.
            self._failed = (name, time.monotonic() - started)
            raise
        self._add(name, time.monotonic() - started, found[0])

    @contextmanager
    def opening(self, step: OpeningStep) -> Iterator[None]:
        """Time one step of opening the session; `describe_opening` adds its findings."""
        with self.step(step) as found:
            yield
            found.append(Finding(_OPENING_DETAILS[step].format(endpoint=self._endpoint)))

    def describe_opening(self, session: SftpSession) -> None:
        """Replace the host key step by one with the fingerprint and the algorithms."""
        index = list(OpeningStep).index(OpeningStep.HOST_KEY)
        transport = session.transport
        key, cipher = transport.get_remote_server_key(), transport.local_cipher
        detail = (
            f"{key.get_name()} {key.fingerprint} is pinned; the server is"
            f" {transport.remote_version.removeprefix('SSH-2.0-')!r}, the cipher {cipher}"
        )
        remedy = None if "gcm" in cipher else "allow aes128-gcm@openssh.com, it costs a third less"
        seconds = self.steps.pop(index).seconds
        self._add(OpeningStep.HOST_KEY, seconds, Finding(detail, remedy), at=index)

    def close(self, error: ArSyncError) -> None:
        """Add the failed step and those after it."""
        name, seconds = self._failed
        self.steps.append(
            ProbeStep(
                str(name),
                ProbeOutcome.FAILED,
                seconds,
                error.problem,
                error.remedy,
                code=error.code,
            )
        )
        tried = {step.name for step in self.steps}
        self.steps += [
            ProbeStep(later, ProbeOutcome.NOT_TRIED, 0, f"not tried, because {name} failed")
            for later in STEPS
            if later not in tried
        ]

    def _add(self, name: str, seconds: float, found: Finding, at: int | None = None) -> None:
        outcome = ProbeOutcome.PASSED if found.remedy is None else ProbeOutcome.WARNED
        step = ProbeStep(str(name), outcome, seconds, found.detail, found.remedy, found.figures)
        self.steps.insert(len(self.steps) if at is None else at, step)


_OPENING_DETAILS = {
    OpeningStep.RESOLVE: "{endpoint.host} has an address",
    OpeningStep.CONNECT: "port {endpoint.port} answers",
    OpeningStep.HOST_KEY: "the host key is pinned",
    OpeningStep.LOGIN: "{endpoint.user!r} is let in with the key",
    OpeningStep.SFTP: "the account offers SFTP",
}
