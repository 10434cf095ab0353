"""The parser of ``reportInfo``: any text gives one answer, and the one that the rules give."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.transform.rejected_rows import Severity
from ar_sync_pipeline.transform.transapp.report_info import (
    NOTHING,
    BusReport,
    ParsedReport,
    Position,
    StopReport,
    parse_report_info,
)
from ar_sync_pipeline_tests.transform import oracle

MACHINE = "c71200a1-6c4f-411d-81dc-bfcb4d51d383"
HERE = {"latitude": -33.4, "longitude": -70.6}


def _bus(**values: object) -> BusReport:
    parsed = parse_report_info(json.dumps({"bus": {**HERE, **values}}))
    assert isinstance(parsed.subject, BusReport)
    return parsed.subject


def _user(latitude: object, longitude: object = "-70.6") -> Position | None:
    location = {"latitude": latitude, "longitude": longitude}
    parsed = parse_report_info(json.dumps({"locationUser": location, "bus": HERE}))
    assert parsed.subject is not None
    return parsed.subject.user


def _is_error(parsed: ParsedReport) -> bool:
    return [finding.severity for finding in parsed.findings] == [Severity.ERROR]


@pytest.mark.parametrize(
    "text",
    [
        r"\/-33.45",
        "/-33.45",
        "-33.45",
        "  -33.45",
        "-3.345e1",
        "//-33.45 ",
        r"\\\/-33.45",
        "/-\uff13\uff13.\uff14\uff15",
        "-\u0663\u0663.\u0664\u0665",
        " /\t-33.45\n",
    ],
)
def test_d26_a_latitude_keeps_its_sign_and_digits_after_any_slashes(text: str) -> None:
    assert _user(text) == Position(-33.45, -70.6)


@pytest.mark.parametrize(
    "value",
    ["", " ", "north", "33.4.5", "1-33", "-33,45", "\u221233.45", "\uff0d33.45",
     "\uff13\uff13\uff0e\uff14\uff15", "90.1", "1e999", "-33.45N",
     None, True, [1], {"a": 1}, 10**400, float("nan"), float("inf")],
)  # fmt: skip
def test_d28_half_a_position_is_no_position(value: object) -> None:
    assert _user(value) is None
    assert _user("-33.45", value if value != "90.1" else "180.1") is None


@pytest.mark.parametrize("separator", ["\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u2003"])
def test_a_number_of_the_bus_may_have_any_blanks_around_it(separator: str) -> None:
    bus = _bus(latitude=f"{separator}-33.45", longitude=f"-70.6{separator}")
    assert bus.position == Position(-33.45, -70.6)


@pytest.mark.parametrize("number", ["1" * 65_000, "1" * 32_000 + "." + "1" * 32_000])
def test_a_number_as_long_as_a_text_is_read_in_linear_time(number: str) -> None:
    # It took more than a minute when the time grew with the square of the digits.
    assert _user(f"{number}x", number) is None
    bus = {"latitude": f"{number}x", "longitude": number}
    assert parse_report_info(json.dumps({"locationUser": HERE, "bus": bus})).subject is not None


def test_positions_at_the_ends_of_the_earth_are_positions() -> None:
    assert _user(90, -180) == Position(90, -180)
    assert _user("-90", "180.0") == Position(-90, 180)


@pytest.mark.parametrize("text", [None, "", " \n\t", "{}", '{"locationUser": {}}', '{"bus": 3}'])
def test_a_report_about_nothing_gives_no_row_and_no_complaint(text: str | None) -> None:
    assert parse_report_info(text) == NOTHING


@pytest.mark.parametrize(
    "text",
    ["no", "null", "[1]", "3", '"x"', "{", '{"a": "\\q"}', "[" * 100_000, '{"bus": {}}',
     "\ufeff{}"],
)  # fmt: skip
def test_d27_what_cannot_be_read_is_one_rejection_and_no_exception(text: str) -> None:
    parsed = parse_report_info(text)
    assert parsed.subject is None
    assert _is_error(parsed)


@pytest.mark.parametrize(
    ("plate", "formatted"),
    [
        ("bcdf12", "BC DF 12"),
        ("DummyLpt", "No Info."),
        ("bc df 12", "BC DF 12"),
        ("BJFT-69", "BJ FT -6"),
        ("ABCD 1", "AB CD  1"),
        (None, "No Info."),
        (12, "No Info."),
        ("\0", "No Info."),
    ],
)
def test_the_plate_of_a_report_is_formatted(plate: object, formatted: str) -> None:
    assert _bus(licensePlate=plate).plate == formatted


@pytest.mark.parametrize(
    ("service", "stored"),
    [("507", "507"), (507, "507"), (1.50, "1.5"), ("abcdef", "-"), ("", ""), (None, None),
     (True, "true"), ([], "-"), ("a\0", "-"), ("\ud800", "-"), (10**300, "-")],
)  # fmt: skip
def test_the_service_is_text_of_at_most_five_characters(
    service: object, stored: str | None
) -> None:
    assert _bus(service=service).service == stored


@pytest.mark.parametrize("machine", [MACHINE, MACHINE.upper(), MACHINE.replace("-", "")])
def test_a_machine_id_is_read_in_any_usual_spelling(machine: str) -> None:
    assert _bus(machineId=machine).machine_id == UUID(MACHINE)


@pytest.mark.parametrize("machine", [5, "x", MACHINE[:-1], f"{{{MACHINE}}}", [], False])
def test_a_malformed_machine_id_is_a_detail_and_is_not_replaced_by_the_plate(
    machine: object,
) -> None:
    parsed = parse_report_info(json.dumps({"bus": {**HERE, "machineId": machine}}))
    assert isinstance(parsed.subject, BusReport)
    assert not parsed.subject.is_bus_by_plate
    assert [finding.severity for finding in parsed.findings] == [Severity.INFO]


@pytest.mark.parametrize("machine", ["", " ", None])
def test_an_empty_machine_id_leaves_it_to_the_plate(machine: object) -> None:
    assert _bus(machineId=machine).is_bus_by_plate


def test_an_invalid_position_of_the_bus_gives_way_to_the_persons() -> None:
    text = json.dumps({"locationUser": HERE, "bus": {"latitude": -500.0, "longitude": -70}})
    parsed = parse_report_info(text)
    assert parsed.subject is not None
    assert parsed.subject.position == Position(-33.4, -70.6)


def test_the_first_key_that_holds_an_object_decides() -> None:
    stop = {**HERE, "id": "PA1"}
    parsed = parse_report_info(json.dumps({"busStop": {}, "bus_stop": stop, "bus": None}))
    assert parsed.subject == StopReport("PA1", Position(-33.4, -70.6), None)


def test_a_repeated_key_counts_the_last_time() -> None:
    parsed = parse_report_info('{"bus": 1, "bus": {"latitude": 1, "longitude": 2, "longitude": 3}}')
    assert parsed.subject is not None
    assert parsed.subject.position == Position(1, 3)


def test_a_stop_code_that_is_too_long_is_a_detail() -> None:
    parsed = parse_report_info(json.dumps({"bus_stop": {**HERE, "id": "PA12345"}}))
    assert isinstance(parsed.subject, StopReport)
    assert parsed.subject.stop_code is None
    assert [finding.severity for finding in parsed.findings] == [Severity.INFO]


WORDS = st.sampled_from(
    ["DUMMYLPT", "bcdf12", MACHINE, "-33.45", "/-\uff13\uff13.\uff14", r"\/-70.6", "PA1", 10**500]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
NAMES = ("latitude", "longitude", "service", "licensePlate", "machineId", "id")
THINGS = VALUES | st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, VALUES))
REPORTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("bus", "bus_stop", "busStop", "locationUser"), THINGS)
)
FRAGMENTS = st.sampled_from(
    [r"\u12", r"\uD83D", r"\ud800\u0041", r"\uZZZZ", r"\x", r"\u0000", '"', "{", "]", ",", "\t",
     "\x1f", r"\u001c", "\x85", "\ufeff", "\U0001f68c", "-", "1e999999", "9" * 400, "NaN",
     "-Infinity", ""]
)  # fmt: skip


def _damaged(text: str, at: float, cut: int, fragment: str) -> str:
    start = int(at * len(text))
    return text[:start] + fragment + text[start + cut :]


PLAIN = (VALUES | REPORTS).flatmap(
    lambda value: st.booleans().map(lambda ascii_: json.dumps(value, ensure_ascii=ascii_))
)
_OBJECTS = REPORTS.map(json.dumps)
DAMAGED = st.builds(_damaged, _OBJECTS, st.floats(0, 1), st.integers(0, 9), FRAGMENTS)
TEXTS = st.text() | PLAIN | DAMAGED


@given(TEXTS)
def test_any_text_gives_the_oracles_row_or_one_rejection_or_nothing(text: str) -> None:
    parsed = parse_report_info(text)

    assert parse_report_info(text) == parsed
    expected = oracle.report_info(text, [])
    assert (parsed.subject is None) == (expected is None)
    if parsed.subject is None or expected is None:
        assert parsed == NOTHING if oracle.says_nothing(text) else _is_error(parsed)
        return
    subject = parsed.subject
    user = (subject.user.latitude, subject.user.longitude) if subject.user else (None, None)
    assert (subject.position.latitude, subject.position.longitude) == (
        expected["latitude"],
        expected["longitude"],
    )
    assert user == (expected["userLatitude"], expected["userLongitude"])
    if isinstance(subject, BusReport):
        assert subject.service == expected["service"]
        assert subject.plate == expected["registrationPlate"]
    else:
        assert subject.stop_code == expected["stopCode"]
