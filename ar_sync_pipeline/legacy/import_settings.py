"""Translates the settings of the old system for both sides, each value with its origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.legacy import old_settings as old
from ar_sync_pipeline.legacy.python_values import Found, PythonValues, Unreadable
from ar_sync_pipeline.settings.cron import minutes_between_ticks
from ar_sync_pipeline.settings.env_file import UnwritableValueError, env_line
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings, variables
from ar_sync_pipeline.visible_text import visible

SIDES = ("sender", "receiver")
_OF_SENDER = {"TMP_BKP_FLDR", "PRIVATE_KEY", "REMOTE_HOST", "REMOTE_USER"}
_JOB_OF_SENDER = re.compile(
    rf"{re.escape(old.JOBS)}\.(complete_dump|partial_dump|ssh_sftp_checker)"
)
_JOB_OF_RECEIVER = re.compile(rf"{re.escape(old.JOBS)}\.\w+_loaddata")
_FLAT = re.compile(rf"{old.BACKUPS}_(\w+)")
# Names of settings that have a counterpart; the jobs are in a list.
_OPTIONS = f"{old.DATABASE}['OPTIONS']"
_OF_OLD_SYSTEM = (f"{old.BACKUPS}[", f"{old.JOBS}.", f"{_OPTIONS}[")
_IMPORTANT = {*(rule.place[0] for rule in old.RULES), "CRONJOBS"}
_OTHER_DATABASE = re.compile("sqlite|spatialite|mysql|oracle|mssql|sql_server|dummy")
_DEFAULT_INTERVAL, _DEFAULT_TIME = 5, 15


class UnclearSideError(TerminalError):
    """A file of settings may belong to either server."""


@dataclass(frozen=True)
class Imported:
    """Value of one variable from the old settings.

    Attributes:
        value: Value of the variable; None: an operator must set it.
        secret: Whether the value must not be shown.
        notes: Origin of the value, and what changed.
    """

    variable: str
    value: str | None
    secret: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImportedSettings:
    """Variables of both sides, and the old settings without a counterpart.

    Attributes:
        sides: Variables by side, in the order of the documentation.
        left_out: Old settings without a counterpart, each with the reason.
    """

    sides: Mapping[str, tuple[Imported, ...]]
    left_out: tuple[str, ...]

    def env(self, side: str, *, with_secrets: bool) -> str:
        """Return the content of a side's file; without secrets it can be shown."""
        lines = [f"# Settings of the {side}, from those of the old system."]
        for one in self.sides[side]:
            lines += ["", *(f"# {visible(note)}" for note in one.notes)]
            if one.value is None:
                lines.append(f"#{one.variable}=")
            elif one.secret and not with_secrets:
                lines += ["# It is a secret: --folder writes it.", f"#{one.variable}="]
            else:
                lines.append(env_line(one.variable, one.value))
        return "\n".join(lines) + "\n"


def import_settings(
    files: Sequence[Path], of_sender: Sequence[Path] = (), of_receiver: Sequence[Path] = ()
) -> ImportedSettings:
    """Read files of settings of the old system; none of them is executed.

    Args:
        files: Files of either server; their content tells which.

    Raises:
        UnclearSideError: A file may belong to either server.
        UnreadableSourceError: A file is not Python source.
    """
    by_side = _by_side(files, of_sender, of_receiver)
    values = {side: _values(paths) for side, paths in by_side.items()}
    sides = {side: tuple(_side(side, values)) for side in SIDES}
    return ImportedSettings(sides, tuple(_left_out(values)))


def _by_side(
    files: Sequence[Path], of_sender: Sequence[Path], of_receiver: Sequence[Path]
) -> dict[str, list[Path]]:
    found = {"sender": [*of_sender], "receiver": [*of_receiver]}
    unclear = []
    for path in files:
        sides = _evidence(_values([path]))
        if len(sides) == 1:
            found[sides.pop()].append(path)
        else:
            unclear.append(path)
    only = [side for side in SIDES if found[side]]
    if unclear and len(only) != 1:
        raise UnclearSideError(
            f"{', '.join(map(str, unclear))} may belong to the sender or the receiver",
            remedy="name it with --sender FILE or --receiver FILE",
        )
    if unclear:
        # All are of one side, and later files override earlier ones.
        found[only[0]] = [*(of_sender or of_receiver), *files]
    return found


def _evidence(values: PythonValues) -> set[str]:
    sides = set()
    backups = values.find(old.BACKUPS)
    keys = set(backups.value) if backups and isinstance(backups.value, dict) else set()
    if keys & _OF_SENDER:
        sides.add("sender")
    if "BKPS_LIFETIME" in keys:
        sides.add("receiver")
    for name in values.names:
        sides |= {"sender"} if _JOB_OF_SENDER.fullmatch(name) else set()
        sides |= {"receiver"} if _JOB_OF_RECEIVER.fullmatch(name) else set()
    return sides


