"""Edits that remedies name, and the catalog after them."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.catalog.edits import leave_out, replicate
from ar_sync_pipeline.catalog.model import Catalog


def catalog(**lists: tuple[str, ...]) -> Catalog:
    return Catalog.model_validate({"name": "c", "tables": ("a_*",)} | lists)


@pytest.mark.parametrize(
    ("lists", "label", "edits"),
    [
        ({}, "b_x", 'add "b_x" to `tables` of the catalog'),
        ({"exclude": ("a_x",)}, "a_x", 'remove "a_x" from `exclude`'),
        (
            {"exclude": ("b_x",)},
            "b_x",
            'remove "b_x" from `exclude` and add "b_x" to `tables` of the catalog',
        ),
        ({"exclude": ("a_x*",)}, "a_xy", 'let no pattern of `exclude` match "a_xy"'),
        (
            {"exclude": ("a_x*", "a_xy"), "receiver_tables": ("a_xy",)},
            "a_xy",
            (
                'remove "a_xy" from `exclude` and let no pattern of `exclude` match "a_xy" and'
                ' remove "a_xy" from `receiver_tables`'
            ),
        ),
        ({"receiver_tables": ("a_x",)}, "a_x", 'remove "a_x" from `receiver_tables`'),
    ],
)
def test_table_is_replicated_after_the_edits_that_are_named(
    lists: dict[str, tuple[str, ...]], label: str, edits: str
) -> None:
    assert not catalog(**lists).replicates(label)
    assert replicate(catalog(**lists), label) == edits


def test_table_is_left_out_by_its_pattern_or_by_its_name() -> None:
    assert leave_out(catalog(), "a_x") == 'add "a_x" to `exclude`'
    assert leave_out(catalog(tables=("a_x",)), "a_x") == 'remove "a_x" from `tables`'
