"""Reading Django's JSON serialization as a stream: one object after the other, never the list.

Numbers stay the text that they are, so that PostgreSQL, not Python, reads them.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.legacy.tar_stream import ByteSource, OldFormatError

_PIECE_BYTES = 64 * 1024
_LONGEST_OBJECT = 4 * 1024**2
_BLANKS = " \t\r\n"
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


@dataclass(frozen=True)
class DjangoObject:
    """A row as Django's serializer writes it.

    Attributes:
        pk: the value of the primary key.
        fields: values by the model's field names: of a foreign key without ``_id``.
    """

    pk: str | bool | None
    fields: dict[str, str | bool | None]


def read_objects(stream: ByteSource, model: str, member: str) -> Iterator[DjangoObject]:
    """Yield the objects of one model in a serialized list.

    Args:
        model: ``app_label.model``, which every object must be of.
        member: what to call the file in a fault.

    Raises:
        OldFormatError: it is cut, or not such a list; maybe only behind some objects.
    """
    for number, found in enumerate(_JsonList(stream, member), start=1):
        yield _django_object(found, model, f"object {number}", member)


def _django_object(found: object, model: str, which: str, member: str) -> DjangoObject:
    if not isinstance(found, dict) or set(found) != {"model", "pk", "fields"}:
        raise OldFormatError(f"{which} in it is not what Django's serializer writes", member)
    if found["model"] != model:
        raise OldFormatError(
            f"{which} in it is of model {printable(str(found['model']))}, not {model}", member
        )
    fields = found["fields"]
    if not isinstance(fields, dict):
        raise OldFormatError(f"{which} in it has no fields", member)
    for name, value in [("pk", found["pk"]), *fields.items()]:
        if not isinstance(value, str | bool | None):
            raise OldFormatError(f"{which} in it has no plain value in {printable(name)}", member)
    return DjangoObject(found["pk"], fields)


class _JsonList:
    """The elements of a JSON list, with at most one of them and one piece in memory."""

    def __init__(self, stream: ByteSource, member: str) -> None:
        self._stream = stream
        self._member = member
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        if self._next_character() != "[":
            raise self._fault("it is no JSON list")
        self._at += 1
        if self._next_character() != "]":
            while True:
                yield self._element()
                separator = self._next_character()
                if separator == "]":
                    break
                if separator != ",":
                    raise self._fault("it is cut, or no JSON list")
                self._at += 1
                self._next_character()
        self._at += 1
        if self._next_character():
            raise self._fault("it goes on behind its end")

    def _element(self) -> Any:  # noqa: ANN401  whatever the JSON says
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise self._fault("it is nested too deeply") from error
            except ValueError as error:
                # The rest of the object may not have been read yet.
                if len(self._text) - self._at > _LONGEST_OBJECT:
                    raise self._fault(
                        f"an object in it is no JSON, or longer than {_LONGEST_OBJECT} bytes"
                    ) from error
                if not self._read_on():
                    raise self._fault("it is cut inside an object, or no JSON") from error
            else:
                return found

    def _next_character(self) -> str:
        """Return the next one that is no blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANKS:
                    return self._text[self._at]
                self._at += 1
            if not self._read_on():
                return ""

    def _read_on(self) -> bool:
        """Forget what was used; read as much again as is left, so that no text is tried often."""
        if self._ended:
            return False
        left = self._text[self._at :]
        data = self._stream.read(max(_PIECE_BYTES, len(left))) or b""
        self._ended = not data
        try:
            self._text = left + self._decode.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._fault("it is not UTF-8") from error
        self._at = 0
        return not self._ended

    def _fault(self, fault: str) -> OldFormatError:
        return OldFormatError(fault, self._member)
