"""Findings about the migration of a machine from the old system."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from ar_sync_pipeline.files import free_space
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.settings.model import OldArchives, ReceiverSettings, SenderSettings
from ar_sync_pipeline.spool.errors import SpoolAccessError, access_to
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.visible_text import counted

_OLD_JOB = re.compile(
    r"AndroidRequestsBackups|android_request_bkps|visualization_backup_(dump|loaddata)"
)
# django-crontab names a job by a hash, so that such a line may be of any application.
_DJANGO_JOB = re.compile(r"manage\.py crontab run|django-cronjobs")
_CRON_FOLDERS = ("etc/cron.d", "var/spool/cron/crontabs", "var/spool/cron")
# Options and variables by which libpq finds files.
_OF_DATABASE = {
    "passfile": "PGPASSFILE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
}
# The certificates of the machine instead of a file (libpq 16 and newer).
_OF_THE_MACHINE = "system"
_WITHOUT_PGPASS = {"PGPASSFILE", "PGPASSWORD"}
# Folders that systemd's ProtectHome and PrivateTmp hide from a service (systemd.exec(5)).
_HIDDEN = ("home", "root", "run/user", "tmp", "var/tmp")
# The old file, its rows as they are converted, and the converted archive.
_TIMES = 3


def moving_in_findings(
    settings: SenderSettings | ReceiverSettings, root: Path = Path("/")
) -> Iterator[Finding]:
    """Return the findings that only the migration from the old system needs.

    Args:
        settings: Settings of the side.
        root: Root of the machine's file system.
    """
    yield from _cron_lines(root)
    paths = {"media folder": _media(settings), **dict(_files(settings))}
    if isinstance(settings, ReceiverSettings):
        paths["spool"] = settings.remote_bkp_fldr
        yield from _old_archives(settings)
    else:
        paths["scratch folder"] = settings.tmp_bkp_fldr
    yield from _hidden(paths, root)


def _media(settings: SenderSettings | ReceiverSettings) -> Path:
    if isinstance(settings, SenderSettings):
        return settings.sender_media_fldr
    return settings.receiver_media_fldr


def _files(settings: SenderSettings | ReceiverSettings) -> Iterator[tuple[str, Path]]:
    """Yield the files that a service reads, each with what it is."""
    files: list[tuple[str, Path | str | None]] = [("catalog", settings.catalog)]
    if isinstance(settings, SenderSettings):
        files += [("private key", settings.private_key), ("known_hosts", settings.known_hosts)]
    given = conninfo_to_dict(settings.database_url)
    for option, variable in _OF_DATABASE.items():
        file = given.get(option) or os.environ.get(variable)
        if file != _OF_THE_MACHINE:
            files.append((f"{option} of the database", str(file) if file else None))
    files.append(("password file", _default_passfile(given)))
    yield from ((what, Path(file)) for what, file in files if file)


def _default_passfile(given: Mapping[str, object]) -> Path | None:
    """Return this account's ``.pgpass``, which the service's account does not have."""
    named = [*_WITHOUT_PGPASS & os.environ.keys(), *{"passfile", "password"} & given.keys()]
    file = Path("~/.pgpass").expanduser()
    return file if not named and file.exists() else None


def _cron_lines(root: Path) -> Iterator[Finding]:
    files, closed = [root / "etc/crontab"], []
    for folder in (root / name for name in _CRON_FOLDERS):
        try:
            files += sorted(folder.iterdir())
        except PermissionError:  # Debian's crontabs/ has mode 1730
            closed.append(folder)
        except OSError:
            continue  # this machine has none
    for path in files:
        try:
            lines = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
        except OSError:
            closed.append(path)
            continue
        yield from _old_jobs(path, lines)
    if closed:
        yield Finding(
            Level.NOTE,
            "this account cannot read every crontab of the machine",
            "run `sudo crontab -l -u root` and look for AndroidRequestsBackups",
        )


def _old_jobs(path: Path, lines: list[str]) -> Iterator[Finding]:
    jobs = {n: line for n, line in enumerate(lines, 1) if not line.lstrip().startswith("#")}
    old = {n: found[0] for n, line in jobs.items() if (found := _OLD_JOB.search(line))}
    if old:
        yield Finding(
            Level.WARNING,
            f"{path} still starts the old system ({_first_of(old)})",
            "remove the lines, by `manage.py crontab remove` or `crontab -e` of that account,"
            " when this side takes over",
        )
    unclear = {
        n: found[0]
        for n, line in jobs.items()
        if n not in old and (found := _DJANGO_JOB.search(line))
    }
    if unclear:
        yield Finding(
            Level.WARNING,
            f"{path} has jobs of django-crontab that may be the old system ({_first_of(unclear)})",
            "run `manage.py crontab show` there; if it names AndroidRequestsBackups, remove these"
            " lines by `crontab -e` of that account when this side takes over",
        )


def _first_of(found: Mapping[int, str]) -> str:
    """Return where the first line is; the rest of a line may have a password."""
    number, words = next(iter(found.items()))
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"line {number}: {words}{more}"


def _hidden(paths: dict[str, Path], root: Path) -> Iterator[Finding]:
    for what, path in paths.items():
        place = path.resolve()
        if any(place.is_relative_to(root / hidden) for hidden in _HIDDEN):
            yield Finding(
                Level.WARNING,
                f"the {what} {path} is hidden from services that run by the units of deploy/"
                " (ProtectHome, PrivateTmp)",
                "move it to /etc/ar_sync, /srv or /var/lib, or bind it in as docs/deployment.md"
                " shows",
            )


def _old_archives(settings: ReceiverSettings) -> Iterator[Finding]:
    spool = settings.remote_bkp_fldr
    try:
        found = list(other_archives(settings))
    except (OSError, SpoolAccessError):
        return  # the check of the spool reports it
    if not found:
        yield Finding(
            Level.NOTE,
            f"no archive of the old sender is in {spool}",
            "compare AR_SYNC_REMOTE_BKP_FLDR with the old REMOTE_BKP_FLDR, which has the folders"
            " complete and partial",
        )
        return
    if waiting := [archive for archive in found if archive.state is SpoolState.WAITING]:
        yield from _conversion(settings, waiting)


def _conversion(settings: ReceiverSettings, waiting: list[SpooledArchive]) -> Iterator[Finding]:
    if settings.old_archives is OldArchives.REFUSE:
        yield Finding(
            Level.ERROR,
            f"{_waiting(waiting)}, and AR_SYNC_OLD_ARCHIVES is refuse",
            "set AR_SYNC_OLD_ARCHIVES=accept until the sender is replaced",
        )
    if settings.signing_key is not None:
        yield Finding(
            Level.ERROR,
            "AR_SYNC_SIGNING_KEY is set, and the old sender signs nothing:"
            f" {counted(len(waiting), 'archive')} would be quarantined",
            "unset it until the sender is replaced",
        )
    if not settings.old_time:
        yield Finding(
            Level.WARNING,
            "AR_SYNC_OLD_TIME is not set, so that partials of the old sender count as the"
            f" {settings.time} minutes of AR_SYNC_TIME, and a lost one may not be noticed",
            "set it to the TIME of ANDROID_REQUESTS_BACKUPS in the old sender's settings",
        )
    largest = max(waiting, key=lambda archive: archive.size_bytes)
    with access_to(settings.remote_bkp_fldr):
        space = free_space(settings.remote_bkp_fldr)
    if space.is_too_small_for(_TIMES * largest.size_bytes):
        yield Finding(
            Level.ERROR,
            f"{largest.path.name} has {largest.size_bytes:,} bytes, and its conversion needs"
            f" {_TIMES} times as many, where {space.free_bytes:,} are free",
            f"free space on the file system of {shlex.quote(str(settings.remote_bkp_fldr))}",
        )
    yield Finding(
        Level.NOTE,
        f"{_waiting(waiting)}, the newest is {waiting[-1].path.name}",
        "when it is converted, run `ar-sync plan` on it to see which rows it would delete",
    )


def _waiting(waiting: list[SpooledArchive]) -> str:
    return counted(
        len(waiting), "archive of the old sender waits", "archives of the old sender wait"
    )
