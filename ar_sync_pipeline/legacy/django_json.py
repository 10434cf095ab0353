"""Reads the JSON of Django's serializer as a stream, one object at a time.

Numbers stay text, so that PostgreSQL parses them, not Python.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ar_sync_pipeline.archive.chunk_member import ReadableStream
from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.legacy.tar_stream import OldFormatError

_READ_BYTES = 64 * 1024
_LONGEST_OBJECT = 4 * 1024**2
_BLANKS = " \t\r\n"
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


@dataclass(frozen=True)
class DjangoObject:
    """A row from Django's serializer.

    Attributes:
        pk: Value of the primary key.
        fields: Values by field name of the model; a foreign key has no ``_id``.
    """

    pk: str | bool | None
    fields: dict[str, str | bool | None]


def read_objects(stream: ReadableStream, model: str, member: str) -> Iterator[DjangoObject]:
    """Yield the objects of one model in a serialized list.

    Args:
        stream: Stream of the file.
        model: Expected model of every object, as ``app_label.model``.
        member: Name of the file, for messages.

    Raises:
        OldFormatError: The file is truncated, or not such a list; this may be found only after some
            objects were yielded.
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
    """Elements of a JSON list, with at most one element and one block in memory."""

    def __init__(self, stream: ReadableStream, member: str) -> None:
        self._stream = stream
        self._member = member
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        if self._next_character() != "[":
            raise self._fault("it is not a JSON list")
        self._at += 1
        if self._next_character() != "]":
            while True:
                yield self._element()
                separator = self._next_character()
                if separator == "]":
                    break
                if separator != ",":
                    raise self._fault("it is truncated, or not a JSON list")
                self._at += 1
                self._next_character()
        self._at += 1
        if self._next_character():
            raise self._fault("it continues after its end")

    def _element(self) -> Any:  # noqa: ANN401  whatever the JSON says
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise self._fault("it is nested too deeply") from error
            except ValueError as error:
                # The rest of the object may be unread.
                if len(self._text) - self._at > _LONGEST_OBJECT:
                    raise self._fault(
                        f"an object in it is not JSON, or longer than {_LONGEST_OBJECT} bytes"
                    ) from error
                if not self._read_on():
                    raise self._fault("it is truncated inside an object, or not JSON") from error
            else:
                return found

    def _next_character(self) -> str:
        """Return the next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANKS:
                    return self._text[self._at]
                self._at += 1
            if not self._read_on():
                return ""

    def _read_on(self) -> bool:
        """Drop used text and double the rest, so that few attempts parse the same text."""
        if self._ended:
            return False
        left = self._text[self._at :]
        data = self._stream.read(max(_READ_BYTES, len(left))) or b""
        self._ended = not data
        try:
            self._text = left + self._decode.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._fault("it is not UTF-8") from error
        self._at = 0
        return not self._ended

    def _fault(self, fault: str) -> OldFormatError:
        return OldFormatError(fault, self._member)
