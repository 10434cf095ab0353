"""Keys, tags and owners of all assets, equal in a Dagster instance of both sides and of one side.

The keys of a pair with a name begin with that name (`PairNames.key`).
"""

import re
from collections.abc import Callable

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.owners import OWNERS
from ar_sync_pipeline.operations.pair_names import PairNames

_REFERENCED, _UNLISTED = "referenced_rows", "unlisted_tables"
_RESERVED = frozenset({_REFERENCED, _UNLISTED})

# Dagster shows an asset as "unsynced" when an upstream asset has a new data version, by default
# at each materialization. A table without rows in an archive has no lag behind that archive.
UNVERSIONED = dg.DataVersion("not compared")


def of_side(side: str, names: PairNames) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Return a function that adds owners, and tags of the server to search by in one UI."""
    return lambda spec: spec.merge_attributes(tags=names.tags(side), owners=OWNERS)


def short_name(catalog: Catalog, table: str) -> str:
    """Return the label of a table without the application's prefix, for display."""
    prefix = f"{catalog.django_app}_" if catalog.django_app else ""
    return table.removeprefix(prefix) or table


def qualified_name(catalog: Catalog, table: str) -> str:
    """Return ``schema.table`` as in the database, for Dagster's ``dagster/table_name``."""
    return ".".join(catalog.locate(table))


def asset_name(catalog: Catalog, table: str) -> str:
    """Return the last part of a table's asset keys: its short name, in Dagster's alphabet.

    Letters, digits and underscores are kept. Any other character becomes its code point: ``x.bus``
    is ``x_0x2e_bus``. The result is valid in names of ops and outputs and in URLs of the UI. Two
    tables of a catalog never have the same name.
    """
    short = short_name(catalog, table)
    # If the short name is the label of another table, the prefix is kept.
    name = table if catalog.names(short) else short
    if name in _RESERVED:
        name, _, rest = name.partition("_")
        return f"{name}{_code('_')}{rest}"
    # A literal underscore that looks like the start of a code is encoded itself.
    literal = re.sub(r"_(?=0x)", "\0", name)
    return re.sub(r"[^A-Za-z0-9_]", lambda found: _code(found[0].replace("\0", "_")), literal)


def _code(character: str) -> str:
    return f"_0x{ord(character):x}_"


def snapshot_key(catalog: Catalog, kind: ArchiveKind, table: str, names: PairNames) -> dg.AssetKey:
    """Return the key of a table's rows in the archives of a kind."""
    return names.key(str(kind), "tables", asset_name(catalog, table))


def referenced_rows_key(names: PairNames) -> dg.AssetKey:
    """Return the key of rows of other tables that a partial contains because rows refer to them."""
    return names.key("partial", "tables", _REFERENCED)


def unlisted_snapshot_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the tables in a complete, if the catalog has only patterns and no names."""
    return names.key("complete", "tables", _UNLISTED)


def unlisted_receiver_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the receiver's tables, if the catalog has only patterns and no names."""
    return names.key("receiver", "tables", _UNLISTED)


def media_bundle_key(kind: ArchiveKind, names: PairNames) -> dg.AssetKey:
    """Return the key of the media files in the archives of a kind."""
    return names.key(str(kind), "media_bundle")


def archive_key(kind: ArchiveKind, names: PairNames) -> dg.AssetKey:
    """Return the key of the archives of a kind, in the receiver's spool."""
    return names.key(str(kind), "archive")


def endpoint_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the receiver's SFTP account, as the sender sees it."""
    return names.key("receiver_endpoint")


def admitted_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the archives that the receiver has verified and accepted."""
    return names.key("receiver", "admitted_archives")


def applied_archives_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the ledger: archives that the receiver has applied."""
    return names.key("receiver", "applied_archives")


def receiver_media_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the receiver's media folder."""
    return names.key("receiver", "media")


def receiver_table_key(catalog: Catalog, table: str, names: PairNames) -> dg.AssetKey:
    """Return the key of a table of the receiver's database."""
    return names.key("receiver", "tables", asset_name(catalog, table))


def postprocessed_key(names: PairNames) -> dg.AssetKey:
    """Return the key of the rows that the transform computes from loaded rows."""
    return names.key("receiver", "postprocessed_rows")
