"""Texts of definitions that are compared between two servers.

PostgreSQL prints a condition from its parsed form, and parses what it printed to another form in
one case: the values of ``IN`` for a ``varchar`` are an array that is cast as a whole, and after a
dump and restore an array of casts. So one schema has two texts. What version 13 or older stored or
dumped is printed as a call of ``btrim``, and the same since then as ``TRIM``. A partition by hash
names its parent by a number. Texts also have a limit in an
archive's manifest; a condition of a default partition names the bounds of all others.
"""

from __future__ import annotations

import hashlib
import re

from ar_sync_pipeline.archive.manifest_fields import MOST_DEFINITION_LENGTH

_VALUE = r"(?:E?'(?:[^']|'')*'|NULL)::[a-z ]+"
_TRIM = {"BOTH": "btrim(", "LEADING": "ltrim(", "TRAILING": "rtrim("}
_TRIM_FROM = re.compile(rf"\bTRIM\(({'|'.join(_TRIM)}) FROM ")
_PARENT = re.compile(r"\bsatisfies_hash_partition\('\d+'::oid")
_CAST_AS_A_WHOLE = re.compile(rf"\(ARRAY\[({_VALUE}(?:, {_VALUE})*)\]\)::([a-z ]+)\[\]")


def comparable_text(definition: str) -> str:
    """Return a text that is equal for the forms that a dump and restore exchanges.

    A text that is too long for a manifest is replaced by its digest.
    """
    text = _CAST_AS_A_WHOLE.sub(_cast_one_by_one, definition)
    text = _TRIM_FROM.sub(lambda found: _TRIM[found[1]], text)
    text = _PARENT.sub("satisfies_hash_partition(parent", text)
    if len(text) <= MOST_DEFINITION_LENGTH:
        return text
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()} of {len(text)} characters"


def _cast_one_by_one(found: re.Match[str]) -> str:
    values = (f"({value[0]})::{found[2]}" for value in re.finditer(_VALUE, found[1]))
    return f"ARRAY[{', '.join(values)}]"
