"""``ar-sync metrics``: the state of a side in the text format of OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail
from ar_sync_pipeline.cli.side import load_side_without_paths, side_option
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.sync.watch.figures import Figures, measure


@click.command()
@side_option
@click.option(
    "--output",
    type=GivenPath(dir_okay=False),
    help="Replace this file as a whole instead of printing, for the textfile collector of"
    " Prometheus' node exporter, which reads only files whose name ends with .prom.",
)
def metrics(side: str | None, output: Path | None) -> None:
    """Print lag, gaps, archives, free space and incidents for Prometheus (OpenMetrics text).

    The figures are those of `ar-sync status --json` and `ar-sync incidents --json`, all gauges.

    Exit codes: 0 everything was measured, whatever it says; 1 the state of the archives could not
    be read, which the figures say too (ar_sync_readable); 2 invalid settings, or the file
    of incidents or the output file cannot be used.
    """
    try:
        settings, unusable = load_side_without_paths(side)
        found = measure(settings, utc_now(), unusable)
    except ArSyncError as error:
        fail(error, as_json=False, exit_code=USAGE_ERROR)
    text = "".join(open_metrics(found))
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            # The collector runs under another account, and may read it at any moment.
            write_atomically(output, text.encode(), 0o644)
        except OSError as error:
            raise click.BadParameter(f"{output} cannot be written ({error.strerror})") from None
    if found.error is not None:
        fail(found.error, as_json=False, exit_code=FOUND_WRONG)


def open_metrics(figures: Figures) -> Iterator[str]:
    """Return lines of the OpenMetrics text format, which Prometheus' older format can also read."""
    common = {"side": figures.side} | ({"pair": figures.pair} if figures.pair else {})
    for figure in figures.measured:
        yield f"# TYPE {figure.name} gauge\n# HELP {figure.name} {figure.meaning}\n"
        for labels, value in figure.samples:
            listed = ",".join(f'{name}="{text}"' for name, text in (common | dict(labels)).items())
            yield f"{figure.name}{{{listed}}} {_number(value)}\n"
    yield "# EOF\n"


def _number(value: float) -> str:
    """Without an exponent, and whole numbers without a fraction."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
