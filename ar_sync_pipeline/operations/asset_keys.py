"""Keys and marks of all assets, the same whether one Dagster instance or two run the locations."""

from collections.abc import Callable

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog


def of_side(side: str) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Mark assets with the server that they belong to, for searching in one control plane."""
    return lambda spec: spec.merge_attributes(tags={"ar_sync/side": side})


def asset_name(catalog: Catalog, table: str) -> str:
    """A table's name without the application's prefix, as people call it."""
    prefix = f"{catalog.django_app}_" if catalog.django_app else ""
    return table.removeprefix(prefix).replace("-", "_").replace(".", "_") or table


def snapshot_key(catalog: Catalog, kind: ArchiveKind, table: str) -> dg.AssetKey:
    """A table's rows in the archives of a kind."""
    return dg.AssetKey([str(kind), "tables", asset_name(catalog, table)])


def referenced_rows_key() -> dg.AssetKey:
    """Rows of the other tables that a partial carries because something refers to them."""
    return dg.AssetKey(["partial", "tables", "referenced_rows"])


def media_bundle_key(kind: ArchiveKind) -> dg.AssetKey:
    """The media files in the archives of a kind."""
    return dg.AssetKey([str(kind), "media_bundle"])


def archive_key(kind: ArchiveKind) -> dg.AssetKey:
    """The archives of a kind, in the receiver's spool."""
    return dg.AssetKey([str(kind), "archive"])


def endpoint_key() -> dg.AssetKey:
    """The receiver's SFTP account, as the sender sees it."""
    return dg.AssetKey(["receiver_endpoint"])


def admitted_key() -> dg.AssetKey:
    """Archives that the receiver found sound and fitting."""
    return dg.AssetKey(["receiver", "admitted_archives"])


def applied_archives_key() -> dg.AssetKey:
    """The ledger: archives that the receiver has applied."""
    return dg.AssetKey(["receiver", "applied_archives"])


def receiver_media_key() -> dg.AssetKey:
    """The receiver's media folder."""
    return dg.AssetKey(["receiver", "media"])


def receiver_table_key(catalog: Catalog, table: str) -> dg.AssetKey:
    """A table of the receiver's database."""
    return dg.AssetKey(["receiver", "tables", asset_name(catalog, table)])


def postprocessed_key() -> dg.AssetKey:
    """What the transform computes from the loaded rows."""
    return dg.AssetKey(["receiver", "postprocessed_rows"])
