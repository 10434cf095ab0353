"""A catalog says only what a database cannot tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.errors import CatalogError
from ar_sync_pipeline.catalog.loader import load_catalog


def test_android_requests_catalog_names_the_24_travelling_tables() -> None:
    catalog = load_catalog()
    assert len(catalog.named_tables()) == 24
    assert not any(catalog.travels(table) for table in catalog.receiver_tables)
    assert not catalog.travels("androidrequests_event")


def test_catalog_of_another_application_takes_ten_lines(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(
        """
        name = "shop"
        tables = ["shop_*"]
        receiver_tables = ["shop_dashboard"]
        django_app = "shop"

        [table.shop_order]
        changed_at = "modified"
        media_columns = ["invoice_pdf"]
        """
    )
    catalog = load_catalog(path)
    assert catalog.travels("shop_customer")
    assert catalog.tracked() == ("shop_order",)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name = ", "no TOML"),
        ("name = 'x'\ntables = []", "tables"),
        ("name = 'x'\ntables = ['a_*']\ncolour = 1", "colour"),
        ("name = 'x'\ntables = ['a_*']\n[table.b_x]\nchanged_at = 't'", "b_x"),
        ("name = 'x'\ntables = ['a_*']\n[table.a_x]\nchildren = ['b_y']", "b_y"),
    ],
)
def test_wrong_catalog_gets_one_sentence(tmp_path: Path, text: str, mistake: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=mistake) as caught:
        load_catalog(path)
    assert str(path) in str(caught.value)


def test_missing_catalog_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path / "nowhere.toml")
