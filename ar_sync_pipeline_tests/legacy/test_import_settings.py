"""The old system's settings become both sides' files of settings, without being executed."""

from __future__ import annotations

import io
import json
import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.legacy.import_settings import ImportedSettings, import_settings
from ar_sync_pipeline.legacy.old_settings import NEW, NO_COUNTERPART, RULES
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    load_receiver_settings,
    load_sender_settings,
    variables,
)

MANUAL = Path(__file__).parents[2] / "docs" / "migration.md"
SECRET = "hunter2-long"

SENDER_BACKUPS = """
ANDROID_REQUESTS_BACKUPS = {
\t'TMP_BKP_FLDR'    : '/srv/backup_viz',
\t'REMOTE_BKP_FLDR' : '/home/viz/bkps',
\t'TIME'            : 5,
\t'PRIVATE_KEY'     : '/root/.ssh/id_rsa',
\t'REMOTE_HOST'     : '192.0.2.7',
\t'REMOTE_USER'     : 'viz',
\t'TEST_USER'       : 'somebody',
}

def android_requests_backups_update_jobs(cronjobs):
    cronjobs.append(('30  3 * * *', 'AndroidRequestsBackups.jobs.complete_dump', '> /tmp/a.txt'))
    cronjobs.append(('*/5 * * * *', 'AndroidRequestsBackups.jobs.partial_dump', '> /tmp/b.txt'),)
    cronjobs.append(('0 */1 * * *', 'AndroidRequestsBackups.jobs.ssh_sftp_checker', ''))
    return cronjobs
"""
RECEIVER_BACKUPS = """
ANDROID_REQUESTS_BACKUPS = {}
ANDROID_REQUESTS_BACKUPS['REMOTE_BKP_FLDR'] = "/home/viz/bkps"
ANDROID_REQUESTS_BACKUPS['TIME'] = 5
ANDROID_REQUESTS_BACKUPS['BKPS_LIFETIME'] = 10
CRONJOBS = [('0 */1 * * *', 'AndroidRequestsBackups.jobs.complete_loaddata', '> /tmp/c.txt')]
"""
SETTINGS = f"""
import os
from server.keys.android_requests_backups import ANDROID_REQUESTS_BACKUPS
BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEDIA_ROOT = os.path.join(BASE_DIR, 'media')
MEDIA_IMAGE = os.path.join(MEDIA_ROOT, 'reported_images')
TIME_ZONE = 'America/Santiago'
ADMINS = (('Ana', 'ana@example.org'), ('Bo', 'bo@example.org'))
DATABASES = {{'default': {{'ENGINE': 'django.db.backends.postgresql', 'NAME': 'transapp',
    'USER': 'inspector', 'PASSWORD': '{SECRET}', 'HOST': '', 'PORT': '5433'}}}}
EMAIL_HOST = 'smtp.example.org'
EMAIL_PORT = 587
EMAIL_USE_TLS = True
EMAIL_HOST_PASSWORD = '{SECRET}'
SERVER_EMAIL = 'server@example.org'
EMAIL_SUBJECT_PREFIX = '[x]'
CRONTAB_LOCK_JOBS = True
"""