def _values(paths: Sequence[Path]) -> PythonValues:
    values = PythonValues()
    values.read(paths)
    # The first versions of the old system had a name for each setting.
    for name, found in list(values.names.items()):
        flat = _FLAT.fullmatch(name)
        if flat and values.find(old.BACKUPS, flat[1]) is None:
            values.put(found, old.BACKUPS, flat[1])
    last: dict[str, int] = {}
    for found, job, assignment in values.pairs:
        if job.startswith(f"{old.JOBS}.") and isinstance(found.value, str | Unreadable):
            schedule = found.value
            if isinstance(schedule, str):
                schedule = " ".join(schedule.split())
            # A list that is assigned again, as in local settings, replaces the earlier one.
            earlier = values.find(job) if last.get(job) == assignment else None
            last[job] = assignment
            values.put(_with_earlier(earlier, replace(found, value=schedule)), job)
    return values


def _with_earlier(earlier: Found | None, found: Found) -> Found:
    """Return one schedule, or all of a job that has several: they need one expression."""
    if earlier is None or earlier.value == found.value:
        return found
    schedules = [*(earlier.value if isinstance(earlier.value, list) else [earlier.value])]
    if found.value in schedules:
        return earlier
    return replace(
        found,
        value=[*schedules, found.value],
        origin=f"{earlier.origin}, {found.origin}",
        conditional=earlier.conditional or found.conditional,
    )


def _side(side: str, values: Mapping[str, PythonValues]) -> Iterator[Imported]:
    model = SenderSettings if side == "sender" else ReceiverSettings
    other = values["receiver" if side == "sender" else "sender"]
    in_order = {False: (values[side], other), True: (values["sender"], values["receiver"])}
    rules = {getattr(rule, side): rule for rule in old.RULES}
    interval = _interval(
        values[side].names.get(old.PARTIAL.old) or other.names.get(old.PARTIAL.old)
    )
    for variable in variables(model).values():
        rule = rules.get(variable.name)
        found = _find(rule, *in_order[rule.of_sender]) if rule else None
        if rule is not None and found is not None:
            imported = _imported(side, rule, found, interval, secret=rule is old.PASSWORD)
            yield replace(imported, notes=(*imported.notes, *_unlike(rule, found, other)))
        elif variable.name in old.NEW:
            note = f"New: {old.NEW[variable.name]}."
            yield Imported(variable.name, None, secret=False, notes=(note,))
        elif variable.default is None:
            why = f"Not in the files that were read: {variable.meaning}"
            yield Imported(variable.name, None, secret=False, notes=(why,))


def _unlike(rule: old.Rule, found: Found, other: PythonValues) -> Iterator[str]:
    """Yield a note if the other server has another value of a setting that both need alike."""
    there = other.find(*rule.place) if rule is old.TIME else None
    if there is None or any(isinstance(one.value, Unreadable) for one in (there, found)):
        return
    if str(there.value) != str(found.value):
        yield f"The other server has {there.value} ({there.origin}), and both need the same."


def _find(rule: old.Rule, first: PythonValues, second: PythonValues) -> Found | None:
    """Return the value of an old setting in the first files, or, if it is shared, in the second."""
    found = first.find(*rule.place)
    return second.find(*rule.place) if found is None and rule.shared else found


def _imported(side: str, rule: old.Rule, found: Found, interval: int, *, secret: bool) -> Imported:
    variable = getattr(rule, side)
    notes = [f"From {rule.old} ({found.origin})."]
    if rule.changed:
        notes.append(f"Changed: {rule.changed}.")
    if found.conditional or _has_conditional(found.value):
        notes.append("It is assigned under a condition: check that this is the right branch.")
    if isinstance(found.value, Unreadable):
        # The expression is not shown, because it may contain a password.
        notes.append("Its value is known only when the program runs: write it here.")
        return Imported(variable, None, secret, tuple(notes))
    if isinstance(found.value, list) and rule.old.startswith(f"{old.JOBS}."):
        schedules = "; ".join(one for one in found.value if isinstance(one, str))
        notes.append(f"The job has several schedules ({schedules}): write one here.")
        return Imported(variable, None, secret, tuple(notes))
    try:
        value, remark = _CONVERSIONS.get(rule, _plain)(found.value, side, interval)
        env_line(variable, value)
    except _OtherDatabaseError as error:
        notes.append(f"Its value is not used: {error}.")
        return Imported(variable, None, secret, tuple(notes))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, UnwritableValueError):
        notes.append("Its value cannot be used as it is: write it here.")
        return Imported(variable, None, secret, tuple(notes))
    return Imported(variable, value, secret, (*notes, *([remark] if remark else [])))


