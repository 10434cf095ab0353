"""SQL that grants a side's role the rights that its catalog needs, and no others.

It is the SQL of ``deploy/sql`` with the catalog's variables set. The rights are defined only
there, for administrators who run psql by hand and for this command.
"""

from __future__ import annotations

import re

from psycopg.conninfo import conninfo_to_dict

from ar_sync_pipeline.catalog.errors import CatalogError
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.package_files import package_text

_FOLDER = "deploy/sql"
_INCLUDED = re.compile(r"^\\ir (\S+)$", re.MULTILINE)
# Unit separator between names, which names do not contain in practice.
_SEPARATOR = "\x1f"
_OCTAL_DIGITS = 3


def grants(side: str, catalog: Catalog, url: str | None) -> str:
    """Return a script for psql, to be run as a superuser in the side's database.

    Args:
        side: ``sender`` or ``receiver``.
        catalog: The catalog.
        url: URL of the side's database, whose role gets the rights; None: the script's default.

    Raises:
        CatalogError: A name contains the separator of names.
    """
    given = {
        "schema": catalog.schema_name,
        "tables": _list(catalog.name, catalog.tables),
        "exclude": _list(catalog.name, catalog.exclude),
        "separator": _SEPARATOR,
    }
    if side == "sender":
        given["exclude_columns"] = _list(catalog.name, catalog.excluded_columns())
    else:
        # A load also changes rows of receiver-only tables that refer to deleted rows,
        # and a transform fills these tables.
        given["receiver_tables"] = _list(catalog.name, catalog.receiver_tables)
    role = conninfo_to_dict(url).get("user") if url else None
    lines = [
        f"-- Rights of the {side}'s role for the catalog {_quoted(catalog.name)}. Run it as a",
        "-- superuser in the database, and again after each migration that makes a table:",
        f"--   ar-sync grants {side} | psql -d DATABASE",
        "\\encoding UTF8",
        *(f"\\set {name} {_quoted(text)}" for name, text in given.items()),
        # Values from -v of psql have priority.
        *([f"\\if :{{?role}} \\else \\set role {_quoted(str(role))} \\endif"] if role else []),
    ]
    return "\n".join(lines) + "\n\n" + _script(side)


def _script(side: str) -> str:
    """Return the script of the package with the text of the files that it includes."""
    return _INCLUDED.sub(
        lambda found: package_text(f"{_FOLDER}/{found[1]}"),
        package_text(f"{_FOLDER}/{side}_role.sql"),
    )


def _list(catalog: str, patterns: tuple[str, ...]) -> str:
    if any(_SEPARATOR in pattern for pattern in patterns):
        raise CatalogError(
            f"a name in the catalog {catalog} holds the character U+001F, which separates names",
            remedy=f"run {_FOLDER} by hand, or rename the table",
        )
    return _SEPARATOR.join(patterns)


def _quoted(text: str) -> str:
    r"""Return an argument of a psql meta-command: quotes doubled, other characters in octal.

    Printable characters are not changed.
    """
    return f"'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character in "'\\":
        return {"'": "''", "\\": "\\\\"}[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:0{_OCTAL_DIGITS}o}" for byte in character.encode())