def write(folder: Path, **sources: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = []
    for name, source in sources.items():
        files.append(folder / f"{name}.py")
        files[-1].write_text(source)
    return files


def env(imported: ImportedSettings, side: str) -> dict[str, str | None]:
    return dotenv_values(stream=io.StringIO(imported.env(side, with_secrets=True)))


def call(*words: str) -> Result:
    return CliRunner().invoke(main, ["import-settings", *words])


def test_both_servers_files_give_both_sides_settings(tmp_path: Path) -> None:
    sender = write(tmp_path / "sender", settings=SETTINGS, backups=SENDER_BACKUPS)
    receiver = write(tmp_path / "receiver", backups=RECEIVER_BACKUPS)
    imported = import_settings([*sender[1:], *receiver], of_sender=sender[:1])
    assert env(imported, "sender") == {
        "AR_SYNC_SENDER_DATABASE_URL": "postgresql://ar_sync_sender@:5433/transapp",
        "AR_SYNC_SENDER_MEDIA_FLDR": f"{tmp_path}/media/reported_images",
        "AR_SYNC_PARTIAL_INTERVAL": "5",
        "AR_SYNC_TIME": "15",
        "AR_SYNC_COMPLETE_CRON": "30 3 * * *",
        "AR_SYNC_TIMEZONE": "America/Santiago",
        "AR_SYNC_ADMINS": "ana@example.org,bo@example.org",
        "AR_SYNC_EMAIL_HOST": "smtp.example.org",
        "AR_SYNC_EMAIL_PORT": "587",
        "AR_SYNC_EMAIL_HOST_PASSWORD": SECRET,
        "AR_SYNC_EMAIL_USE_TLS": "true",
        "AR_SYNC_SERVER_EMAIL": "server@example.org",
        "AR_SYNC_TMP_BKP_FLDR": "/srv/backup_viz",
        "AR_SYNC_REMOTE_HOST": "192.0.2.7",
        "AR_SYNC_REMOTE_USER": "viz",
        "AR_SYNC_PRIVATE_KEY": "/root/.ssh/id_rsa",
        "AR_SYNC_REMOTE_BKP_FLDR": "/home/viz/bkps",
    }
    assert env(imported, "receiver") == {
        "AR_SYNC_PARTIAL_INTERVAL": "5",
        "AR_SYNC_TIME": "15",
        "AR_SYNC_OLD_TIME": "5",
        "AR_SYNC_COMPLETE_CRON": "30 3 * * *",
        "AR_SYNC_TIMEZONE": "America/Santiago",
        "AR_SYNC_REMOTE_BKP_FLDR": "/home/viz/bkps",
        "AR_SYNC_BKPS_LIFETIME": "10",
    }
    said = imported.env("sender", with_secrets=True)
    assert "From ANDROID_REQUESTS_BACKUPS['TIME'] (backups.py:5)." in said
    assert "5 is too small: with windows of 5 minutes only one archive would contain" in said
    assert "New: the host key" in said
    assert {line.partition(" (")[0] for line in imported.left_out} == {
        "ANDROID_REQUESTS_BACKUPS['TEST_USER']",
        "AndroidRequestsBackups.jobs.ssh_sftp_checker",
        "AndroidRequestsBackups.jobs.complete_loaddata",
        "EMAIL_SUBJECT_PREFIX",
        "CRONTAB_LOCK_JOBS",
    }


def test_what_is_imported_loads_once_the_folders_are_there(tmp_path: Path) -> None:
    backups = SENDER_BACKUPS
    for name in ("/srv/backup_viz", "/root/.ssh"):
        (tmp_path / name[1:]).mkdir(parents=True)
        backups = backups.replace(name, f"{tmp_path}{name}")
    (tmp_path / "root/.ssh/id_rsa").touch()
    (tmp_path / "known_hosts").touch()
    (tmp_path / "media/reported_images").mkdir(parents=True)
    (tmp_path / "spool").mkdir()
    sender = write(tmp_path / "sender", settings=SETTINGS, backups=backups)
    receiver = write(
        tmp_path / "receiver",
        settings=SETTINGS,
        backups=RECEIVER_BACKUPS.replace("/home/viz/bkps", f"{tmp_path}/spool"),
    )
    imported = import_settings([], sender, receiver)
    known_hosts = {"AR_SYNC_KNOWN_HOSTS": str(tmp_path / "known_hosts")}
    loaded = load_sender_settings(filled(imported, "sender") | known_hosts)
    assert (loaded.time, loaded.admins) == (15, ("ana@example.org", "bo@example.org"))
    assert load_receiver_settings(filled(imported, "receiver")).bkps_lifetime == 10


def filled(imported: ImportedSettings, side: str) -> dict[str, str]:
    return {name: value or "" for name, value in env(imported, side).items()}


def test_first_versions_had_a_name_for_each_setting(tmp_path: Path) -> None:
    source = 'ANDROID_REQUESTS_BACKUPS_TIME = "60"\nANDROID_REQUESTS_BACKUPS_REMOTE_HOST = "viz"\n'
    imported = import_settings(write(tmp_path, old=source))
    assert env(imported, "sender") == {"AR_SYNC_TIME": "60", "AR_SYNC_REMOTE_HOST": "viz"}
    assert env(imported, "receiver") == {"AR_SYNC_TIME": "60", "AR_SYNC_OLD_TIME": "60"}


def test_old_partials_look_back_as_far_as_the_old_senders_file_says(tmp_path: Path) -> None:
    sender = write(tmp_path / "sender", backups=SENDER_BACKUPS)
    receiver = write(tmp_path / "receiver", backups=RECEIVER_BACKUPS.replace("= 5", "= 30"))
    values = env(import_settings([], sender, receiver), "receiver")
    assert (values["AR_SYNC_TIME"], values["AR_SYNC_OLD_TIME"]) == ("30", "5")


@pytest.mark.parametrize(
    ("schedule", "time", "expected"),
    [
        ("*/10 * * * *", 15, ("10", "20")),
        ("*/10 * * * *", 60, ("10", "60")),
        ("*/7 * * * *", 10, ("5", "10")),
        ("2-58/5 * * * *", 5, ("5", "15")),
        ("* * * * *", 1, ("1", "15")),
        ("*/1 * * * *", 1, ("1", "15")),
        ("0,15,30,45 * * * *", 15, ("15", "30")),
        ("7 * * * *", 60, ("60", "120")),
    ],
)
def test_time_is_at_least_two_windows(
    tmp_path: Path, schedule: str, time: int, expected: tuple[str, str]
) -> None:
    source = (
        f"ANDROID_REQUESTS_BACKUPS = {{'TIME': {time}}}\n"
        f"CRONJOBS = [('{schedule}', 'AndroidRequestsBackups.jobs.partial_dump')]\n"
    )
    values = env(import_settings(write(tmp_path, x=source)), "sender")
    assert (values["AR_SYNC_PARTIAL_INTERVAL"], values["AR_SYNC_TIME"]) == expected


@pytest.mark.parametrize(
    ("schedule", "is_read"),
    [
        ("* * * * *", True),
        ("3-59/4 * * * *", True),
        ("*/7 * * * *", False),
        ("0,5,15 * * * *", False),
        ("*/5 6-23 * * *", False),
        ("@hourly", False),
        ("every now and then", False),
    ],
)
def test_schedule_that_is_no_interval_is_told(
    tmp_path: Path, schedule: str, *, is_read: bool
) -> None:
    source = f"CRONJOBS = [('{schedule}', 'AndroidRequestsBackups.jobs.partial_dump')]\n"
    text = import_settings(write(tmp_path, x=source)).env("sender", with_secrets=True)
    assert (f"The schedule {schedule} does not run every N minutes" in text) is not is_read


def test_nothing_is_executed_and_what_only_a_run_would_tell_is_left_to_a_person(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    source = f"""
import os
open({str(trace)!r}, 'w').close()
TIME_ZONE = __import__('os').system('touch {trace}')
ANDROID_REQUESTS_BACKUPS = {{'REMOTE_HOST': os.environ['HOST'], 'REMOTE_USER': 'viz',
    'PRIVATE_KEY': '%s' % 1, 'TMP_BKP_FLDR': (lambda: 1)()}}
DATABASES = dict(default=dict(PASSWORD='{SECRET}'))
EMAIL_HOST = 'a'
EMAIL_HOST += '.example.org'
ADMINS = [('Ana', 'ana@example.org')]
ADMINS.append(('Bo', os.environ['BO']))
if os.environ.get('X'):
    SERVER_EMAIL = 'one@example.org'
else:
    SERVER_EMAIL = 'two@example.org'
from .local import *
"""
    imported = import_settings(write(tmp_path, hostile=source))
    assert not trace.exists()
    text = imported.env("sender", with_secrets=True)
    assert SECRET not in text
    assert env(imported, "sender") == {
        "AR_SYNC_REMOTE_USER": "viz",
        "AR_SYNC_EMAIL_HOST": "a.example.org",
        "AR_SYNC_SERVER_EMAIL": "two@example.org",
    }
    for name in ("REMOTE_HOST", "ADMINS", "PRIVATE_KEY", "TMP_BKP_FLDR", "TIMEZONE"):
        assert f"\n#AR_SYNC_{name}=\n" in text
    assert "under a condition" in text
    assert imported.left_out == (
        "import * (hostile.py:16): its settings are unknown; name that file, too",
    )


def test_a_value_that_is_changed_later_is_read_as_it_is_then(tmp_path: Path) -> None:
    source = """
DATABASES = {'default': {'NAME': 'one', 'HOST': 'a b@/'}}
DATABASES['default']['NAME'] = 'two ñ'
OTHER = DATABASES['default']['NAME']
ANDROID_REQUESTS_BACKUPS = {'REMOTE_HOST': OTHER, 'TIME': 15}
ANDROID_REQUESTS_BACKUPS.update(TIME=20)
"""
    imported = import_settings([], write(tmp_path, changed=source))
    assert "#AR_SYNC_REMOTE_HOST=\n" in imported.env("sender", with_secrets=True)
    assert "AR_SYNC_TIME" not in env(imported, "receiver")
    files = write(tmp_path, changed=source.replace("ANDROID_REQUESTS_BACKUPS.update(TIME=20)", ""))
    values = env(import_settings(files), "sender")
    assert values["AR_SYNC_REMOTE_HOST"] == "two ñ"
    assert values["AR_SYNC_SENDER_DATABASE_URL"] == (
        "postgresql://ar_sync_sender@a%20b%40%2F/two%20%C3%B1"
    )


JOB = "AndroidRequestsBackups.jobs.partial_dump"
TWO_BRANCHES = """
if PRODUCTION:
    DATABASES = {'default': {'NAME': 'prod', 'HOST': 'db.prod'}}
    ANDROID_REQUESTS_BACKUPS = {'REMOTE_HOST': '192.0.2.7', 'TIME': 20}
    CRONJOBS = [('*/10 * * * *', 'AndroidRequestsBackups.jobs.partial_dump')]
else:
    DATABASES = {'default': {'NAME': 'dev', 'HOST': 'localhost'}}
    ANDROID_REQUESTS_BACKUPS = {'REMOTE_HOST': '127.0.0.1', 'TIME': 20}
    CRONJOBS = [('*/5 * * * *', 'AndroidRequestsBackups.jobs.partial_dump')]
"""


def about(
    imported: ImportedSettings, variable: str, side: str = "sender"
) -> tuple[str | None, str]:
    """Return the value of a variable, and its notes."""
    (one,) = [one for one in imported.sides[side] if one.variable == f"AR_SYNC_{variable}"]
    return one.value, " ".join(one.notes)


@pytest.mark.parametrize(
    "variable", ["SENDER_DATABASE_URL", "REMOTE_HOST", "TIME", "PARTIAL_INTERVAL"]
)
def test_every_value_of_a_branch_is_noted(tmp_path: Path, variable: str) -> None:
    imported = import_settings([], write(tmp_path, both=TWO_BRANCHES))
    assert "under a condition" in about(imported, variable)[1]


@pytest.mark.parametrize(
    "source",
    [
        "if X:\n    NAME = 'one'\nDATABASES = {'default': {'NAME': NAME}}",
        "DATABASES = {'default': {'NAME': 'one'}}\nif X:\n    DATABASES['default']['NAME'] = 'b'",
        "if X:\n    DB = {'NAME': 'one'}\nDATABASES = {'default': DB}",
        "match X:\n    case 1:\n        DATABASES = {'default': {'NAME': 'one'}}",
        "try:\n    DATABASES = {'default': {'NAME': 'one'}}\nfinally:\n    pass",
    ],
)
def test_value_that_depends_on_one_of_a_branch_is_noted(tmp_path: Path, source: str) -> None:
    imported = import_settings([], write(tmp_path, x=source))
    assert "under a condition" in about(imported, "SENDER_DATABASE_URL")[1]


def test_value_that_replaces_one_of_a_branch_has_no_note(tmp_path: Path) -> None:
    imported = import_settings(
        [],
        write(
            tmp_path,
            x=f"{TWO_BRANCHES}\nDATABASES = {{}}\nDATABASES['default'] = {{'NAME': 'one'}}",
        ),
    )
    assert "under a condition" not in about(imported, "SENDER_DATABASE_URL")[1]


@pytest.mark.parametrize(
    "change",
    [
        "(EMAIL_HOST, EMAIL_PORT) = mail()",
        "[A, *EMAIL_HOST] = mail()",
        "for EMAIL_HOST in hosts: pass",
        "for host in hosts:\n    EMAIL_HOST += host",
        "while X:\n    if Y:\n        EMAIL_HOST = 'b'",
        "del EMAIL_HOST",
        "with mail() as EMAIL_HOST: pass",
        "from local_settings import EMAIL_HOST",
        "try:\n    from local_settings import HOST as EMAIL_HOST\nexcept ImportError:\n    pass",
    ],
)
def test_value_that_only_a_run_would_change_is_left_to_a_person(
    tmp_path: Path, change: str
) -> None:
    imported = import_settings([], write(tmp_path, x=f"EMAIL_HOST = 'a'\n{change}"))
    value, notes = about(imported, "EMAIL_HOST")
    assert value is None
    assert "known only when the program runs" in notes


@pytest.mark.parametrize(
    "change",
    [
        "for key in keys:\n    ANDROID_REQUESTS_BACKUPS[key] = 1",
        "ANDROID_REQUESTS_BACKUPS[KEY] = 1",
        "ANDROID_REQUESTS_BACKUPS['REMOTE_HOST'], x = y",
        "del ANDROID_REQUESTS_BACKUPS['REMOTE_HOST']",
        "for key in keys:\n    ANDROID_REQUESTS_BACKUPS.pop(key)",
    ],
)
def test_key_that_only_a_run_would_change_is_left_to_a_person(tmp_path: Path, change: str) -> None:
    source = f"ANDROID_REQUESTS_BACKUPS = {{'REMOTE_HOST': 'a'}}\n{change}"
    imported = import_settings([], write(tmp_path, x=source))
    assert about(imported, "REMOTE_HOST")[0] is None


@pytest.mark.parametrize(
    ("source", "expected", "note"),
    [
        (f"CRONJOBS = [['*/10 * * * *', '{JOB}']]", "10", ""),
        (f"CRONJOBS = [('*/10 * * * *', '{JOB}') if X else None]", "10", "under a condition"),
        (f"CRONJOBS = X and [('*/10 * * * *', '{JOB}')]", "10", "under a condition"),
        (f"CRONJOBS = [(when(), '{JOB}')]", None, "known only when the program runs"),
    ],
)
def test_jobs_are_read_wherever_they_are_listed(
    tmp_path: Path, source: str, expected: str | None, note: str
) -> None:
    value, notes = about(import_settings([], write(tmp_path, x=source)), "PARTIAL_INTERVAL")
    assert value == expected
    assert note in notes
    assert ("under a condition" in notes) is (note == "under a condition")


BASE = """
DATABASES = {'default': {'NAME': 'dev', 'HOST': 'localhost'}}
MEDIA_IMAGE = '/tmp/dev'
ANDROID_REQUESTS_BACKUPS = {'REMOTE_HOST': '192.0.2.7'}
"""
PRODUCTION = """
from .base import *
DATABASES = {'default': {'NAME': 'prod', 'HOST': 'db.prod'}}
MEDIA_IMAGE = '/srv/prod'
"""


@pytest.mark.parametrize("order", [["base", "production"], ["production", "base"]])
@pytest.mark.parametrize("sided", [True, False])
def test_file_that_imports_another_one_overrides_it(
    tmp_path: Path, order: list[str], *, sided: bool
) -> None:
    write(tmp_path, base=BASE, production=PRODUCTION)
    files = [tmp_path / f"{name}.py" for name in order]
    imported = import_settings([], files) if sided else import_settings(files)
    assert env(imported, "sender") == {
        "AR_SYNC_SENDER_DATABASE_URL": "postgresql://ar_sync_sender@db.prod/prod",
        "AR_SYNC_SENDER_MEDIA_FLDR": "/srv/prod",
        "AR_SYNC_REMOTE_HOST": "192.0.2.7",
    }
    assert imported.left_out == ()


@pytest.mark.parametrize("order", [["settings", "local"], ["local", "settings"]])
def test_names_that_a_file_imports_have_the_values_of_the_other_file(
    tmp_path: Path, order: list[str]
) -> None:
    write(
        tmp_path,
        settings="EMAIL_HOST = 'a'\nEMAIL_PORT = 1\nfrom server.local import EMAIL_HOST, ADMINS",
        local="EMAIL_HOST = 'b'\nEMAIL_PORT = 2\nSERVER_EMAIL = 'c@example.org'",
    )
    imported = import_settings([], [tmp_path / f"{name}.py" for name in order])
    assert env(imported, "sender") == {
        "AR_SYNC_EMAIL_HOST": "b",
        "AR_SYNC_EMAIL_PORT": "1",
        "AR_SYNC_SERVER_EMAIL": "c@example.org",
    }


def test_files_that_import_each_other_are_read_once(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        settings="TIME_ZONE = 'UTC'\nfrom backups import *\nEMAIL_HOST = HOST",
        backups="from settings import TIME_ZONE\nHOST = 'a'",
    )
    imported = import_settings([], files)
    assert env(imported, "sender") == {"AR_SYNC_TIMEZONE": "UTC", "AR_SYNC_EMAIL_HOST": "a"}
    assert imported.left_out == ()


def test_settings_of_a_file_that_was_not_read_are_told(tmp_path: Path) -> None:
    source = """
from os import path
from server.keys import ANDROID_REQUESTS_BACKUPS, SECRET_KEY
from local import MEDIA_IMAGE, TIME_ZONE
exec(open('local.py').read())
TIME_ZONE = 'UTC'
"""
    assert import_settings([], write(tmp_path, x=source)).left_out == (
        "exec (x.py:5): its settings are unknown; name that file, too",
        "import of ANDROID_REQUESTS_BACKUPS (x.py:3): its value is unknown; name that file, too",
        "import of MEDIA_IMAGE (x.py:4): its value is unknown; name that file, too",
    )


def database(folder: Path, content: str) -> ImportedSettings:
    source = f"DATABASES = {{'default': {{'NAME': 'db', 'HOST': 'h', {content}}}}}"
    return import_settings([], write(folder, x=source))


def test_options_of_the_database_are_kept_or_told(tmp_path: Path) -> None:
    options = "'sslmode': 'verify-full', 'sslrootcert': '/etc/a b.pem', 'connect_timeout': 5"
    other = "'isolation_level': 3, 'options': '-c search_path=app'"
    imported = database(tmp_path, f"'OPTIONS': {{{options}, {other}}}")
    assert about(imported, "SENDER_DATABASE_URL")[0] == (
        "postgresql://ar_sync_sender@h/db"
        "?sslmode=verify-full&sslrootcert=%2Fetc%2Fa%20b.pem&connect_timeout=5"
    )
    assert imported.left_out == (
        "DATABASES['default']['OPTIONS']['isolation_level'] (x.py:1): it has no counterpart",
        "DATABASES['default']['OPTIONS']['options'] (x.py:1): name a schema in the catalog",
    )


@pytest.mark.parametrize("options", ["{'sslmode': mode()}", "options()"])
def test_url_without_the_options_that_only_a_run_has_is_not_written(
    tmp_path: Path, options: str
) -> None:
    imported = database(tmp_path, f"'OPTIONS': {options}")
    assert about(imported, "SENDER_DATABASE_URL")[0] is None


@pytest.mark.parametrize(
    ("engine", "is_taken"),
    [
        ("django.db.backends.postgresql_psycopg2", True),
        ("django.contrib.gis.db.backends.postgis", True),
        ("psqlextra.backend", True),
        ("django.db.backends.sqlite3", False),
        ("django.contrib.gis.db.backends.mysql", False),
    ],
)
def test_only_a_database_of_postgresql_becomes_a_url(
    tmp_path: Path, engine: str, *, is_taken: bool
) -> None:
    value, notes = about(database(tmp_path, f"'ENGINE': '{engine}'"), "SENDER_DATABASE_URL")
    assert (value is not None) is is_taken
    assert (f"ENGINE is {engine}, and only PostgreSQL" in notes) is not is_taken


def test_password_is_shown_nowhere_and_written_to_files_of_their_owner_only(tmp_path: Path) -> None:
    files = write(tmp_path, settings=SETTINGS, backups=SENDER_BACKUPS)
    words = [str(path) for path in files]
    shown = call(*words)
    assert shown.exit_code == 0, shown.output
    assert SECRET not in shown.output
    assert "# ----- sender.env -----" in shown.stdout
    assert SECRET not in call(*words, "--json").output
    (tmp_path / "new").mkdir()
    written = call(*words, "--json", "--folder", str(tmp_path / "new"))
    assert list(json.loads(written.stdout)) == ["ok", "sender", "receiver", "left_out"]
    for side in ("sender", "receiver"):
        file = tmp_path / "new" / f"{side}.env"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET in (tmp_path / "new/sender.env").read_text()
    again = call(*words, "--folder", str(tmp_path / "new"))
    assert again.exit_code == 2
    assert "nothing is overwritten" in again.stderr
    assert call(*words, "--folder", str(tmp_path / "nowhere")).exit_code == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\nprint 'python 2'\n", "not Python 3 source in line 2"),
        ("x = 1\n", "may belong to the sender or the receiver"),
        (SENDER_BACKUPS + RECEIVER_BACKUPS, "may belong to the sender or the receiver"),
        ("x = " + "(" * 5000, "not Python 3 source"),
        ("x = '\0'", "not the source of a Python module"),
    ],
)
def test_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, source: str, said: str) -> None:
    shown = call(str(write(tmp_path, settings=source)[0]))
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert "Traceback" not in shown.output


