"""Messages from errors of the database while rows are written."""

from __future__ import annotations

import psycopg

from ar_sync_pipeline.merge.errors import refusal


def test_statement_that_is_not_valid_is_not_called_a_refusal_of_rows() -> None:
    error = refusal(psycopg.errors.SyntaxError('syntax error at or near "FROM"'), table="t")
    assert "refuses the archive's rows" not in error.problem
    assert "cannot run a statement of the load" in error.problem
    assert "defect of ar-sync" in error.remedy
