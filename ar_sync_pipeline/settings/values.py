"""Validators that turn the text of an environment variable into a value or an error with a remedy.

Each one is used by an annotation in `settings.model`. An error says what is wrong and what to do;
it never repeats the value, which may be a secret.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from enum import StrEnum
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import BeforeValidator, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from ar_sync_pipeline.settings.cron import cron_problem

INVALID_VALUE = "setting"
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_ADDRESS = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+")
_LONGEST_PAIR = 40
# First parts of asset keys without a pair, and folders of the state of each side.
_PLAIN_NAMES = frozenset({"sender", "receiver", "complete", "partial", "receiver_endpoint"})
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")


class Side(StrEnum):
    """One of the two servers."""

    SENDER = "sender"
    RECEIVER = "receiver"


class SchemaDrift(StrEnum):
    """What to do with an archive whose columns differ from the receiver's."""

    PARK = "park"
    IGNORE = "ignore"


class CompleteCarries(StrEnum):
    """What a complete carries: what the receiver is not known to have, or everything."""

    CHANGES = "changes"
    EVERYTHING = "everything"


class OldArchives(StrEnum):
    """What to do with archives of the old system (AndroidRequestsBackups)."""

    REFUSE = "refuse"
    ACCEPT = "accept"


def invalid_value(problem: str, remedy: str) -> PydanticCustomError:
    """Return the error of a validator: what is wrong and what to do."""
    return PydanticCustomError(
        INVALID_VALUE, "{problem}: {remedy}", {"problem": problem, "remedy": remedy}
    )


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known word that was most likely meant; None if there is none."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)), None)


def database_label(conninfo: str | SecretStr) -> str:
    """Return ``host:port/database`` of a libpq URL or keyword string, never with a password.

    Missing parts are shown as libpq's defaults. A service is shown by its name. A string that libpq
    cannot read gives ``(unreadable)``.
    """
    text = conninfo.get_secret_value() if isinstance(conninfo, SecretStr) else conninfo
    try:
        parts = conninfo_to_dict(text)
    except (psycopg.Error, UnicodeError):
        return "(unreadable)"
    if "service" in parts and "host" not in parts:
        return f"service {parts['service']}"
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    database = parts.get("dbname") or parts.get("user") or "(default database)"
    return f"{host}:{parts.get('port') or 5432}/{database}"


def plain_text(value: object) -> str:
    """Return a value as text without blanks around it."""
    return str(value).strip()


def whole_number(low: int, high: int, unit: str = "") -> BeforeValidator:
    """Return a validator of integers from ``low`` to ``high``, both included."""
    span = f"{low} to {high}{' ' + unit if unit else ''}"

    def check(value: object) -> int:
        text = plain_text(value)
        if not re.fullmatch(r"-?[0-9]{1,12}", text):
            raise invalid_value("is not a whole number", f"write a whole number, {span}")
        if not low <= int(text) <= high:
            raise invalid_value("is out of range", f"write a whole number, {span}")
        return int(text)

    return BeforeValidator(check)


def divisor_of_hour(value: object) -> int:
    """Parse the minutes of a window; they must divide an hour: windows are aligned to the clock."""
    text = plain_text(value)
    if not re.fullmatch(r"[0-9]{1,2}", text) or not int(text) or 60 % int(text):
        raise invalid_value(
            "does not divide an hour into equal windows",
            "use 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60 minutes",
        )
    return int(text)


def two_windows(minutes: int, info: ValidationInfo, why: str) -> int:
    """Refuse a time that is shorter than two windows; the remedy says why."""
    interval = info.data.get("partial_interval")
    if interval is not None and minutes < 2 * interval:
        raise invalid_value(
            f"is less than twice AR_SYNC_PARTIAL_INTERVAL ({interval} minutes)",
            f"set at least {2 * interval}, {why}",
        )
    return minutes


def yes_or_no(value: object) -> bool:
    """Parse true or false, in the common spellings."""
    text = plain_text(value).lower()
    if text not in _TRUE | _FALSE:
        raise invalid_value("is neither true nor false", "write true or false")
    return text in _TRUE


def one_of(*choices: str) -> BeforeValidator:
    """Return a validator of a fixed set of words."""

    def check(value: object) -> str:
        text = plain_text(value)
        if text not in choices:
            guess = nearest(text, choices)
            hint = f" (did you mean {guess}?)" if guess else ""
            raise invalid_value("is not a known choice", f"write {' or '.join(choices)}{hint}")
        return text

    return BeforeValidator(check)


def word_list(value: object) -> tuple[str, ...]:
    """Parse comma separated words; surrounding blanks are ignored, letter case is kept."""
    words = value if isinstance(value, tuple | list) else str(value).split(",")
    kept = tuple(word for word in (plain_text(word) for word in words) if word)
    if not kept:
        raise invalid_value("names nothing", "write one or more values separated by commas")
    return kept


def words_or_none(value: object) -> tuple[str, ...]:
    """Parse comma separated words, or none."""
    return word_list(value) if value else ()


