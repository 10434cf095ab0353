"""``ar-sync import-settings``: the old system's settings as files of settings for both sides."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ar_sync_pipeline.cli.reporting import USAGE_MISTAKE, fail, json_option, plain
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.legacy import import_settings as engine
from ar_sync_pipeline.sync.setup.new_files import write_new_files

_PATH = click.Path(path_type=Path)


@click.command("import-settings")
@click.argument("files", nargs=-1, type=_PATH)
@click.option("--sender", multiple=True, type=_PATH, help="A file of the sender; repeatable.")
@click.option("--receiver", multiple=True, type=_PATH, help="A file of the receiver; repeatable.")
@click.option("--folder", type=_PATH, help="Write sender.env and receiver.env into this folder.")
@json_option
def import_settings(
    files: tuple[Path, ...],
    sender: tuple[Path, ...],
    receiver: tuple[Path, ...],
    folder: Path | None,
    as_json: bool,
) -> None:
    """Translate the old system's settings: settings.py and android_requests_backups.py.

    FILES are read as data and never executed. Those of both servers may be named together; what is
    in them says whose they are, else --sender or --receiver does. Both sides' .env are printed,
    each value with its origin and with what changed; a password is not shown. With --folder they
    are written as sender.env and receiver.env, passwords included, readable for their owner only.

    Exit codes: 0 printed or written; 2 a file cannot be read, may be of either server, or would be
    overwritten.
    """
    if not (files or sender or receiver):
        raise click.UsageError("name the old settings.py or android_requests_backups.py")
    try:
        imported = engine.import_settings(files, sender, receiver)
        if folder is not None:
            texts = {s: imported.env(s, with_secrets=True) for s in engine.SIDES}
            write_new_files({folder / f"{side}.env": text for side, text in texts.items()})
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_MISTAKE)
    except OSError as error:
        raise click.UsageError(f"{folder} cannot be written to ({error.strerror})") from error
    shown = {side: imported.env(side, with_secrets=False) for side in engine.SIDES}
    if as_json:
        click.echo(json.dumps({"ok": True, **shown, "left_out": list(imported.left_out)}))
        return
    for side, text in shown.items():
        click.echo(f"# ----- {side}.env -----\n{text}")
    click.echo("# ----- without a counterpart -----")
    for line in imported.left_out:
        click.echo(plain(f"# {line}"))
