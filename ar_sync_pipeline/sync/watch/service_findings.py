"""Checks of other services that a side needs: a transform program, a mail server, Dagster."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.files import is_kind, may
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.load.postprocess import choose_transform
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline.transform.specification import CommandTransform, command_line

_LONGEST_SHEBANG = 256


def transform_findings(
    settings: ReceiverSettings, catalog: Catalog, clock: Clock
) -> Iterator[Finding]:
    """Check whether the transform can be started, without starting it.

    Raises:
        TransformSpecificationError: The setting or one of its placeholders is invalid.
    """
    transform = choose_transform(settings, catalog)
    if not isinstance(transform, CommandTransform):
        return
    now = clock()
    program = command_line(transform, archive="x", minutes=1, window_start=now, window_end=now)[0]
    if "/" not in program and shutil.which(program):
        yield Finding(
            Level.NOTE,
            f"the transform program {program} is looked up in PATH, here {shutil.which(program)}",
            "write its whole path into AR_SYNC_TRANSFORM, since a service has another PATH",
        )
        return
    problem = _program_problem(Path(program))
    if problem is not None:
        what, remedy = problem
        yield Finding(Level.ERROR, f"the transform program {program} {what}", remedy)


def mail_findings(settings: SenderSettings | ReceiverSettings, clock: Clock) -> Iterator[Finding]:
    """Check whether the mail server accepts connections and the login; no mail is sent."""
    mail = open_alerts(settings, clock).mail
    if mail is None:
        return
    try:
        mail.check_server()
    except DeliveryError as error:
        yield Finding(
            Level.WARNING,
            f"no alert can be mailed: {error.problem}",
            "start the mail server, or correct AR_SYNC_EMAIL_HOST, AR_SYNC_EMAIL_PORT,"
            " AR_SYNC_EMAIL_HOST_USER, AR_SYNC_EMAIL_HOST_PASSWORD or AR_SYNC_EMAIL_USE_TLS; then"
            " run ar-sync alert-test",
        )


def dagster_findings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check whether `dagster` can be started by hand in this environment and folder.

    Else it fails with a traceback of its own, before the code location is loaded.
    """
    given = environ.get("DAGSTER_HOME", "")
    if not given:
        if not may(Path(), os.W_OK | os.X_OK):
            yield Finding(
                Level.NOTE,
                "DAGSTER_HOME is not set, and a `dagster` that is started by hand fails without it"
                f" in {Path.cwd()}, where this account cannot make a folder for its runs",
                "export DAGSTER_HOME with the path of the folder that has dagster.yaml, such as"
                " /var/lib/ar_sync/dagster",
            )
        return
    # Unlike Path.expanduser, it leaves the name of an unknown account as it is.
    home = Path(os.path.expanduser(given))  # noqa: PTH111
    if not (home.is_absolute() and is_kind(Path.is_dir, home) and may(home, os.W_OK | os.X_OK)):
        yield Finding(
            Level.WARNING,
            f"DAGSTER_HOME={given} is no folder that this account can write to, so a `dagster`"
            " that is started by hand fails",
            "make the folder for the account that runs Dagster, and give its whole path",
        )


def _program_problem(program: Path) -> tuple[str, str] | None:
    correct = "correct the path in AR_SYNC_TRANSFORM"
    if not program.is_absolute():
        found = "is relative, and Dagster runs in another folder" if len(program.parts) > 1 else ""
        return found or "is not found in PATH", "write its whole path into AR_SYNC_TRANSFORM"
    if not program.exists():
        return "does not exist", correct
    if not program.is_file():
        return "is no file", correct
    if not os.access(program, os.X_OK):
        return "cannot be executed by this account", f"chmod +x {shlex.quote(str(program))}"
    interpreter = _interpreter(program)
    if interpreter is not None and not interpreter.exists():
        return (
            f"names the interpreter {interpreter}, which does not exist",
            "install the interpreter, or correct the program's first line",
        )
    return None


def _interpreter(program: Path) -> Path | None:
    """Return the interpreter of a script (execve(2)); None if it has none or cannot be read."""
    try:
        with program.open("rb") as file:
            first = file.read(_LONGEST_SHEBANG).partition(b"\n")[0]
    except OSError:
        return None
    words = first.removeprefix(b"#!").split()
    if not first.startswith(b"#!") or not words:
        return None
    return Path(os.fsdecode(words[0]))
