"""Keys and marks of all assets, the same whether one Dagster instance or two run the locations.

Those of a pair with a name are below a folder of that name (`PairNames.key`).
"""

import re
from collections.abc import Callable

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.pair_names import ALONE, PairNames

_REFERENCED, _UNLISTED = "referenced_rows", "unlisted_tables"
_RESERVED = frozenset({_REFERENCED, _UNLISTED})

# Dagster calls an asset "unsynced" as soon as what it is made of has a new data version, by default
# at each materialization. A table of which an archive brings nothing is not behind that archive.
UNVERSIONED = dg.DataVersion("not compared")


def of_side(side: str, names: PairNames = ALONE) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Mark assets with the server that they belong to, for searching in one control plane."""
    return lambda spec: spec.merge_attributes(tags=names.tags(side))


def short_name(catalog: Catalog, table: str) -> str:
    """A table's label without the application's prefix, for people."""
    prefix = f"{catalog.django_app}_" if catalog.django_app else ""
    return table.removeprefix(prefix) or table


def qualified_name(catalog: Catalog, table: str) -> str:
    """``schema.table`` as the database has it, for Dagster's ``dagster/table_name``."""
    return ".".join(catalog.locate(table))


def asset_name(catalog: Catalog, table: str) -> str:
    """The last part of a table's asset keys: its short name, in Dagster's alphabet.

    Letters, digits and underscores stay. Any other character becomes its code point, ``x.bus`` is
    ``x_0x2e_bus``: valid in names of ops and outputs and in addresses of the UI. Two tables of a
    catalog never have the same name.
    """
    short = short_name(catalog, table)
    # The label of another table: this one keeps its prefix.
    name = table if catalog.names(short) else short
    if name in _RESERVED:
        name, _, rest = name.partition("_")
        return f"{name}{_code('_')}{rest}"
    # A literal underscore that looks like the beginning of a code is encoded itself.
    literal = re.sub(r"_(?=0x)", "\0", name)
    return re.sub(r"[^A-Za-z0-9_]", lambda found: _code(found[0].replace("\0", "_")), literal)


def _code(character: str) -> str:
    return f"_0x{ord(character):x}_"


def snapshot_key(
    catalog: Catalog, kind: ArchiveKind, table: str, names: PairNames = ALONE
) -> dg.AssetKey:
    """A table's rows in the archives of a kind."""
    return names.key(str(kind), "tables", asset_name(catalog, table))


def referenced_rows_key(names: PairNames = ALONE) -> dg.AssetKey:
    """Rows of the other tables that a partial carries because something refers to them."""
    return names.key("partial", "tables", _REFERENCED)


def unlisted_snapshot_key(names: PairNames = ALONE) -> dg.AssetKey:
    """The tables in a complete, where the catalog has patterns only and names none of them."""
    return names.key("complete", "tables", _UNLISTED)


def unlisted_receiver_key(names: PairNames = ALONE) -> dg.AssetKey:
    """The receiver's tables, where the catalog has patterns only and names none of them."""
    return names.key("receiver", "tables", _UNLISTED)


def media_bundle_key(kind: ArchiveKind, names: PairNames = ALONE) -> dg.AssetKey:
    """The media files in the archives of a kind."""
    return names.key(str(kind), "media_bundle")


def archive_key(kind: ArchiveKind, names: PairNames = ALONE) -> dg.AssetKey:
    """The archives of a kind, in the receiver's spool."""
    return names.key(str(kind), "archive")


def endpoint_key(names: PairNames = ALONE) -> dg.AssetKey:
    """The receiver's SFTP account, as the sender sees it."""
    return names.key("receiver_endpoint")


def admitted_key(names: PairNames = ALONE) -> dg.AssetKey:
    """Archives that the receiver found sound and fitting."""
    return names.key("receiver", "admitted_archives")


def applied_archives_key(names: PairNames = ALONE) -> dg.AssetKey:
    """The ledger: archives that the receiver has applied."""
    return names.key("receiver", "applied_archives")


def receiver_media_key(names: PairNames = ALONE) -> dg.AssetKey:
    """The receiver's media folder."""
    return names.key("receiver", "media")


def receiver_table_key(catalog: Catalog, table: str, names: PairNames = ALONE) -> dg.AssetKey:
    """A table of the receiver's database."""
    return names.key("receiver", "tables", asset_name(catalog, table))


def postprocessed_key(names: PairNames = ALONE) -> dg.AssetKey:
    """What the transform computes from the loaded rows."""
    return names.key("receiver", "postprocessed_rows")
