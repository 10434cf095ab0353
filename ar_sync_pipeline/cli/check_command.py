"""``ar-sync check``: the road to the receiver, step by step."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_MISTAKE, fail, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ar_sync_pipeline.sftp.probe import ProbeStep


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Try every step from the receiver's name to a renamed test file, at the sender.

    The first step that fails ends it; the others were not tried.

    Exit codes: 0 an archive can travel, warnings included; 1 a step failed; 2 a mistake in the
    settings.
    """
    from ar_sync_pipeline.cli.environment import operator_environment  # noqa: PLC0415  when it runs
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415
    from ar_sync_pipeline.settings import load_sender_settings  # noqa: PLC0415
    from ar_sync_pipeline.sync.publish import probe_receiver  # noqa: PLC0415

    try:
        settings = load_sender_settings(operator_environment())
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_MISTAKE)
    steps = probe_receiver(settings, lambda: datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(_as_dict(steps)))
    else:
        _show(steps)
    if not all(step.ok for step in steps):
        raise SystemExit(FOUND_WRONG)


def _as_dict(steps: Sequence[ProbeStep]) -> dict[str, Any]:
    return {
        "ok": all(step.ok for step in steps),
        "steps": [
            {
                "name": str(step.name),
                "outcome": str(step.outcome),
                "seconds": round(step.seconds, 4),
                "detail": step.detail,
                "remedy": step.remedy,
                "numbers": dict(step.numbers),
            }
            for step in steps
        ],
    }


def _show(steps: Sequence[ProbeStep]) -> None:
    from rich.console import Console  # noqa: PLC0415  only people need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from ar_sync_pipeline.sftp.probe import STEPS  # noqa: PLC0415

    table = Table("step", "ms", "outcome", "found")
    table.columns[1].justify = "right"
    for step in steps:
        found = step.detail if step.remedy is None else f"{step.detail}: {step.remedy}"
        table.add_row(step.name, f"{step.seconds * 1000:,.0f}", str(step.outcome), Text(found))
    for name in STEPS[len(steps) :]:
        table.add_row(name, "", "not tried", "")
    Console().print(table)
