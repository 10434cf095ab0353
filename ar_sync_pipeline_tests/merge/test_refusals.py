"""Messages from errors of the database while rows are written."""

from __future__ import annotations

import psycopg
import pytest

from ar_sync_pipeline.merge.errors import refusal


def test_statement_that_is_not_valid_is_not_called_a_refusal_of_rows() -> None:
    error = refusal(psycopg.errors.SyntaxError('syntax error at or near "FROM"'), table="t")
    assert "refuses the archive's rows" not in error.problem
    assert "cannot run a statement of the load" in error.problem
    assert "defect of ar-sync" in error.remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (psycopg.errors.UntranslatableCharacter, "with the sender's encoding"),
        (psycopg.errors.CharacterNotInRepertoire, "with the sender's encoding"),
        (psycopg.errors.DatetimeFieldOverflow, "correct the value at the sender"),
        (psycopg.errors.InvalidBinaryRepresentation, "correct the value at the sender"),
        (psycopg.errors.StringDataRightTruncation, "compare the table's columns and types"),
    ],
)
def test_remedy_of_a_value_fits_its_error(error: type[psycopg.Error], remedy: str) -> None:
    assert remedy in refusal(error("no"), table="t").remedy


def test_remedy_of_a_missing_right_is_one_that_the_next_grants_keep() -> None:
    """``ar-sync grants`` revokes what the catalog does not name."""
    remedy = refusal(psycopg.errors.InsufficientPrivilege("permission denied for table n")).remedy
    assert "name that table in `receiver_tables` of the receiver's catalog" in remedy
    assert "ar-sync grants receiver" in remedy


@pytest.mark.parametrize(
    ("denied", "remedy"),
    [
        ("type mood", "GRANT USAGE ON that type to the role"),
        ("schema app", "GRANT USAGE ON that schema to the role"),
        ("function f", "GRANT EXECUTE ON that function to the role"),
        ("sequence s", "GRANT USAGE ON that sequence to the role"),
        ("table function_types", "name that table in `receiver_tables`"),
    ],
)
def test_remedy_of_a_missing_right_names_what_it_is_missing_for(denied: str, remedy: str) -> None:
    error = psycopg.errors.InsufficientPrivilege(f"permission denied for {denied}")
    assert remedy in refusal(error).remedy
