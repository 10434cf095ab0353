"""Columns that seem to contain personal data or secrets, by their names and types.

A name is no proof: the draft of a catalog only proposes rules.
"""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import pairwise

from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

# Words of English and Spanish names; the last three kinds are common in both languages.
_WORDS = {
    "secret": "password passwd pwd passphrase secret token apikey session cookie otp totp salt pin"
    " credential credentials private signature webhook clave contrasena contraseña",
    "contact": "email mail correo phone telephone tel mobile cell cellphone fax telefono teléfono"
    " celular whatsapp address street addr direccion dirección postcode postal zip domicilio",
    "name": "firstname lastname surname forename fullname nickname username login displayname"
    " nombre nombres apellido apellidos usuario",
    "identity": "birth birthday birthdate dob ssn passport rut dni nif curp iban bic gender sex"
    " nacimiento imei imsi msisdn device deviceid phoneid uuidphone card cardnumber taxid",
    "position": "latitude longitude lat lon lng geolocation gps location coordinates ip ipaddress"
    " latitud longitud ubicacion ubicación",
}
_PAIRS = {
    ("first", "name"): "name",
    ("last", "name"): "name",
    ("full", "name"): "name",
    ("middle", "name"): "name",
    ("user", "name"): "name",
    ("display", "name"): "name",
    ("contact", "name"): "name",
    ("api", "key"): "secret",
    ("user", "agent"): "identity",
    ("phone", "id"): "identity",
    ("device", "id"): "identity",
    ("tax", "id"): "identity",
    ("national", "id"): "identity",
    ("card", "number"): "identity",
    ("remote", "addr"): "position",
    ("ip", "address"): "position",
}
# Words of table names in which a column such as `name`, `city` or `company` is about a person.
_PEOPLE = (
    "user users customer customers client clients person people employee employees member members"
    " patient patients contact contacts passenger driver student subscriber account profile"
    " usuario usuarios cliente clientes persona personas pasajero conductor"
)
_OF_PEOPLE = "name city town country company state comuna ciudad"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zñáéíóú]+|[0-9]+")
_NOT_TEXT = re.compile(
    r"boolean|(small|big)?int|integer|numeric|real|double|timestamp|date\Z|time|interval|uuid|oid"
)
_NUMBERS = re.compile(r"numeric|real|double|integer|bigint")


class Kind(StrEnum):
    """Kind of data that a column seems to contain."""

    SECRET = "secret"  # noqa: S105  the kind's name
    CONTACT = "contact"
    NAME = "name"
    IDENTITY = "identity"
    POSITION = "position"


def personal_columns(table: TableFacts) -> dict[str, Kind]:
    """Return the columns of a table that look personal, without those of foreign keys.

    Columns of foreign keys contain only numbers.
    """
    referring = {name for key in table.foreign_keys for name in key.columns}
    of_people = bool(set(_PEOPLE.split()) & set(_split(table.relname or table.name)))
    found = {
        column.name: _kind(column, of_people=of_people)
        for column in table.columns
        if column.name not in referring
    }
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(column: ColumnFacts, *, of_people: bool) -> Kind | None:
    words = _split(column.name)
    name = _named(words) or (
        Kind.NAME if of_people and len(words) == 1 and words[0] in _OF_PEOPLE.split() else None
    )
    if name is None or column.type.startswith("boolean"):
        return None
    if _NOT_TEXT.match(column.type):
        numbers = bool(_NUMBERS.match(column.type)) and "id" not in words
        if name is Kind.IDENTITY and column.type.startswith(("date", "timestamp", "uuid")):
            return name
        return name if name in {Kind.POSITION, Kind.CONTACT} and numbers else None
    return name


def _named(words: tuple[str, ...]) -> Kind | None:
    for pair in pairwise(words):
        if pair in _PAIRS:
            return Kind(_PAIRS[pair])
    return next((_BY_WORD[word] for word in words if word in _BY_WORD), None)


def _split(name: str) -> tuple[str, ...]:
    """Return the words of a name: ``phoneId``, ``phone_id`` and ``PHONE_ID`` have the same two."""
    return tuple(word.lower() for word in _WORD.findall(name))


_BY_WORD = {word: Kind(kind) for kind, words in _WORDS.items() for word in words.split()}
