"""Parses the untrusted bytes of a manifest into a `Manifest`, or raises one error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ar_sync_pipeline.archive.canonical_json import canonical_json
from ar_sync_pipeline.archive.errors import CorruptArchiveError, NewerFormatError, printable
from ar_sync_pipeline.archive.manifest import NEWEST_FORMAT, Chunk, Manifest
from ar_sync_pipeline.archive.manifest_media import MediaList
from ar_sync_pipeline.archive.member_names import manifest_names_problem
from ar_sync_pipeline.archive.table_manifest import MOST_COLUMNS

# Parsers pay some 100 bytes for a value and 1 KB for a list or object, however short its text:
# a few megabytes of "[],[]," would cost gigabytes. An honest manifest spells a file in 154
# bytes, with one object and five commas and braces, and a few commas in the file's own name; one
# that is not carried takes 16 bytes and a comma more.
_FREE_CONTAINERS, _BYTES_PER_CONTAINER = 50_000, 100
_FREE_VALUES, _BYTES_PER_VALUE = 200_000, 16
# No object has more than 20, but for the rules of a table's columns; pydantic writes a report of
# some KB for each key that it forbids.
_MAX_KEYS = 64
# Beyond it a number is not that of a newer version.
_HIGHEST_FORMAT = 1000


@dataclass(frozen=True)
class ReadLimits:
    """Limits of a reader: far above what a sender writes, and low enough for a receiver.

    Attributes:
        manifest_bytes: Size of ``manifest.json``.
        member_count: Number of members that the manifest lists, carried or not.
        archive_bytes: Size of the archive file.
        compression_ratio: COPY bytes of a chunk per stored byte.
        free_raw_bytes: COPY bytes of a chunk to which the ratio does not apply, because a small
            chunk of equal rows compresses beyond any ratio. The writer pads a large one.
        media_count: Number of files in a media list.
        media_list_bytes: Size of a decompressed media list.
    """

    manifest_bytes: int = 64 * 1024**2
    member_count: int = 1_000_000
    archive_bytes: int = 1024**5
    compression_ratio: int = 1000
    free_raw_bytes: int = 16 * 1024**2
    media_count: int = 20_000_000
    media_list_bytes: int = 4 * 1024**3


def parse_manifest(content: bytes, limits: ReadLimits, *, archive: str = "") -> Manifest:
    """Parse the JSON of a manifest strictly: types, canonical spelling, safe names, limits.

    Args:
        content: Bytes of ``manifest.json``.
        limits: Limits of the reader.
        archive: File name of the archive, for messages.

    Raises:
        NewerFormatError: Only a newer version knows the format number.
        CorruptArchiveError: The manifest is wrong in another way.
    """
    _check_format(_load_json(content, archive), archive)
    try:
        manifest = Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise CorruptArchiveError(
            f"the manifest is wrong{first_problem(error)}", archive=archive
        ) from error
    for problem in (manifest_names_problem(manifest), *_beyond_limits(manifest, limits)):
        if problem is not None:
            raise CorruptArchiveError(
                f"the manifest is wrong, {printable(problem)}", archive=archive
            )
    return manifest


def _load_json(content: bytes, archive: str) -> dict[str, Any]:
    containers = content.count(b"[") + content.count(b"{")
    values = containers + content.count(b",")
    if (
        containers > _FREE_CONTAINERS + len(content) // _BYTES_PER_CONTAINER
        or values > _FREE_VALUES + len(content) // _BYTES_PER_VALUE
    ):
        raise CorruptArchiveError("the manifest has too many values", archive=archive)
    large = list[dict[str, Any]]()

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > _MAX_KEYS:
            large.append(dict(pairs))
            return large[-1]
        return dict(pairs)

    try:
        # Two parsers can disagree on repeated keys, blanks and other spellings.
        loaded = json.loads(content.decode(), object_pairs_hook=made)
        _check_large_objects(loaded, large)
        canonical = canonical_json(loaded) == content
    except (ValueError, RecursionError, MemoryError) as error:
        raise CorruptArchiveError("the manifest is not JSON", archive=archive) from error
    if not isinstance(loaded, dict) or not canonical:
        raise CorruptArchiveError(
            "the manifest is not canonical JSON of an object", archive=archive
        )
    return loaded


def _check_large_objects(loaded: object, large: list[dict[str, Any]]) -> None:
    """Check that objects of many keys are rules of a table's columns, and have not too many."""
    tables = loaded.get("tables") if isinstance(loaded, dict) else None
    rules = {
        id(table.get("column_rules"))
        for table in (tables if isinstance(tables, list) else ())
        if isinstance(table, dict)
    }
    for found in large:
        if id(found) not in rules or len(found) > MOST_COLUMNS:
            raise ValueError(f"an object of {len(found)} keys")


def _check_format(loaded: dict[str, Any], archive: str) -> None:
    found = loaded.get("format")
    if type(found) is not int or not 1 <= found <= _HIGHEST_FORMAT:
        raise CorruptArchiveError("the manifest has no format number", archive=archive)
    if found > NEWEST_FORMAT:
        raise NewerFormatError(found, NEWEST_FORMAT, archive=archive)


def first_problem(error: ValidationError) -> str:
    """Return where a manifest is wrong and how, without the value."""
    first, *others = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(others)} more errors)" if others else ""
    at = f" at {printable(place)}" if place else ""
    return f"{at}, {printable(message)}{more}"


def _beyond_limits(manifest: Manifest, limits: ReadLimits) -> Iterator[str]:
    listed = manifest.media_list
    count = manifest.listed_count - (listed.file_count if listed else 0)
    if count > limits.member_count:
        yield f"it lists {count} members, more than {limits.member_count}"
    if listed is not None and listed.file_count > limits.media_count:
        yield f"it lists {listed.file_count} media files, more than {limits.media_count}"
    if listed is not None and listed.raw_bytes > limits.media_list_bytes:
        yield f"its media list has {listed.raw_bytes} bytes, more than {limits.media_list_bytes}"
    compressed: list[Chunk | MediaList] = [c for t in manifest.tables for c in t.copy_members]
    for packed in compressed + ([listed] if listed else []):
        allowed = limits.free_raw_bytes + packed.size_bytes * limits.compression_ratio
        if packed.raw_bytes > allowed:
            yield (
                f"{packed.member} would grow from {packed.size_bytes} to {packed.raw_bytes}"
                f" bytes, more than {limits.compression_ratio} times"
            )
