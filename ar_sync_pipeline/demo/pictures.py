"""Small generated pictures of buses, under the names in the fake reports."""

from __future__ import annotations

import os
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import psycopg
from PIL import Image, ImageDraw
from psycopg.rows import TupleRow

_WIDTH, _HEIGHT = 240, 160
# Names with this prefix are those of pictures that never reached the sender.
_LOST_PREFIX = "lost-"


def make_pictures(connection: psycopg.Connection[TupleRow], folder: Path) -> int:
    """Draw the pictures that the reports name, each with the time of its report.

    Args:
        connection: Connection to a database filled by ``fill_city``.
        folder: Media folder of the sender; made if missing.

    Returns:
        The number of pictures.
    """
    rows = connection.execute(
        'SELECT "imageName", "timeStamp" FROM "AndroidRequests_report"'
        ' WHERE "imageName" LIKE \'%%.jpeg\' AND NOT starts_with("imageName", %s)',
        [_LOST_PREFIX],
    ).fetchall()
    for name, taken_at in rows:
        write_picture(folder / name, name, taken_at)
    return len(rows)


def write_picture(path: Path, subject: str, taken_at: datetime) -> None:
    """Write one picture atomically; the same subject gives the same picture.

    Args:
        path: File to write or replace; its folder is made if missing.
        subject: Text that determines colours and shapes.
        taken_at: Mtime of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    _draw(subject).save(unfinished, format="JPEG", quality=85)
    os.utime(unfinished, (taken_at.timestamp(), taken_at.timestamp()))
    unfinished.replace(path)


def _draw(subject: str) -> Image.Image:
    dice = sha256(subject.encode()).digest()
    sky, body, street = (dice[0], dice[1], 255), (dice[2], dice[3], dice[4]), (70, 70, 70)
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), sky)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 120, _WIDTH, _HEIGHT), fill=street)
    left = 10 + dice[5] % 40
    pen.rounded_rectangle((left, 50, left + 170, 128), radius=10, fill=body, outline="black")
    for window in range(5):
        edge = left + 10 + window * 32
        pen.rectangle((edge, 62, edge + 24, 84), fill=(dice[6 + window], 220, 240))
    for wheel in (left + 35, left + 135):
        pen.ellipse((wheel - 14, 114, wheel + 14, 142), fill="black")
    pen.text((left + 12, 98), dice.hex()[:12], fill="white")
    return picture
