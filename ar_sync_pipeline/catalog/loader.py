"""Reading a catalog file, with every mistake said at once."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from ar_sync_pipeline.catalog.errors import CatalogError
from ar_sync_pipeline.catalog.model import Catalog

DEFAULT_CATALOG = "android_requests.toml"


def load_catalog(path: Path | None = None) -> Catalog:
    """Read a catalog; without a path the AndroidRequests one that ships with the package.

    Raises:
        CatalogError: the file is missing, is no TOML, or says something that no catalog can.
    """
    if path is None:
        text = resources.files(__package__).joinpath(DEFAULT_CATALOG).read_text("utf-8")
        return _parse(text, DEFAULT_CATALOG)
    try:
        return _parse(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"the catalog {path} cannot be read ({error})",
            remedy="let AR_SYNC_CATALOG name a readable TOML file, or unset it",
        ) from error


def _parse(text: str, label: str) -> Catalog:
    try:
        catalog = Catalog.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"the catalog {label} is no TOML ({error})", remedy="mend it") from error
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}"
            for mistake in error.errors(include_url=False)
        )
        raise CatalogError(
            f"the catalog {label} is wrong ({mistakes})", remedy="see docs/catalog.md"
        ) from error
    _check_names(catalog, label)
    return catalog


def _check_names(catalog: Catalog, label: str) -> None:
    known = {name for name in catalog.table if catalog.travels(name)}
    strangers = sorted(set(catalog.table) - known - set(catalog.receiver_tables))
    children = {child for rules in catalog.table.values() for child in rules.children}
    strangers += sorted(child for child in children if not catalog.travels(child))
    if strangers:
        raise CatalogError(
            f"the catalog {label} has rules for tables that do not travel ({', '.join(strangers)})",
            remedy="add a pattern to `tables` that matches them, or drop their rules",
        )
