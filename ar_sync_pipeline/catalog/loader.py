"""Reading of a catalog file; a wrong one is refused with all its errors at once."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from ar_sync_pipeline.catalog.errors import CatalogError, InvalidCatalogError
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.catalog.validation import validated

DEFAULT_CATALOG = "android_requests.toml"


def load_catalog(path: Path | None = None) -> Catalog:
    """Read a catalog; without a path the AndroidRequests catalog of the package.

    Raises:
        CatalogError: The file is missing, is not TOML, or contains what no catalog may contain.
    """
    if path is None:
        text = resources.files(__package__).joinpath(DEFAULT_CATALOG).read_text("utf-8")
        return _parse(text, DEFAULT_CATALOG)
    try:
        return _parse(path.read_text("utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise CatalogError(
            f"the catalog {path} cannot be read ({reason})",
            remedy="name a readable TOML file, in the call or by AR_SYNC_CATALOG",
        ) from error


def _parse(text: str, label: str) -> Catalog:
    try:
        data = tomllib.loads(text)
        catalog, problems = validated(data)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(
            f"the catalog {label} is no TOML ({error})", remedy="correct the named line"
        ) from error
    except RecursionError:
        raise CatalogError(
            f"the catalog {label} has lists or tables in each other that are nested too deeply",
            remedy="remove the brackets that are too many",
        ) from None
    if problems or catalog is None:
        raise InvalidCatalogError(label, problems)
    return catalog
