"""Errors of the transform."""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class TransformSpecificationError(TerminalError):
    """``AR_SYNC_TRANSFORM`` names no valid transform."""


class NoBuiltinTransformError(TransformSpecificationError):
    """The catalog lacks tables of the built-in rules, or keys that leave changed rows to them."""


class TransformTablesMissingError(TerminalError):
    """The receiver's database lacks tables or columns of the built-in rules."""


class TransformNotAllowedError(TerminalError):
    """The receiver's role lacks a privilege that the transform needs."""


class TransformRunningError(TransientError):
    """Another transform runs on the same database."""


class TransformInterruptedError(TransientError):
    """Another session locks the rows for too long, or replaces zones; finished batches are kept."""


class TransformRefusedError(ParkedError):
    """The database refuses statements, or so many rows fail that the cause must be elsewhere."""


class TransformTooSlowError(ParkedError):
    """The transform was stopped at its time limit; finished batches are kept."""


class CommandFailedError(TerminalError):
    """The transform command failed, took too long, or could not be started."""
