"""``ar-sync check``: whether archives can reach the receiver, step by step."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_MISTAKE, fail, json_option

if TYPE_CHECKING:
    from ar_sync_pipeline.sync.watch.check import EndpointCheck


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Walk an archive's whole way to the receiver with a test file, at the sender.

    Each step is named and timed: resolve, connect, host key, login, sftp, spool exists, spool
    writable, round trip, free space, clock difference, receipts readable. The first one that
    fails is the last one tried. It ends within two minutes; nothing is left behind.

    Exit codes: 0 archives can be published, perhaps with warnings; 1 a step failed; 2 a mistake
    in the settings.
    """
    from ar_sync_pipeline.cli.environment import operator_environment  # noqa: PLC0415  when it runs
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415
    from ar_sync_pipeline.settings import load_sender_settings  # noqa: PLC0415
    from ar_sync_pipeline.sync.watch.check import check_endpoint  # noqa: PLC0415

    try:
        settings = load_sender_settings(operator_environment())
        found = check_endpoint(settings, lambda: datetime.now(UTC))
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_MISTAKE)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    else:
        _show(found)
    if found.failed is not None:
        raise SystemExit(FOUND_WRONG)


def _show(found: EndpointCheck) -> None:
    from rich.console import Console  # noqa: PLC0415  only people need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from ar_sync_pipeline.sync.watch.check import milliseconds  # noqa: PLC0415

    table = Table("step", "", "ms", "found", box=None)
    table.columns[2].justify = "right"
    table.columns[3].overflow = "fold"  # a fingerprint is there to be compared
    for step in found.steps:
        words = step.detail if step.remedy is None else f"{step.detail}: {step.remedy}"
        table.add_row(step.name, str(step.outcome), milliseconds(step), Text(words))
    console = Console()
    console.print(table)
    console.print(Text(f"{_verdict(found)} ({found.seconds:.1f} s)"))


def _verdict(found: EndpointCheck) -> str:
    if found.failed is not None:
        return f"{found.failed.name} failed."
    count = len(found.warnings)
    warned = f", with {count} warning{'s' * (count > 1)}" if count else ""
    return f"Archives can be published{warned}."
