"""What of a server's answer is shown: no value of a row, in whatever language it answers."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from ar_sync_pipeline.export.readable_values import readable
from ar_sync_pipeline.merge.errors import refusal
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError, SchemaError
from ar_sync_pipeline.postgres.server_message import shown, shown_place

# PostgreSQL 15's catalogs of messages, with this value.
VALUE = "ana 'x' \"y\" 9"
TRANSLATED = (
    ('invalid input syntax for type integer: "{}"', "invalid input syntax for type integer"),
    ('value "{}" is out of range for type integer', 'value "..." is out of range for type integer'),
    ('invalid input value for enum gender: "{}"', "invalid input value for enum gender"),
    ("la sintaxis de entrada no es válida para tipo integer: «{}»", None),
    ("el valor «{}» está fuera de rango para el tipo integer", None),
    ("valor de hora/fecha fuera de rango: «{}»", None),
    ("ungültige Eingabesyntax für Typ integer: »{}«", None),
    ("Datum/Zeit-Feldwert außerhalb des gültigen Bereichs: „{}“", None),
    ("valeur du champ date/time en dehors des limites : « {} »", None),
    ("la valeur « {} » est en dehors des limites pour le type integer", None),
    (
        'valore "{}" fuori dall\'intervallo consentito per il tipo integer',
        'valore "..." fuori dall\'intervallo consentito per il tipo integer',
    ),
    ('"{}"型の入力構文が不正です: "{}"', None),
    ("tsvector内の構文エラー: {}", None),
    ("{} დიაპაზონს გარეთაა ტიპისთვის: double precision", None),
    (
        "value too long for type character varying(3)",
        "value too long for type character varying(3)",
    ),
    ('invalid byte sequence for encoding "UTF8": 0xe9', 'invalid byte sequence for encoding "..."'),
)


@pytest.mark.parametrize(("text", "said"), TRANSLATED)
@pytest.mark.parametrize("value", [VALUE, "first\nsecond"])
def test_message_about_a_value_is_shown_without_it_in_every_language(
    text: str, said: str | None, value: str
) -> None:
    error = errors.InvalidTextRepresentation(text.replace("{}", value))
    expected = said or "InvalidTextRepresentation, SQLSTATE 22P02"
    assert shown(error) == expected
    assert f"({expected})" in refusal(error).problem


@pytest.mark.parametrize("text", [text for text, _ in TRANSLATED if "{}" in text])
@pytest.mark.parametrize("value", ["Peña", "secret " * 3_000, "'a " * 500_000])
def test_no_kind_of_value_is_shown(text: str, value: str) -> None:
    error = errors.InvalidTextRepresentation(text.replace("{}", value))
    assert value[:6] not in shown(error)


def test_syntax_error_within_a_value_is_shown_without_it() -> None:
    assert (
        shown(errors.SyntaxError('syntax error in tsquery: "ana &"')) == "syntax error in tsquery"
    )
    assert shown(errors.InvalidName("die Syntax „ana“")) == "InvalidName, SQLSTATE 42602"


def test_coordinates_in_an_error_of_an_extension_are_masked() -> None:
    text = "TopologyException: Input geom 0 is invalid: Self-intersection at -70.65 -33.43"
    assert shown(errors.InternalError_(text)) == text.replace("-70.65 -33.43", "... ...")
    damaged = "missing chunk number 0 for toast value 16390 in pg_toast_16385"
    assert shown(errors.InternalError_(damaged)) == damaged


@pytest.mark.parametrize(
    "error",
    [
        errors.IndexCorrupted('index "t_a_pkey" contains unexpected zero page at block 0'),
        errors.DataCorrupted('could not read block 5 in file "base/5/16384"'),
    ],
)
def test_damage_is_told_with_its_place(error: psycopg.Error) -> None:
    assert shown(error) == str(error)


def test_encodings_are_no_values() -> None:
    text = 'character with byte sequence {} in encoding "UTF8" has no equivalent in encoding "{}"'
    error = errors.UntranslatableCharacter(text.format("0xe2 0x82 0xac", "LATIN1"))
    assert shown(error) == text.format("... ... ...", "LATIN1")
    assert "ana" not in shown(errors.UntranslatableCharacter(text.format("0xe2", "ana y eva")))


def test_value_with_accents_hides_no_message_that_quotes_it() -> None:
    text = 'invalid input value for enum "estado": "Peña"'
    shown_text = 'invalid input value for enum "..."'
    assert shown(errors.InvalidTextRepresentation(text)) == shown_text
    unquoted = errors.InvalidTextRepresentation("syntax: Peña")
    assert shown(unquoted) == "InvalidTextRepresentation, SQLSTATE 22P02"


@pytest.mark.parametrize(
    "text",
    [
        'relation "t_a" does not exist',
        'duplicate key value violates unique constraint "t_a_pkey"',
        'could not extend file "base/5/16384": No space left on device',
    ],
)
def test_message_that_has_only_names_is_shown_as_it_is(text: str) -> None:
    assert shown(psycopg.ProgrammingError(text)) == text


@pytest.mark.parametrize("state", ["P0001", "22023", "42501", "53400", "XX000"])
def test_text_of_the_applications_own_code_is_shown_without_numbers_and_quoted_parts(
    empty_database: str, state: str
) -> None:
    with psycopg.connect(empty_database) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(
            "DO $$BEGIN RAISE EXCEPTION 'RUT % of «%» <%> inválido', '12.345-K', 'Ana',"
            f" 'ana@b.cl' USING ERRCODE = '{state}', HINT = 'see 4711'; END$$".encode()
        )
    error = caught.value
    assert shown(error) == 'RUT ... of "..." ... inválido'
    assert shown(error, error.diag.message_hint) == "see ..."


def test_value_that_a_domain_casts_is_in_no_message(empty_database: str) -> None:
    with connect(empty_database, application="test") as connection:
        connection.execute("CREATE DOMAIN rut AS text CHECK (VALUE::int > 0)")
        connection.execute("CREATE TEMP TABLE staged (rut rut)")
        for value in ("99999999999", "12.345-K"):
            with (
                pytest.raises(psycopg.DataError) as caught,
                connection.cursor().copy("COPY staged FROM STDIN") as copy,
            ):
                copy.write_row((value,))
            assert value not in refusal(caught.value).problem
            assert shown_place(caught.value) == "COPY staged, line 1, column rut"
            with pytest.raises(SchemaError) as read, readable("t_a"):
                raise caught.value
            assert value not in str(read.value)


def test_broken_connection_is_told_without_the_line_of_copy(empty_database: str) -> None:
    with (
        pytest.raises(DatabaseUnreachableError) as caught,
        connect(empty_database, application="test") as connection,
    ):
        connection.execute("CREATE TABLE public.staged (id text)")
        connection.execute(
            "CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'"
        )
        connection.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON public.staged FOR EACH ROW"
            " EXECUTE FUNCTION public.stop()"
        )
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY public.staged (id) FROM STDIN") as copy,
        ):
            copy.write_row(("planted",))
    assert "planted" not in str(caught.value)
    assert "terminating connection due to administrator command" in str(caught.value)
