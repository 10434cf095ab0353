"""``ar-sync demo``: two servers in one folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ar_sync_pipeline.cli.reporting import FOUND_WRONG


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the two servers live.")
@click.option("--ui", is_flag=True, help="Keep running, with live traffic and the Dagster UI.")
@click.option("--port", default=3000, show_default=True, help="Of the Dagster UI.")
def demo(folder: Path | None, ui: bool, port: int) -> None:
    """Run a sender and a receiver in one folder, and prove that they end equal.

    Exit codes: 0 equal; 1 not equal, or a job failed; 2 a mistake in the call.
    """
    from rich.console import Console  # noqa: PLC0415  only when it runs

    from ar_sync_pipeline.demo.live import run_live  # noqa: PLC0415
    from ar_sync_pipeline.demo.story import tell_story  # noqa: PLC0415
    from ar_sync_pipeline.demo.two_servers import default_folder  # noqa: PLC0415
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415

    # In a log file the equality table needs more than the 80 columns that rich assumes there.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        if ui:
            run_live(folder or default_folder(), port, console)
        elif not tell_story(folder or default_folder(), console):
            raise SystemExit(FOUND_WRONG)
    except ArSyncError as error:
        click.echo(str(error), err=True)
        raise SystemExit(FOUND_WRONG) from None
