"""Keys of a catalog by which loads leave new and changed rows to the built-in rules.

Without them a changed row stays marked as transformed, and nothing shows it. The catalog of the
package has them; a catalog of the operator needs the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from ar_sync_pipeline import catalog as catalog_package
from ar_sync_pipeline.catalog.draft import toml_value
from ar_sync_pipeline.catalog.loader import DEFAULT_CATALOG, load_catalog
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.catalog.validation import place

BUILT_IN: Final = Path(catalog_package.__file__).with_name(DEFAULT_CATALOG)
"""File of the package's catalog, which has all of them."""
_KEYS: Final = ("children", "reset_on_change", "clear_on_change", "rewritten_by_transform")


def marks_to_add(label: str, rules: TableRules) -> dict[str, Any]:
    """Return the keys that a table of the rules lacks, with their whole values."""
    needed = _built_in().rules(label)
    merged = {key: _merged(getattr(rules, key), getattr(needed, key)) for key in _KEYS}
    return {key: value for key, value in merged.items() if value != getattr(rules, key)}


def lines_to_add(catalog: Catalog) -> Iterator[str]:
    """Yield the keys that a catalog lacks, as TOML after the section of each."""
    for label in sorted(_built_in().table):
        for key, value in marks_to_add(label, catalog.rules(label)).items():
            yield f"{place('table', label)} {key} = {toml_value(value)}"


@cache
def _built_in() -> Catalog:
    return load_catalog()


def _merged(given: Any, needed: Any) -> Any:  # noqa: ANN401  lists and tables of TOML
    if isinstance(needed, Mapping):
        return {**given, **needed}
    return (*given, *(one for one in needed if one not in given))
