"""Text of a notice: subject, plain text and HTML.

Messages may quote names of archives, files and tables, which are data: they are made visible,
truncated, and escaped in HTML. Mail programs must not turn them into links.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from zoneinfo import ZoneInfo

from ar_sync_pipeline.alerts.incidents import BY_HAND, Incident, NoticeKind
from ar_sync_pipeline.alerts.outbox import Notice
from ar_sync_pipeline.visible_text import one_line

_LONGEST_SUBJECT, _LONGEST_ROW = 160, 2000
_LINK, _READ = "See", "Read"
# Longer than between the failures of a check and of the step that it belongs to.
_LASTING = timedelta(minutes=10)
_VERBS = {
    NoticeKind.OPENED: "Failing",
    NoticeKind.REMINDER: "Still failing",
    NoticeKind.RECOVERED: "Recovered",
}
_COLOURS = {
    NoticeKind.OPENED: "#b3261e",
    NoticeKind.REMINDER: "#9a5b00",
    NoticeKind.RECOVERED: "#1b6e3c",
}


@dataclass(frozen=True)
class Place:
    """Origin of messages.

    Attributes:
        side: ``sender`` or ``receiver``.
        host: Name of the machine.
        timezone: Time zone in which times are shown in addition to UTC.
        dagster_url: URL of the Dagster UI, for links; empty if unknown.
        pair: Name of the pair of servers; empty: it has none.
    """

    side: str
    host: str
    timezone: str
    dagster_url: str = ""
    pair: str = ""

    @property
    def label(self) -> str:
        """The side, after the name of its pair."""
        return f"{self.pair} {self.side}".strip()

    def moment(self, at: datetime) -> str:
        """Return a time in UTC and in the local time zone, if that differs."""
        local = at.astimezone(ZoneInfo(self.timezone))
        if not local.utcoffset():
            return f"{at:%Y-%m-%d %H:%M} UTC"
        return f"{at:%Y-%m-%d %H:%M} UTC ({local:%H:%M} {self.timezone})"

    def link(self, incident: Incident) -> str:
        """Return the URL of the page in the Dagster UI with details; empty if unknown."""
        if not self.dagster_url or not incident.latest.page:
            return ""
        return f"{self.dagster_url.rstrip('/')}/{incident.latest.page}"


@dataclass(frozen=True)
class Message:
    """A message for administrators."""

    subject: str
    text: str
    html: str


def write_message(notice: Notice, place: Place) -> Message:
    """Return the message of a notice: what, where, since when, why, what to do, where to read."""
    headline = f"{_VERBS[notice.kind]}: {notice.incident.latest.title}"
    subject = f"[ar_sync {place.label}] {headline}"
    if notice.kind is not NoticeKind.RECOVERED:
        subject = f"{subject}: {notice.incident.latest.sentence}"
    rows, closing = _rows(notice, place), _closing(notice)
    return Message(
        one_line(subject, _LONGEST_SUBJECT),
        _as_text(headline, rows, closing),
        _as_html(headline, rows, closing, _COLOURS[notice.kind]),
    )


def write_test(text: str, place: Place) -> Message:
    """Return a test message."""
    headline = "Test"
    rows = [("What", text), ("Where", f"{place.label} on {place.host}")]
    closing = "Nothing is wrong, and you need not do anything."
    return Message(
        one_line(f"[ar_sync {place.label}] {headline}", _LONGEST_SUBJECT),
        _as_text(headline, rows, closing),
        _as_html(headline, rows, closing, _COLOURS[NoticeKind.RECOVERED]),
    )


def lasting(span: timedelta) -> str:
    """Return a duration in words."""
    minutes = int(span.total_seconds() // 60)
    days, hours = divmod(minutes // 60, 24)
    parts = [
        f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes % 60, "min"))
        if count
    ]  # fmt: skip
    return " ".join(parts[:2]) or "less than a minute"


def _rows(notice: Notice, place: Place) -> list[tuple[str, str]]:
    incident, latest = notice.incident, notice.incident.latest
    rows = [
        ("What", "; ".join(sorted(incident.sources.values()))),
        ("Where", f"{place.label} on {place.host}"),
        ("Since", place.moment(incident.opened_at)),
    ]
    if incident.recovered_at is not None:
        span = lasting(incident.recovered_at - incident.opened_at)
        rows.append(("Until", f"{place.moment(incident.recovered_at)}, {span}"))
    if incident.repeats or incident.last_seen_at - incident.opened_at >= _LASTING:
        rows.append(("Seen", _times(incident, place)))
    rows.append(("Cause", latest.sentence))
    if notice.kind is NoticeKind.RECOVERED:
        rows += _unconfirmed(incident)
    elif latest.remedy:
        rows.append(("To do", latest.remedy))
    if latest.runbook and notice.kind is not NoticeKind.RECOVERED:
        rows.append((_READ, latest.runbook))
    if link := place.link(incident):
        rows.append((_LINK, link))
    elif latest.run_id:
        rows.append(("Run", latest.run_id))
    return rows


def _times(incident: Incident, place: Place) -> str:
    last = f"last {place.moment(incident.last_seen_at)}"
    if not incident.repeats:
        return last
    times = "again" if incident.repeats == 1 else f"{incident.repeats:,} more times"
    return f"{times}, {last}"


def _unconfirmed(incident: Incident) -> list[tuple[str, str]]:
    """Return the other sources that failed and have not succeeded since."""
    if incident.recovered_by == BY_HAND:
        return []
    others = [what for source, what in incident.sources.items() if source != incident.recovered_by]
    if not others:
        return []
    names = "; ".join(sorted(others))
    return [
        ("To do", f"not seen to work since: {names}; run it from Dagster, or wait for its next run")
    ]


def _closing(notice: Notice) -> str:
    number = f"Incident {notice.number}."
    if notice.kind is NoticeKind.RECOVERED:
        by = " by hand" if notice.incident.recovered_by == BY_HAND else ""
        return f"{number} It is closed{by}; nothing more is sent about it."
    return (
        f"{number} Repeats are counted and not mailed; a reminder comes every 24 hours, and one"
        " message when it is over."
    )


def _as_text(headline: str, rows: list[tuple[str, str]], closing: str) -> str:
    lines = [f"{label:<7}{one_line(value, _LONGEST_ROW)}" for label, value in rows]
    return "\n".join([one_line(headline, _LONGEST_ROW), "", *lines, "", closing, ""])


def _as_html(headline: str, rows: list[tuple[str, str]], closing: str, colour: str) -> str:
    cells = "".join(
        f'<tr><td style="padding:6px 14px 6px 0;color:#6b6b6b;vertical-align:top">{label}</td>'
        '<td style="padding:6px 0;vertical-align:top;overflow-wrap:anywhere">'
        f"{_cell(label, value)}</td></tr>"
        for label, value in rows
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
        '<body style="margin:0;padding:20px;background:#ffffff;color:#1f1f1f;'
        'font:16px/1.45 system-ui,-apple-system,Segoe UI,Roboto,sans-serif">'
        f'<div style="max-width:600px;border-top:4px solid {colour};padding-top:14px">'
        f'<h1 style="font-size:20px;line-height:1.3;margin:0 0 12px;overflow-wrap:anywhere">'
        f"{_inert(headline)}</h1>"
        f'<table role="presentation" style="border-collapse:collapse;width:100%">{cells}</table>'
        f'<p style="margin:16px 0 0;color:#6b6b6b;font-size:13px">{escape(closing)}</p>'
        "</div></body></html>\n"
    )


def _cell(label: str, value: str) -> str:
    if label == _LINK or (label == _READ and value.startswith(("http://", "https://"))):
        shown = escape(one_line(value, _LONGEST_ROW))
        return f'<a href="{shown}" style="color:#0b57d0">{shown}</a>'
    return _inert(value)


def _inert(text: str) -> str:
    """Return text as HTML without addresses: aes128-gcm@openssh.com is a cipher, not a link."""
    shown = escape(one_line(text, _LONGEST_ROW))
    for part in ("@", "://", "www."):
        shown = shown.replace(part, f"<span>{part[0]}</span>{part[1:]}")
    return shown
