"""Labels: the one name that a table has in the product, and patterns of such names.

The label of a table in the catalog's schema is its name alone, in any other schema
``schema.table``. A label is split at its first dot. So a table of the catalog's schema whose own
name contains a dot has the label ``schema.table`` too.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WILDCARDS = frozenset("*?")


def label_of(schema: str, table: str, catalog_schema: str) -> str:
    """Return the label of a table.

    >>> label_of("public", "bus", "public"), label_of("x", "bus", "public")
    ('bus', 'x.bus')
    """
    return table if schema == catalog_schema and "." not in table else f"{schema}.{table}"


def locate(label: str, catalog_schema: str) -> tuple[str, str]:
    """Return the schema and the name of the table that a label means.

    >>> locate("bus", "public"), locate("x.bus", "public"), locate("public.a.b", "public")
    (('public', 'bus'), ('x', 'bus'), ('public', 'a.b'))
    """
    if label.startswith(f"{catalog_schema}."):
        return catalog_schema, label[len(catalog_schema) + 1 :]
    schema, dot, table = label.partition(".")
    return (schema, table) if dot else (catalog_schema, label)


def canonical(label: str, catalog_schema: str) -> str:
    """Return the only spelling of a label: ``public.bus`` is ``bus`` if the schema is public."""
    return label_of(*locate(label, catalog_schema), catalog_schema)


def is_literal(pattern: str) -> bool:
    """Return whether a pattern names one table: it contains neither ``*`` nor ``?``."""
    return not _WILDCARDS & set(pattern)


def matches(pattern: str, label: str, catalog_schema: str) -> bool:
    """Return whether a pattern matches a label; only ``*`` and ``?`` are special.

    The part before the first dot is a pattern of schemas; a pattern without a dot matches tables of
    the catalog's schema only.

    >>> [matches(p, "x.bus", "public") for p in ("b*", "x.b*", "*.bus", "X.bus")]
    [False, True, True, False]
    """
    wanted, found = locate(pattern, catalog_schema), locate(label, catalog_schema)
    return all(_regex(p).fullmatch(name) is not None for p, name in zip(wanted, found, strict=True))


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    special = {"*": ".*", "?": "."}
    once = re.sub(r"\*+", "*", pattern)
    return re.compile("".join(special.get(c, re.escape(c)) for c in once), re.DOTALL)
