"""A path that is safe, and too long for an entry of an index."""

from __future__ import annotations

from random import Random


def long_path() -> str:
    """Return a path that no compression makes short enough: 11 folders of Chinese letters."""
    random = Random(20261201)  # noqa: S311
    folders = ("".join(chr(random.randrange(0x4E00, 0x9FA0)) for _ in range(84)) for _ in range(11))
    return "/".join(folders) + "/a.jpeg"