def file_patterns(value: object) -> tuple[str, ...]:
    """Parse comma separated patterns of files below a media folder, or none."""
    found = words_or_none(value)
    for position, pattern in enumerate(found, start=1):
        if not {"", ".", ".."}.isdisjoint(pattern.split("/")):
            raise invalid_value(
                f"pattern {position} can match no file",
                "write a path relative to the media folder, such as *.jpeg or 2017/*.jpeg",
            )
    return found


def patterns_to_send(value: object) -> tuple[str, ...]:
    """Parse comma separated patterns of files that are sent even if no row names them."""
    found = file_patterns(word_list(value))
    for position, pattern in enumerate(found, start=1):
        if any(part.startswith(".") for part in pattern.split("/")):
            raise invalid_value(
                f"pattern {position} is one of hidden files, which are sent only if a row names"
                " them",
                "remove it, or rename the files",
            )
    return found


def addresses(value: object) -> tuple[str, ...]:
    """Parse comma separated mail addresses without names (``ops@example.org``)."""
    found = words_or_none(value)
    for position, address in enumerate(found, start=1):
        if not _ADDRESS.fullmatch(address):
            raise invalid_value(
                f"entry {position} is not a mail address",
                "write plain addresses such as ops@example.org, separated by commas",
            )
    return found


def address(value: object) -> str:
    """Parse one mail address without a name."""
    if not _ADDRESS.fullmatch(plain_text(value)):
        raise invalid_value(
            "is not a mail address", "write a plain address such as ops@example.org"
        )
    return plain_text(value)


def host_name(value: object) -> str:
    """Parse a host name or IP address, without user, port or scheme."""
    if not _HOST.fullmatch(plain_text(value)):
        raise invalid_value(
            "is not a host name or address",
            "write the name alone; user and port have their own variables",
        )
    return plain_text(value)


def plain_word(value: object) -> str:
    """Parse a short name that is safe in file names, messages and manifests; it may be empty."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,63}", plain_text(value)):
        raise invalid_value(
            "is not a plain name", "use up to 63 ASCII letters, digits, dots, dashes, underscores"
        )
    return plain_text(value)


def pair_name(value: object) -> str:
    """Parse a prefix of names in Dagster, which allows the fewest characters; it may be empty."""
    text = plain_text(value)
    if text and not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", text):
        raise invalid_value(
            "is no name that Dagster can have before others",
            "use letters, digits and single underscores, a letter first, such as santiago_1",
        )
    if len(text) > _LONGEST_PAIR:
        raise invalid_value("is too long", f"use up to {_LONGEST_PAIR} characters")
    if text.lower() in _PLAIN_NAMES:
        raise invalid_value(
            "is what pairs without a name already use", "name the city or the server"
        )
    return text


def libpq_string(value: object) -> object:
    """Validate a connection string with libpq.

    The error does not contain libpq's own message, which may quote the password.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    try:
        conninfo_to_dict(text)
        is_readable = not _has_bare_password(text)
    except (psycopg.Error, UnicodeError):
        is_readable = False
    if not is_readable:
        raise invalid_value(
            "libpq cannot read this connection string",
            "write postgresql://user@host:5432/database, with special characters of the password "
            "percent-encoded, or host=... port=... dbname=... user=...",
        )
    return value


def _has_bare_password(text: str) -> bool:
    """Return whether an @ or / in a URL is not encoded, so that libpq takes a part for the host."""
    scheme, _, rest = text.partition("://")
    authority, _, path = rest.partition("?")[0].partition("/")
    return scheme in {"postgresql", "postgres"} and (authority.count("@") > 1 or "@" in path)


def time_zone(value: object) -> str:
    """Parse a name of the IANA time zone database."""
    text = plain_text(value)
    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        guess = nearest(text, available_timezones())
        raise invalid_value(
            "is not a time zone of the IANA database",
            f"did you mean {guess}?" if guess else "write one such as America/Santiago",
        ) from None
    return text


def cron_line(value: object) -> str:
    """Parse a cron expression of five fields that can match."""
    text = " ".join(plain_text(value).split())
    if problem := cron_problem(text):
        raise invalid_value(problem, "write minute hour day month weekday, for example 30 3 * * *")
    return text


def transform_choice(value: object) -> str:
    """Parse ``builtin:transapp``, ``none`` or ``command:`` with the words of a command.

    The command is started without a shell.
    """
    text = plain_text(value)
    if text in {"builtin:transapp", "none"}:
        return text
    command = text.removeprefix("command:")
    if command == text:
        raise invalid_value(
            "is not a known transform", "write builtin:transapp, none, or command:<program> <words>"
        )
    try:
        words = shlex.split(command)
    except ValueError:
        raise invalid_value(
            "has an unclosed quote", "close it, or escape it with a backslash"
        ) from None
    if not words:
        raise invalid_value("names no program", "write command:/path/to/program and its words")
    return text


def web_address(value: object) -> object:
    """Validate an http or https URL; no message repeats it, because it may contain a token."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else plain_text(value)
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port, or an invalid address in brackets
        is_valid = False
    if not is_valid or not text.isascii() or not text.isprintable() or " " in text:
        raise invalid_value(
            "is not a web address", "write https://host/path, with odd characters percent-encoded"
        )
    return value
