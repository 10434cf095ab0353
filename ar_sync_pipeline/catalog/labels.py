"""Labels: the one name that a table has in the product, and patterns of such names.

A table of the catalog's schema is called by its name alone, a table of any other schema
``schema.table``. A label is divided at its first dot; a table of the catalog's schema whose own
name has a dot is therefore called ``schema.table`` too.
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
    """Whether a pattern names one table: it has neither ``*`` nor ``?``."""
    return not _WILDCARDS & set(pattern)


def matches(pattern: str, label: str, catalog_schema: str) -> bool:
    """Whether a pattern matches a label; ``*`` and ``?`` are special, nothing else is.

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