def test_without_a_file_the_call_is_invalid(tmp_path: Path) -> None:
    assert call().exit_code == 2
    assert "cannot be read" in call(str(tmp_path / "missing.py")).stderr


def test_manual_has_the_importers_table() -> None:
    text = MANUAL.read_text().partition("## What becomes of each old setting")[2]
    rows = re.findall(r"^\| `(.+?)` \| (.*?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [
        *(
            (rule.old, shown(rule.sender), shown(rule.receiver), rule.changed or "the same")
            for rule in RULES
        ),
        *((name, "none", "none", why) for name, why in NO_COUNTERPART.items()),
    ]
    assert [f"- `{name}`: {why}." in text for name, why in NEW.items()] == [True] * len(NEW)


def shown(variable: str | None) -> str:
    return f"`{variable}`" if variable else "none"


def test_every_variable_of_the_table_is_one_of_its_side() -> None:
    known = {"sender": variables(SenderSettings), "receiver": variables(ReceiverSettings)}
    for rule in RULES:
        assert rule.sender is None or rule.sender in known["sender"]
        assert rule.receiver is None or rule.receiver in known["receiver"]
    assert NEW.keys() <= known["sender"].keys() | known["receiver"].keys()


@pytest.mark.filterwarnings("always")
def test_line_of_a_password_with_a_backslash_is_not_shown_by_a_warning_of_python(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file = tmp_path / "settings.py"
    file.write_text("EMAIL_HOST = 'mail'\nEMAIL_HOST_PASSWORD = 'pa\\d.ss'\n")
    assert import_settings([], of_sender=[file]).sides["sender"]
    assert not recwarn.list


def test_several_schedules_of_a_job_are_left_to_the_operator(tmp_path: Path) -> None:
    job = "AndroidRequestsBackups.jobs.complete_dump"
    source = f"CRONJOBS = [('30 3 * * *', '{job}'),\n  ('30 15 * * 0', '{job}')]\n"
    imported = import_settings([], write(tmp_path, old=source))
    for side in ("sender", "receiver"):
        (cron,) = (one for one in imported.sides[side] if one.variable == "AR_SYNC_COMPLETE_CRON")
        assert cron.value is None
        assert "(old.py:1, old.py:2)" in cron.notes[0]
    again = source.replace("30 15 * * 0", "30  3 * * *")
    values = env(import_settings([], write(tmp_path, old=again)), "sender")
    assert values["AR_SYNC_COMPLETE_CRON"] == "30 3 * * *"


LISTED = "CRONJOBS = [('{}', 'AndroidRequestsBackups.jobs.partial_dump')]"


@pytest.mark.parametrize("order", [["settings", "local"], ["local", "settings"]])
@pytest.mark.parametrize("imported_by", ["settings", "local"])
def test_schedules_of_a_later_file_replace_those_of_an_earlier_one(
    tmp_path: Path, order: list[str], imported_by: str
) -> None:
    settings, local = LISTED.format("*/5 * * * *"), LISTED.format("*/10 * * * *")
    if imported_by == "settings":
        settings += "\ntry:\n    from local import *\nexcept ImportError:\n    pass"
    else:
        local = f"from settings import *\n{local}"
    write(tmp_path, settings=settings, local=local)
    files = [tmp_path / f"{name}.py" for name in order]
    value, notes = about(import_settings([], files), "PARTIAL_INTERVAL")
    assert value == "10", notes
    assert "local.py:" in notes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("CRONJOBS += [('*/10 * * * *', '{}')]", None),
        ("CRONJOBS = CRONJOBS + [('*/10 * * * *', '{}')]", None),
        ("CRONJOBS.append(('*/10 * * * *', '{}'))", None),
        ("CRONJOBS = [('*/10 * * * *', '{}')]", "10"),
        ("CRONJOBS: list = [('*/10 * * * *', '{}')]", "10"),
        ("CRONJOBS += [('0 3 * * *', 'other')]", "5"),
    ],
)
def test_what_is_added_to_a_list_is_one_more_schedule(
    tmp_path: Path, change: str, expected: str | None
) -> None:
    source = f"{LISTED.format('*/5 * * * *')}\nOTHER = 1\n{change.format(JOB)}\n"
    source += "ANDROID_REQUESTS_BACKUPS = {'TIME': 12}"
    imported = import_settings([], write(tmp_path, x=source))
    value, notes = about(imported, "PARTIAL_INTERVAL")
    assert value == expected
    if expected is None:
        assert "several schedules (*/5 * * * *; */10 * * * *): write one here." in notes
        assert about(imported, "TIME", "receiver")[0] == "20"


