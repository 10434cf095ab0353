"""``ar-sync check``: whether a database fits its catalog, and archives can reach the receiver."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_MISTAKE, fail, json_option, shown
from ar_sync_pipeline.cli.side import side_option

if TYPE_CHECKING:
    from ar_sync_pipeline.postgres.findings import Finding
    from ar_sync_pipeline.sync.watch.check import EndpointCheck


@click.command()
@side_option
@json_option
def check(side: str | None, as_json: bool) -> None:
    """Examine the database of a side, and at the sender the link to the receiver.

    The database: rights of the role, tables that the catalog names and that are not there, keys,
    references to tables that are not replicated, triggers that loads would fire, and everything
    that the catalog seems to replicate and does not. No row is read, nothing is written.

    The link: a test file makes an archive's whole way. Each step is named and timed: resolve,
    connect, host key, login, sftp, spool exists, spool writable, round trip, free space, clock
    difference, receipts readable. The first one that fails is the last one tried. It ends within
    two minutes; nothing is left behind.

    Exit codes: 0 archives can be made and published, or loaded, perhaps with warnings; 1 a step
    failed, or a finding is an error; 2 a mistake in the settings or in the catalog.
    """
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415  when it runs

    try:
        link, findings, unwise = _look(side)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_MISTAKE)
    if as_json:
        click.echo(json.dumps(_as_dict(link, findings) | {"settings": unwise}))
    else:
        _show(link, findings)
        for warning in unwise:
            click.echo(f"note: {warning}")
    if not _is_well(link, findings):
        raise SystemExit(FOUND_WRONG)


def _look(side: str | None) -> tuple[EndpointCheck | None, tuple[Finding, ...], tuple[str, ...]]:
    from ar_sync_pipeline.catalog.loader import load_catalog  # noqa: PLC0415  when it runs
    from ar_sync_pipeline.cli.environment import operator_environment  # noqa: PLC0415
    from ar_sync_pipeline.settings import (  # noqa: PLC0415
        load_receiver_settings,
        load_sender_settings,
    )
    from ar_sync_pipeline.sync.watch.check import check_endpoint  # noqa: PLC0415
    from ar_sync_pipeline.sync.watch.preflight import check_receiver, check_sender  # noqa: PLC0415

    environment = operator_environment()
    of_receiver = "AR_SYNC_RECEIVER_DATABASE_URL" in environment
    of_sender = "AR_SYNC_SENDER_DATABASE_URL" in environment
    if side == "receiver" or (side is None and of_receiver and not of_sender):
        receiver = load_receiver_settings(environment)
        url = receiver.receiver_database_url.get_secret_value()
        return None, check_receiver(url, load_catalog(receiver.catalog)), receiver.warnings
    sender = load_sender_settings(environment)
    catalog = load_catalog(sender.catalog)
    findings = check_sender(sender.sender_database_url.get_secret_value(), catalog)
    return check_endpoint(sender, lambda: datetime.now(UTC)), findings, sender.warnings


def _is_well(link: EndpointCheck | None, findings: tuple[Finding, ...]) -> bool:
    from ar_sync_pipeline.postgres.findings import errors_of  # noqa: PLC0415  when it runs

    return not errors_of(findings) and (link is None or link.failed is None)


def _as_dict(link: EndpointCheck | None, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """The stable shape of ``--json``; the receiver has no steps."""
    nothing: dict[str, Any] = {"warnings": 0, "seconds": 0.0, "steps": []}
    steps = link.as_dict() if link else nothing
    return {
        "ok": _is_well(link, findings),
        "warnings": steps["warnings"] + _count(findings, "warning"),
        "seconds": steps["seconds"],
        "steps": steps["steps"],
        "findings": [
            {"level": str(found.level), "problem": found.problem, "remedy": found.remedy}
            for found in findings
        ],
    }


def _count(findings: tuple[Finding, ...], level: str) -> int:
    return sum(found.level == level for found in findings)


def _show(link: EndpointCheck | None, findings: tuple[Finding, ...]) -> None:
    from rich.console import Console  # noqa: PLC0415  only people need it
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    for found in findings:
        console.print(shown(f"{found.level}: {found}"), soft_wrap=True)
    if link is not None:
        from ar_sync_pipeline.sync.watch.check import milliseconds  # noqa: PLC0415

        table = Table("step", "", "ms", "found", box=None)
        table.columns[2].justify = "right"
        table.columns[3].overflow = "fold"  # a fingerprint is there to be compared
        for step in link.steps:
            words = step.detail if step.remedy is None else f"{step.detail}: {step.remedy}"
            table.add_row(step.name, str(step.outcome), milliseconds(step), shown(words))
        console.print(table)
    console.print(shown(_verdict(link, findings)), soft_wrap=True)


def _verdict(link: EndpointCheck | None, findings: tuple[Finding, ...]) -> str:
    errors, warned = _count(findings, "error"), _count(findings, "warning")
    seconds = ""
    if link is not None:
        warned += len(link.warnings)
        seconds = f" ({link.seconds:.1f} s)"
        if link.failed is not None:
            return f"{link.failed.name} failed.{seconds}"
    if errors:
        return f"{errors} finding{'s are errors' if errors > 1 else ' is an error'}.{seconds}"
    noted = f", with {warned} warning{'s' * (warned > 1)}" if warned else ""
    able = "Archives can be published" if link is not None else "Archives can be loaded"
    return f"{able}{noted}.{seconds}"
