"""A transform command from the settings, run as an external process through Dagster Pipes."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import build_external_execution_context_data
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.sync.load.postprocess import command_words
from ar_sync_pipeline.transform.errors import CommandFailedError
from ar_sync_pipeline.transform.specification import CommandTransform
from ar_sync_pipeline.transform.supervised_command import run_supervised


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
        settings = self.site.settings
        return run_command(context, words, settings, timeout_seconds=self.timeout_seconds)


def run_command(
    context: dg.AssetExecutionContext,
    words: Sequence[str],
    settings: ReceiverSettings,
    *,
    timeout_seconds: float,
) -> Mapping[str, Any]:
    """Run a command to its end; its output is in the logs of the run.

    The command may log and report metadata by Dagster Pipes (``dagster_pipes``).

    Raises:
        CommandFailedError: It could not be started, had an exit status other than 0, or was
            terminated because it ran longer than the timeout.
        TransformRunningError: Another transform works on the receiver's database.
    """
    started = time.monotonic()
    with _pipes_session(context) as session:
        environment = {
            **os.environ,
            **_of_the_pair(settings),
            **session.get_bootstrap_env_vars(),
        }
        status = run_supervised(words, environment, settings.database_url, timeout_seconds)
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
    messages = session.get_custom_messages()
    if messages:
        metadata["messages"] = dg.MetadataValue.json(list(messages))
    for result in session.get_reported_results():
        if isinstance(result, dg.MaterializeResult):
            metadata = {**(result.metadata or {}), **metadata}
    return metadata


@contextmanager
def _pipes_session(context: dg.AssetExecutionContext) -> Iterator[dg.PipesSession]:
    """Open a session of Dagster Pipes for a command that may use it or not.

    ``dg.open_pipes_session`` also warns in the log of each run whose command does not use it.
    """
    data = build_external_execution_context_data(context, extras=None)
    handler = dg.PipesMessageHandler(context, dg.PipesTempFileMessageReader())
    try:
        with (
            dg.PipesTempFileContextInjector().inject_context(data) as injected,
            handler.handle_messages() as read,
        ):
            yield dg.PipesSession(data, handler, injected, read, context)
    finally:
        if handler.received_opened_message and not handler.received_closed_message:
            context.log.warning(
                "The transform command did not close Dagster Pipes: what it reported may be"
                " missing. Use `with open_dagster_pipes() as pipes:` in it."
            )


def _of_the_pair(settings: ReceiverSettings) -> dict[str, str]:
    """Return the variables that tell a command where to work.

    The environment of a code server with several pairs has none of them, or those of one pair.
    """
    return {
        "AR_SYNC_PAIR": settings.pair,
        "AR_SYNC_RECEIVER_DATABASE_URL": settings.database_url,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(settings.receiver_media_fldr),
    }
