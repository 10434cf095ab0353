"""What can go wrong after a load."""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class TransformSpecificationError(TerminalError):
    """``AR_SYNC_TRANSFORM`` does not say what to run."""


class NoBuiltinTransformError(TransformSpecificationError):
    """The built-in rules are for another application than the catalog's."""


class TransformTablesMissingError(TerminalError):
    """The receiver's database is not the one that the built-in rules are for."""


class TransformNotAllowedError(TerminalError):
    """The receiver's role lacks a privilege that the transform needs."""


class TransformRunningError(TransientError):
    """Another transform works on the same database."""


class TransformInterruptedError(TransientError):
    """The database went away, or another session held the rows: finished batches are kept."""


class TransformRefusedError(ParkedError):
    """The database refuses statements, or so many rows that the cause is not in the rows."""


class TransformTooSlowError(ParkedError):
    """The transform was stopped after its time: finished batches are kept."""
