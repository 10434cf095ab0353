"""Translation of each setting of the old system: the table in docs/migration.md, as data."""

from __future__ import annotations

from dataclasses import dataclass

BACKUPS = "ANDROID_REQUESTS_BACKUPS"
DATABASE = "DATABASES['default']"
JOBS = "AndroidRequestsBackups.jobs"


@dataclass(frozen=True)
class Rule:
    """One old setting and the variables that replace it.

    Attributes:
        old: Old setting, as written in ``settings.py``.
        sender: Variable at the sender; None: not used there.
        receiver: Variable at the receiver; None: not used there.
        changed: What is different now; empty if nothing.
        shared: Whether the file of one server sets it for both.
        of_sender: Whether both sides take the old sender's value, if that is known.
    """

    old: str
    sender: str | None
    receiver: str | None
    changed: str = ""
    shared: bool = False
    of_sender: bool = False

    @property
    def place(self) -> tuple[str, ...]:
        """Name and keys of the old setting."""
        return place(self.old)


def place(old: str) -> tuple[str, ...]:
    """Return the name and the keys of an old setting.

    >>> place("DATABASES['default']"), place("ADMINS")
    (('DATABASES', 'default'), ('ADMINS',))
    """
    name, *keys = old.split("[")
    return name, *(key.strip("']") for key in keys)


def _backups(key: str) -> str:
    return f"{BACKUPS}[{key!r}]"


def _mail(name: str, changed: str = "") -> Rule:
    variable = f"AR_SYNC_{name}"
    return Rule(name, variable, variable, changed)


TIME = Rule(
    _backups("TIME"),
    "AR_SYNC_TIME",
    "AR_SYNC_TIME",
    "minutes before the end of a window, no longer before now; at least twice the window, so 15"
    " replaces a smaller one",
    shared=True,
)
OLD_TIME = Rule(
    _backups("TIME"),
    None,
    "AR_SYNC_OLD_TIME",
    "as it is: minutes that partials of the old sender look back",
    shared=True,
    of_sender=True,
)
DATABASE_URL = Rule(
    DATABASE,
    "AR_SYNC_SENDER_DATABASE_URL",
    "AR_SYNC_RECEIVER_DATABASE_URL",
    "a role of its own (`ar-sync grants`) replaces USER, and its password or PGPASSFILE replaces"
    " PASSWORD and the .pgpass of root; OPTIONS of libpq are kept",
)
_URL_OPTIONS = (
    "sslmode sslrootcert sslcert sslkey sslcrl sslnegotiation sslsni ssl_min_protocol_version"
    " ssl_max_protocol_version channel_binding require_auth gssencmode krbsrvname hostaddr"
    " target_session_attrs load_balance_hosts connect_timeout keepalives keepalives_idle"
    " keepalives_interval keepalives_count tcp_user_timeout"
)
URL_OPTIONS = frozenset(_URL_OPTIONS.split())
"""OPTIONS that a database URL has too: how libpq finds the server and trusts it."""
ADMINS = _mail("ADMINS", "addresses only")
SERVER_EMAIL = _mail("SERVER_EMAIL", "address only")
SSL = "EMAIL_USE_SSL"
COMPLETE = Rule(
    f"{JOBS}.complete_dump",
    "AR_SYNC_COMPLETE_CRON",
    "AR_SYNC_COMPLETE_CRON",
    "in AR_SYNC_TIMEZONE",
    shared=True,
    of_sender=True,
)
PARTIAL = Rule(
    f"{JOBS}.partial_dump",
    "AR_SYNC_PARTIAL_INTERVAL",
    "AR_SYNC_PARTIAL_INTERVAL",
    "minutes of a window; they divide an hour",
    shared=True,
    of_sender=True,
)
PASSWORD = _mail("EMAIL_HOST_PASSWORD")

RULES = (
    DATABASE_URL,
    Rule(
        "MEDIA_IMAGE",
        "AR_SYNC_SENDER_MEDIA_FLDR",
        "AR_SYNC_RECEIVER_MEDIA_FLDR",
        "a whole path; subfolders are replicated too",
    ),
    Rule(
        _backups("REMOTE_BKP_FLDR"),
        "AR_SYNC_REMOTE_BKP_FLDR",
        "AR_SYNC_REMOTE_BKP_FLDR",
        "at the sender the path as the SFTP account sees it, which is another one in a chroot",
        shared=True,
    ),
    TIME,
    OLD_TIME,
    PARTIAL,
    COMPLETE,
    Rule(
        "TIME_ZONE",
        "AR_SYNC_TIMEZONE",
        "AR_SYNC_TIMEZONE",
        "old archives are named in this zone",
        shared=True,
        of_sender=True,
    ),
    Rule(
        _backups("TMP_BKP_FLDR"),
        "AR_SYNC_TMP_BKP_FLDR",
        None,
        "the folder must exist, and only the service's account may write to it; not in /tmp",
    ),
    Rule(
        _backups("PRIVATE_KEY"),
        "AR_SYNC_PRIVATE_KEY",
        None,
        "the service does not run as root: make a key that its account can read",
    ),
    Rule(_backups("REMOTE_HOST"), "AR_SYNC_REMOTE_HOST", None),
    Rule(
        _backups("REMOTE_USER"),
        "AR_SYNC_REMOTE_USER",
        None,
        "an account with SFTP alone is enough (docs/receiver_account.md)",
    ),
    Rule(
        _backups("BKPS_LIFETIME"),
        None,
        "AR_SYNC_BKPS_LIFETIME",
        "only applied archives are deleted",
    ),
    ADMINS,
    SERVER_EMAIL,
    _mail("EMAIL_HOST"),
    _mail("EMAIL_PORT"),
    _mail("EMAIL_HOST_USER"),
    PASSWORD,
    _mail("EMAIL_USE_TLS", "STARTTLS; port 465 is encrypted from its beginning"),
)

NO_COUNTERPART = {
    f"{DATABASE}['OPTIONS']['options']": "name a schema in the catalog",
    SSL: "set AR_SYNC_EMAIL_PORT=465 instead",
    "EMAIL_SUBJECT_PREFIX": "subjects name the side and the incident",
    f"{JOBS}.ssh_sftp_checker": "the job of this name runs once an hour by itself",
    f"{JOBS}.complete_loaddata": "a sensor loads what arrives",
    f"{JOBS}.partial_loaddata": "a sensor loads what arrives",
    _backups("TEST_USER"): "`ar-sync check` tests the connection with the real account",
    _backups("TEST_USER_HOME"): "`ar-sync check` leaves nothing behind",
    "CRONTAB_LOCK_JOBS": "one run at a time is held by Dagster and by the database",
    "CRONTAB_COMMAND_SUFFIX": "the output of runs is in Dagster",
}

NEW = {
    "AR_SYNC_KNOWN_HOSTS": "the host key of the SFTP server is pinned: ssh-keyscan, then compare"
    " the fingerprint at the receiver",
    "AR_SYNC_OLD_ARCHIVES": "set it to accept while the old sender still uploads",
}
