"""A transform command from the settings, run as an external process through Dagster Pipes."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.postprocess import command_words
from ar_sync_pipeline.transform.specification import CommandTransform

_GRACE_SECONDS = 10


class CommandFailedError(TerminalError):
    """The transform command failed, took too long, or could not be started."""


@dataclass(frozen=True)
class CommandPostprocessor:
    """Runs the program from the settings; before the first load it has no arguments and is not run.

    Attributes:
        site: The receiver.
        transform: The command.
        timeout_seconds: Seconds after which it is terminated, with all processes that it started.
    """

    site: ReceiverSite
    transform: CommandTransform
    timeout_seconds: float

    def run(self, context: dg.AssetExecutionContext) -> Mapping[str, Any]:
        """Run the command with the values of the newest applied archive."""
        words = command_words(self.site.settings, self.transform)
        if words is None:
            return {"seconds": 0.0, "command": "not run, since no archive has been applied yet"}
        return run_command(context, words, timeout_seconds=self.timeout_seconds)


def run_command(
    context: dg.AssetExecutionContext, words: Sequence[str], *, timeout_seconds: float
) -> Mapping[str, Any]:
    """Run a command to its end; its output is in the logs of the run.

    The command may report metadata by Dagster Pipes (``dagster_pipes.open_dagster_pipes()``).

    Raises:
        CommandFailedError: It could not be started, had an exit status other than 0, or was
            terminated because it ran longer than the timeout.
    """
    started = time.monotonic()
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=dg.PipesTempFileMessageReader(),
    ) as session:
        environment = {**os.environ, **session.get_bootstrap_env_vars()}
        status = _wait(_start(words, environment), timeout_seconds)
    seconds = time.monotonic() - started
    if status != 0:
        raise CommandFailedError(
            f"the transform command {words[0]} ended with exit status {status}",
            remedy="read its output in this run's logs, then materialize this asset again",
        )
    metadata: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "exit_status": status,
        "command": words[0],
    }
    reported = session.get_custom_messages()
    if reported:
        metadata["messages"] = dg.MetadataValue.json(list(reported))
    return metadata


def _start(words: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(words, env=environment, start_new_session=True)
    except OSError as error:
        raise CommandFailedError(
            f"the transform command {words[0]} cannot be started ({error.strerror})",
            remedy="correct AR_SYNC_TRANSFORM, then materialize this asset again",
        ) from error


def _wait(process: subprocess.Popen[bytes], timeout_seconds: float) -> int:
    try:
        return process.wait(timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise CommandFailedError(
            f"the transform command ran longer than {timeout_seconds / 60:.0f} minutes and was"
            " ended",
            remedy="correct the program, or raise AR_SYNC_TRANSFORM_TIMEOUT",
        ) from error
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the command and all processes that it started: SIGTERM, then SIGKILL."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_GRACE_SECONDS)
    # The process group outlives its leader if a child ignored the signal.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
