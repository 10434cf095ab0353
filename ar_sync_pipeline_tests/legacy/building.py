"""Old archives made by hand: what the old sender's tar, pg_dump and Django would have written."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

JSON_FILES = {
    "busassignment": "dump_Busassignment.json",
    "busv2": "dump_Busv2.json",
    "eventforbusstop": "dump_EventForBusStop.json",
    "eventforbusv2": "dump_EventForBusv2.json",
    "report": "dump_Report.json",
    "stadisticdatafromregistrationbus": "dump_StadisticDataFromRegistrationBus.json",
    "stadisticdatafromregistrationbusstop": "dump_StadisticDataFromRegistrationBusStop.json",
}
PHONE = "8773b3ff-5412-49f2-86ef-45a58416fbf1"
REPORT = ("id", "timeStamp", "message", "imageName", "reportInfo", "phoneId")
GTFS = ("id", "version", "timeCreation")
MADE_AT = 1_506_321_000


def tar(files: Mapping[str, bytes], *extra: tarfile.TarInfo, made_at: int = MADE_AT) -> bytes:
    """A tar as GNU tar writes it, with entries that are not files after the files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), made_at
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return made.getvalue()


def packed(files: Mapping[str, bytes], *extra: tarfile.TarInfo, made_at: int = MADE_AT) -> bytes:
    return gzip.compress(tar(files, *extra, made_at=made_at), compresslevel=1, mtime=0)


def dump(
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]], *, more: str = ""
) -> bytes:
    """A plain ``pg_dump``: per table its columns and rows, each value as COPY writes it."""
    lines = [
        "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n",
        "CREATE TABLE public.never_executed (id integer);\nDROP TABLE public.gtfs;\n",
    ]
    for table, (columns, rows) in tables.items():
        names = ", ".join(f'"{name}"' if name != name.lower() else name for name in columns)
        lines.append(f'COPY public."AndroidRequests_{table}" ({names}) FROM stdin;\n')
        lines += ["\t".join(row) + "\n" for row in rows]
        lines.append("\\.\n\n\n")
    lines.append(more)
    lines.append("--\n-- PostgreSQL database dump complete\n--\n\n")
    return "".join(lines).encode()


def complete(
    sql: bytes | None = None,
    pictures: Mapping[str, bytes] | None = None,
    *,
    made_at: int = MADE_AT,
    **parts: bytes | None,
) -> bytes:
    """An old complete.

    Args:
        sql: the dump; by default two rows of two tables.
        parts: other contents of the archive's files by their first word; None leaves one out.
    """
    return _outer(
        {
            "database.tar.gz": packed({"database.sql": some_rows() if sql is None else sql}),
            "images.tar.gz": packed({"bus.jpeg": b"picture"} if pictures is None else pictures),
            "migrations.tar.gz": packed({"0034_token.py": b"pass"}),
            "metadata.txt": b"bkp-type: complete\n",
        },
        parts,
        made_at,
    )


def partial(
    objects: Mapping[str, Sequence[Mapping[str, Any]] | bytes],
    pictures: Mapping[str, bytes] | None = None,
    **parts: bytes | None,
) -> bytes:
    """An old partial with objects, or the bytes of a file, by model; the others are empty lists."""
    files = {}
    for model, file in JSON_FILES.items():
        found = objects.get(model, [])
        files[file] = found if isinstance(found, bytes) else json.dumps(found).encode()
    outer = {
        "database.tar.gz": packed(files),
        "images.tar.gz": packed(pictures or {}),
        "metadata.txt": b"bkp-type: partial\n",
    }
    return _outer(outer, parts, MADE_AT)


def report(pk: int, message: str = "hello", **fields: Any) -> dict[str, Any]:
    """A report as Django's serializer writes it."""
    given = {
        "timeStamp": "2017-09-25T12:01:36.950Z",
        "message": message,
        "imageName": None,
        "reportInfo": "{}",
        "phoneId": PHONE,
    }
    return {"model": "AndroidRequests.report", "pk": pk, "fields": given | fields}


def report_row(
    pk: int, message: str = "hello", time: str = "2017-09-25 05:00:00.123456+00"
) -> list[str]:
    """A report as pg_dump writes it."""
    return [str(pk), time, message, "\\N", "{}", PHONE]


def some_rows() -> bytes:
    return dump(
        {
            "gtfs": (GTFS, [["1", "v1", "2017-01-01 00:00:00+00"]]),
            "report": (REPORT, [report_row(1), report_row(2)]),
        }
    )


def _outer(files: dict[str, bytes], parts: Mapping[str, bytes | None], made_at: int) -> bytes:
    for word, content in parts.items():
        name = next(name for name in files if name.startswith(word))
        if content is None:
            del files[name]
        else:
            files[name] = content
    return packed(files, made_at=made_at)