def test_numbers_as_text_and_unknown_values_are_no_difference(tmp_path: Path) -> None:
    sender = write(tmp_path / "sender", backups=SENDER_BACKUPS)
    for value in ("'5'", "unknown()"):
        text = RECEIVER_BACKUPS.replace("= 5", f"= {value}")
        assert text != RECEIVER_BACKUPS
        receiver = write(tmp_path / "receiver", backups=text)
        env_text = import_settings([], sender, receiver).env("sender", with_secrets=False)
        assert "both need the same" not in env_text


def test_a_value_that_both_sides_need_alike_is_told_where_the_old_servers_differ(
    tmp_path: Path,
) -> None:
    sender = write(tmp_path / "sender", backups=SENDER_BACKUPS)
    receiver = write(tmp_path / "receiver", backups=RECEIVER_BACKUPS.replace("= 5", "= 30"))
    text = import_settings([], sender, receiver).env("sender", with_secrets=False)
    assert "The other server has 30 (backups.py:4), and both need the same." in text


def test_addresses_are_taken_out_of_names_with_addresses(tmp_path: Path) -> None:
    source = (
        "ADMINS = [('Ana', 'Ana <ana@example.org>'), 'bo@example.org']\n"
        "SERVER_EMAIL = 'TranSapp <root@example.org>'\nEMAIL_USE_SSL = False\n"
    )
    imported = import_settings([], write(tmp_path, old=source))
    values = env(imported, "sender")
    assert values["AR_SYNC_ADMINS"] == "ana@example.org,bo@example.org"
    assert values["AR_SYNC_SERVER_EMAIL"] == "root@example.org"
    assert not any("EMAIL_USE_SSL" in line for line in imported.left_out)