def _has_conditional(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and any(
        found.conditional or _has_conditional(found.value) for found in value.values()
    )


def _plain(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001  as the others
    if isinstance(value, list | dict) or value is None:
        raise TypeError
    return (str(value).lower() if isinstance(value, bool) else str(value)), ""


def _time(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001
    minutes = int(value)
    if minutes >= 2 * interval:
        return str(minutes), ""
    taken = max(_DEFAULT_TIME, 2 * interval)
    return str(taken), (
        f"{minutes} is too small: with windows of {interval} minutes only one archive would contain"
        f" a change, and could be lost. {taken} is used."
    )


def _old_time(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001
    return str(int(value)), ""


def _partial(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001
    if minutes_between_ticks(value) == interval:
        return str(interval), ""
    return str(interval), (
        f"The schedule {value} does not run every N minutes of each hour, with an N that divides"
        f" 60: {interval} is used."
    )


class _OtherDatabaseError(Exception):
    """The old settings are not those of a PostgreSQL database."""


def _url(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001
    parts = {key: found.value for key, found in value.items()}
    if _OTHER_DATABASE.search(engine := str(parts.get("ENGINE"))):
        raise _OtherDatabaseError(f"ENGINE is {engine}, and only PostgreSQL is replicated")
    host, port, name = parts.get("HOST") or "", parts.get("PORT") or "", parts["NAME"]
    given = parts.get("OPTIONS") or {}
    options = {key: given[key].value for key in given if key in old.URL_OPTIONS}
    options = {key: value for key, value in options.items() if value is not None}
    if any(isinstance(part, Unreadable) for part in (host, port, name, *options.values())):
        raise ValueError
    at = f"{quote(str(host), safe='')}{f':{port}' if port else ''}"
    url = f"postgresql://ar_sync_{side}@{at}/{quote(str(name), safe='')}"
    return f"{url}{'?' if options else ''}{urlencode(options, quote_via=quote)}", ""


def _admins(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001
    return ",".join(_address(one if isinstance(one, str) else one[1]) for one in value), ""


def _sender_address(value: Any, side: str, interval: int) -> tuple[str, str]:  # noqa: ANN401, ARG001
    return _address(value), ""


def _address(text: str) -> str:
    """Return the address of ``Name <address>``."""
    address = parseaddr(text)[1]
    if "@" not in address:
        raise ValueError
    return address


_Conversion = Callable[[Any, str, int], tuple[str, str]]
_CONVERSIONS: dict[old.Rule, _Conversion] = {
    old.TIME: _time,
    old.OLD_TIME: _old_time,
    old.PARTIAL: _partial,
    old.DATABASE_URL: _url,
    old.ADMINS: _admins,
    old.SERVER_EMAIL: _sender_address,
}


def _interval(found: Found | None) -> int:
    """Return the minutes between the old partials, of several schedules the most."""
    value = found.value if found is not None else []
    schedules = value if isinstance(value, list) else [value]
    minutes = (minutes_between_ticks(str(schedule)) for schedule in schedules)
    return max((one for one in minutes if one), default=_DEFAULT_INTERVAL)


def _left_out(values: Mapping[str, PythonValues]) -> Iterator[str]:
    known = {rule.old for rule in old.RULES}
    for side in SIDES:
        for name, found in _old_names(values[side]):
            if name == old.SSL and found.value is False:
                continue
            if name in old.NO_COUNTERPART:
                yield f"{name} ({found.origin}): {old.NO_COUNTERPART[name]}"
            elif name.startswith(_OF_OLD_SYSTEM) and name not in known:
                yield f"{name} ({found.origin}): it has no counterpart"
        for what, origin in values[side].unread:
            yield f"{what} ({origin}): its settings are unknown; name that file, too"
        for name, origin in values[side].unread_names:
            imported = values[side].names.get(name)
            if name in _IMPORTANT and (not imported or isinstance(imported.value, Unreadable)):
                yield f"import of {name} ({origin}): its value is unknown; name that file, too"


def _old_names(values: PythonValues) -> Iterator[tuple[str, Found]]:
    options = values.find(*old.place(_OPTIONS))
    if options and isinstance(options.value, dict):
        for key, inner in options.value.items():
            if key not in old.URL_OPTIONS:
                yield f"{_OPTIONS}[{key!r}]", inner
    for name, found in values.names.items():
        if name == old.BACKUPS and isinstance(found.value, dict):
            for key, inner in found.value.items():
                yield f"{name}[{key!r}]", inner
        else:
            yield name, found
