"""Archives that were manipulated to do harm, each from the bytes of an honest one."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from backports import zstd
from hypothesis import strategies as st

from ar_sync_pipeline.archive.tar_layout import (
    END_OF_ARCHIVE,
    manifest_header,
    member_header,
    padding_bytes,
)

BLOCK_BYTES = 512
NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b.jpeg",
    "..",
    ".",
    "",
    "a//b.jpeg",
    "a\x00b.jpeg",
    "a\nb.jpeg",
    "\x1b[2Jb.jpeg",
    "\u202egepj.exe",
    "-rf/../x",
    "x" * 2000,
)
_WRONG_FOR_TEXT: tuple[object, ...] = (0, -1, 10**400, 1.5, True, [], {}, [[[]]], {"a": "b"})
_WRONG_FOR_NUMBERS: tuple[object, ...] = ("1", -(10**30), 10**30, 10**400, 1.5, True, [], {})
_WRONG_FOR_CONTAINERS: tuple[object, ...] = ("x", 0, -1, True, 10**400, [None] * 3, {"x": {}})


class Honest:
    """An honest archive, split into manifest and members."""

    def __init__(self, content: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            self.members = {
                info.name: file.read() for info in tar if (file := tar.extractfile(info))
            }
        self.content = content
        self.manifest: dict[str, Any] = json.loads(self.members.pop("manifest.json"))

    def forged(self, manifest: object, members: dict[str, bytes] | None = None) -> bytes:
        """Return an archive around any manifest, with valid headers."""
        text = canonical(manifest)
        found = self.members if members is None else members
        return b"".join(
            (
                manifest_header(len(text), hashlib.sha256(text).hexdigest()),
                padded(text),
                *(member_header(name, len(data)) + padded(data) for name, data in found.items()),
                END_OF_ARCHIVE,
            )
        )

    def changed(self, change: Callable[[dict[str, Any]], object]) -> bytes:
        """Return the archive with a change in its manifest."""
        manifest = copy.deepcopy(self.manifest)
        change(manifest)
        return self.forged(manifest)


def canonical(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


def padded(content: bytes) -> bytes:
    return content + bytes(padding_bytes(len(content)))


def hostile(honest: Honest) -> st.SearchStrategy[bytes]:
    """Return a strategy for bytes that no receiver may admit."""
    return st.one_of(
        _damaged(honest),
        _wrong_types(honest),
        st.sampled_from(NAMES).map(lambda name: _named(honest, name)),
        st.sampled_from(list(_tar_tricks(honest))),
        st.sampled_from(list(_twice(honest))),
        st.sampled_from(list(_not_a_manifest(honest))),
        st.integers(0, 4 * 1024**2).map(lambda size: _bomb(honest, size)),
        st.integers(-5, 5 * BLOCK_BYTES).filter(bool).map(lambda more: _missized(honest, more)),
    )


def _damaged(honest: Honest) -> st.SearchStrategy[bytes]:
    whole = honest.content

    def flip(place: tuple[int, int]) -> bytes:
        offset, bit = place
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << bit
        return bytes(damaged)

    return st.one_of(
        st.integers(0, len(whole) - 1).map(lambda length: whole[:length]),
        st.binary(min_size=1, max_size=5000).map(lambda tail: whole + tail),
        st.binary(max_size=5000),
        st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 7)).map(flip),
    )


def _wrong_types(honest: Honest) -> st.SearchStrategy[bytes]:
    """Return archives in which one value of the manifest has an impossible type or size."""
    places = [place for place in _places(honest.manifest) if place]

    def wrong_for(place: tuple[Any, ...]) -> st.SearchStrategy[bytes]:
        found = _at(honest.manifest, place)
        wrong = _WRONG_FOR_CONTAINERS
        if isinstance(found, str) or found is None:
            wrong = _WRONG_FOR_TEXT
        elif isinstance(found, bool):
            wrong = ("true", 2, [], 10**400)
        elif isinstance(found, int):
            wrong = _WRONG_FOR_NUMBERS
        return st.sampled_from(wrong).map(
            lambda value: honest.changed(lambda manifest: _put(manifest, place, value))
        )

    return st.sampled_from(places).flatmap(wrong_for)


def _places(value: object, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from _places(child, (*here, key))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def _put(manifest: dict[str, Any], place: tuple[Any, ...], value: object) -> None:
    _at(manifest, place[:-1])[place[-1]] = value


def _named(honest: Honest, name: str) -> bytes:
    """Return an archive with a media file of this name, valid in everything else."""
    content = b"picture"
    entry = {
        "path": name,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "modified_at": "2026-11-23T15:30:00Z",
    }
    manifest = {**honest.manifest, "media": [*honest.manifest["media"], entry]}
    data = padded(content)
    header = honest.content[: 2 * BLOCK_BYTES]
    return honest.forged(manifest)[: -len(END_OF_ARCHIVE)] + header + data + END_OF_ARCHIVE


def _tar_tricks(honest: Honest) -> Iterator[bytes]:
    """Yield archives by the ordinary tar writer with links, devices and folders as members."""
    manifest = canonical(honest.manifest)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
                 tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE):  # fmt: skip
        for first in (True, False):
            target = io.BytesIO()
            with tarfile.open(fileobj=target, mode="w") as tar:
                if not first:
                    info = tarfile.TarInfo("manifest.json")
                    info.size = len(manifest)
                    tar.addfile(info, io.BytesIO(manifest))
                info = tarfile.TarInfo("manifest.json" if first else "media/bus.jpeg")
                info.type, info.linkname = kind, "/etc/passwd"
                tar.addfile(info)
            yield target.getvalue()
    reversed_members = dict(reversed(list(honest.members.items())))
    yield honest.forged(honest.manifest, reversed_members)
    yield honest.forged(honest.manifest, {})
    yield honest.forged(honest.manifest, {**honest.members, "media/more.jpeg": b"more"})


def _twice(honest: Honest) -> Iterator[bytes]:
    """Yield archives that list the same entry twice."""
    yield honest.changed(lambda m: m["media"].append(m["media"][0]))
    yield honest.changed(lambda m: m["tables"].append(m["tables"][0]))
    yield honest.changed(lambda m: m["tables"][0]["columns"].append(m["tables"][0]["columns"][0]))
    yield honest.changed(lambda m: m["tables"][0].update(primary_key=["no such column"]))
    yield honest.forged(canonical(honest.manifest).replace(b'"format":1', b'"format":1,"format":1'))


def _not_a_manifest(honest: Honest) -> Iterator[bytes]:
    text = canonical(honest.manifest)
    for content in (
        b"",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"format":1' + b"," * 10**6 + b"}",
        b'{"format":NaN}',
        b"\xff\xfe" + text,
        b"\xef\xbb\xbf" + text,
        text + b" ",
        text.replace(b'"kind":', b'"kind" :'),
        text.replace(b'"format":1', b'"format":' + b"9" * 5000),
        text.replace(b'"complete"', b'"\\ud800"'),
        text[:-1] + b',"zzz":"unknown"}',
    ):
        yield honest.forged(content)


def _bomb(honest: Honest, raw_bytes: int) -> bytes:
    """Return an archive whose chunk unpacks to other content, with a valid hash when packed."""
    name = next(name for name in honest.members if name.startswith("tables/"))
    packed = zstd.compress(bytes(raw_bytes))
    manifest = copy.deepcopy(honest.manifest)
    for table in manifest["tables"]:
        for chunk in table["chunks"]:
            if chunk["member"] == name:
                chunk.update(size_bytes=len(packed), sha256=hashlib.sha256(packed).hexdigest())
    return honest.forged(manifest, {**honest.members, name: packed})


def _missized(honest: Honest, more: int) -> bytes:
    """Return an archive with a media file that is longer or shorter than declared."""
    return honest.changed(
        lambda m: m["media"][0].update(size_bytes=m["media"][0]["size_bytes"] + more)
    )
