"""``ar-sync import-settings``: translates the settings of the old system for both sides."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.legacy import import_settings as engine
from ar_sync_pipeline.sync.setup.new_files import write_new_files

_PATH = GivenPath()


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
    """Translate the settings of the old system: settings.py and android_requests_backups.py.

    FILES are read as data and never executed. You can name the files of both servers together;
    their content tells which server they belong to, or you say so with --sender or --receiver. The
    .env of both sides is printed, each value with its origin and its changes, without passwords.
    With --folder they are written as sender.env and receiver.env, with passwords, readable only
    for their owner.

    Exit codes: 0 printed or written; 2 a file cannot be read, may belong to either server, or would
    be overwritten.
    """
    if not (files or sender or receiver):
        raise click.UsageError("name the old settings.py or android_requests_backups.py")
    try:
        imported = engine.import_settings(files, sender, receiver)
        if folder is not None:
            texts = {s: imported.env(s, with_secrets=True) for s in engine.SIDES}
            write_new_files({folder / f"{side}.env": text for side, text in texts.items()})
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
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
