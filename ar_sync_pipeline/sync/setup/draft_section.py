"""The section of one table in a proposed catalog: rules, notes, and choices to be made by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ar_sync_pipeline.catalog.draft import DraftSection, Value
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.checks.ruled_constraints import ruled_constraint_findings
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.setup.changed_at_choice import ChangedAt, choose_changed_at
from ar_sync_pipeline.sync.setup.personal_columns import (
    Kind,
    is_document,
    is_text_document,
    setting_value,
)
from ar_sync_pipeline.sync.setup.personal_rules import (
    JoinedColumns,
    PersonalRules,
    propose_rules,
)
from ar_sync_pipeline.sync.setup.sender_findings import SenderFindings
from ar_sync_pipeline.transform.transapp.catalog_marks import marks_to_add

WATERMARK_LIMIT_MB: int = Catalog.model_fields["watermark_limit_mb"].default
_JSON = ("json", "jsonb")
_NO_RULES = TableRules()


def draft_section(
    connection: Connection,
    sender: SenderFindings,
    table: TableFacts,
    held: Mapping[str, TableFacts] | None,
    personal: Mapping[str, Kind],
    joins: JoinedColumns,
    needed: Collection[str],
) -> DraftSection | None:
    """Return the section of a replicated table; None if the defaults are right.

    Args:
        connection: Connection to the sender's database.
        sender: Findings about the sender's database.
        table: The table.
        held: Tables of the receiver by label; None if unknown.
        personal: Personal columns of the table.
        joins: Joined columns of the replicated tables.
        needed: Columns without whose values the receiver's table refuses rows.
    """
    statistics = sender.statistics[table.name]
    changed_at = choose_changed_at(table, statistics, sender.usual_changed_at)
    media = sender.media.get(table.name, [])
    own = sender.choice.receiver_columns.get(table.name, ())
    there = held.get(table.name) if held is not None else None
    if there is not None:
        own += tuple(c.name for c in there.columns if table.column(c.name) is None)
    times = {changed_at.column, changed_at.local, changed_at.made, changed_at.event}
    proposed = propose_rules(
        table,
        there,
        joins,
        personal,
        withheld=own,
        media=[column.name for column in media],
        needed=times.union(needed),
    )
    rules: dict[str, Value] = {}
    if changed_at.column is not None:
        rules["changed_at"] = changed_at.column
    if media:
        rules["media_columns"] = [column.name for column in media]
        no_media = dict.fromkeys(value for column in media for value in column.no_media)
        if no_media:
            rules["no_media_values"] = list(no_media)
    if own:
        rules["receiver_columns"] = list(own)
    marks = marks_to_add(table.name, _NO_RULES) if "transformed" in own else {}
    if sender.choice.replicated.keys() >= {*marks.get("children", ())}:
        rules |= marks
    notes = (
        *_table_notes(sender, table, changed_at, held, proposed),
        *_consequences(connection, sender, table, proposed),
    )
    choices = tuple(_choices(table, changed_at, proposed))
    return DraftSection(table.name, notes, rules, choices) if rules or notes or choices else None


def _table_notes(
    sender: SenderFindings,
    table: TableFacts,
    changed_at: ChangedAt,
    held: Mapping[str, TableFacts] | None,
    proposed: PersonalRules,
) -> Iterator[str]:
    if changed_at.column is not None:
        yield f"changed_at: {changed_at.about}."
    if changed_at.others:
        yield f"Other columns with times: {', '.join(changed_at.others)}."
    if table.size_mb > WATERMARK_LIMIT_MB:
        only = "only by changed_at" if changed_at.column else "by nothing: completes bring them"
        yield f"Larger than watermark_limit_mb: partials find its changes {only}."
    yield from _unsendable(sender, table)
    for column in sender.media.get(table.name, []):
        yield (
            f"{column.name}: {column.found} of {column.tried} values are files of the media folder"
            f" ({', '.join(column.endings)}). Files are replicated with their names and content as"
            " they are; a column in `exclude` keeps its files at the sender too."
        )
    for name, reason in proposed.kept.items():
        yield f"{name}: looks personal ({proposed.kinds[name]}) and {reason}"
    for name, others in proposed.joined.items():
        places = ", ".join(f"{column} of {label}" for label, column in others)
        yield f"{name}: joined with {places}. Give all of them its mask, or none."
    yield from _unread(table, proposed)
    for key in table.foreign_keys:
        if key.referenced_table not in sender.choice.replicated:
            yield (
                f"{key.name} refers to {key.referenced_table}, which is not replicated: rows load"
                " only where the receiver has the other row."
            )
    if held is not None:
        yield from _at_receiver(sender, table, held.get(table.name))


def _unsendable(sender: SenderFindings, table: TableFacts) -> Iterator[str]:
    for column in table.columns:
        if column.name in sender.choice.receiver_columns.get(table.name, ()):
            needs = not column.nullable and not column.has_default
            yield (
                f"{column.name}: is not replicated, since its type {column.type} has no binary"
                " form. To replicate its values, keep them in a column of another type, such as"
                f" text.{' NOT NULL has to be dropped at the receiver.' if needs else ''}"
            )


def _consequences(
    connection: Connection, sender: SenderFindings, table: TableFacts, proposed: PersonalRules
) -> Iterator[str]:
    """Yield what else happens if the choices of column rules are taken."""
    pictures = [
        name for name in (*proposed.exclude, *proposed.mask) if proposed.kinds[name] is Kind.PICTURE
    ]
    if pictures and table.name not in sender.media:
        yield (
            f"{', '.join(pictures)}: files with these names are still sent, by"
            " AR_SYNC_MEDIA_PATTERNS. To keep them at the sender, name the column in"
            " `media_columns` and in `exclude`."
        )
    rules = TableRules.model_validate({"exclude": proposed.exclude, "mask": proposed.mask})
    for finding in ruled_constraint_findings(connection, rules, table, receives=False):
        yield str(finding)


def _unread(table: TableFacts, proposed: PersonalRules) -> Iterator[str]:
    unruled = [c for c in table.columns if not c.generated and c.name not in proposed.kinds]
    documents = [column.name for column in unruled if is_document(column)]
    texts = [column.name for column in unruled if is_text_document(column)]
    value = setting_value(table)
    if documents:
        yield (
            f"{', '.join(documents)}: a document may contain personal data under any of its keys,"
            " which were not read."
        )
    if texts:
        yield f"{', '.join(texts)}: text of this name may contain personal data; it was not read."
    if value is not None:
        yield (
            f"{value}: a table of keys and values may contain secrets, such as passwords under the"
            " key of a setting; they were not read."
        )


def _at_receiver(
    sender: SenderFindings, table: TableFacts, there: TableFacts | None
) -> Iterator[str]:
    if there is None:
        yield "The receiver has no such table: archives are parked until its migration makes it."
        return
    own = sender.choice.receiver_columns.get(table.name, ())
    missing = [
        c.name
        for c in table.columns
        if not c.generated and c.name not in own and there.column(c.name) is None
    ]
    if missing:
        yield f"The receiver lacks {', '.join(missing)}: archives are parked until it has them."


def _choices(
    table: TableFacts, changed_at: ChangedAt, proposed: PersonalRules
) -> Iterator[tuple[str, Value, str]]:
    if changed_at.local is not None:
        why = f"Without a time zone: {changed_at.about}. The zone is that of the application."
        yield "changed_at", changed_at.local, why
        yield "changed_at_zone", "UTC", "Both keys belong together."
    if changed_at.made is not None:
        why = "By its name, set when a row is made: it finds new rows, the watermark changed ones."
        yield "changed_at", changed_at.made, why
    if changed_at.event is not None:
        why = "By its name, moves with events only: choose it if every other change moves it too."
        yield "changed_at", changed_at.event, why
    yield from _personal_choices(table, proposed)


def _personal_choices(
    table: TableFacts, proposed: PersonalRules
) -> Iterator[tuple[str, Value, str]]:
    if proposed.exclude:
        why = _looks(proposed, proposed.exclude)
        why += " With this key these columns never leave the sender."
        yield "exclude", proposed.exclude, why
    if proposed.mask:
        why = _looks(proposed, proposed.mask)
        why += " The receiver needs a value: with this key it gets another one."
        if "pseudonym" in proposed.mask.values():
            why += " Pseudonyms need AR_SYNC_PSEUDONYM_KEY at the sender."
        if any(c.type in _JSON and c.name in proposed.mask for c in table.columns):
            why += ' JSON gets {}: where the application expects a list, write "[]".'
        yield "mask", proposed.mask, why


def _looks(proposed: PersonalRules, names: Iterable[str]) -> str:
    """Return what columns seem to contain; free text is named, since its content is not known."""
    kinds = {name: proposed.kinds[name] for name in names}
    named = dict.fromkeys(kind for kind in kinds.values() if kind is not Kind.FREE_TEXT)
    free = [name for name, kind in kinds.items() if kind is Kind.FREE_TEXT]
    parts = [
        *([f"Looks personal ({', '.join(named)})."] if named else []),
        *([f"Free text may contain personal data: {', '.join(free)}."] if free else []),
    ]
    return " ".join(parts)
