"""Small JSON files that the two servers exchange, signed if they share a key."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from ar_sync_pipeline.archive.manifest_fields import Sha256
from ar_sync_pipeline.spool.errors import ReceiptError

MAX_BYTES = 64 * 1024
UNREADABLE_REMEDY = "delete the file; the receiver's next run writes it again"
_SIGNATURES = ("hmac", "old_hmac")


class SignedJson(BaseModel):
    """A model with a format number and, when signed, an HMAC over everything else.

    Attributes:
        hmac: HMAC-SHA256 with the current key, over the canonical JSON without both signatures.
        old_hmac: HMAC-SHA256 with the old key during a key rotation, for a sender that does not
            have the current key yet.
    """

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out while they are empty: an earlier version of the other side refuses
    the whole file for a field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)] = 1
    hmac: Sha256 | None = None
    old_hmac: Sha256 | None = None

    def signature(self, key: bytes) -> str:
        """Return the HMAC-SHA256 of the model without its signatures."""
        content = self.model_dump(mode="json", exclude=set(_SIGNATURES))
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hmac.new(key, canonical, hashlib.sha256).hexdigest()

    def signed(self, keys: Sequence[bytes]) -> Self:
        """Return a copy that is signed with each key; at most two keys are allowed."""
        made = map(self.signature, keys)
        return self.model_copy(update=dict(zip_longest(_SIGNATURES, made)))

    def is_signed_by(self, keys: Collection[bytes]) -> bool:
        """Return whether either signature was made with one of the keys."""
        found = [signature for signature in (self.hmac, self.old_hmac) if signature is not None]
        right = [self.signature(key) for key in keys]
        return any(hmac.compare_digest(one, other) for one in found for other in right)

    @model_serializer(mode="wrap")
    def _without_empty_later_fields(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out empty fields of `ADDED_LATER`."""
        return {
            name: value
            for name, value in write(self).items()
            if value or name not in self.ADDED_LATER
        }

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        unset = {"old_hmac"} if self.old_hmac is None else set()
        return self.model_dump_json(exclude=unset).encode() + b"\n"


Model = TypeVar("Model", bound=SignedJson)


def parse_signed(
    model: type[Model], content: bytes, *, what: str, keys: Collection[bytes]
) -> Model:
    """Read a model from bytes of any origin.

    Args:
        what: Description of the file for messages, such as "the receipt of ...".
        keys: Accepted keys; if there are any, the file must be signed with one.

    Raises:
        ReceiptError: The bytes do not fit the model, are too many, or are not signed with an
            accepted key.
    """
    if len(content) > MAX_BYTES:
        raise ReceiptError(f"{what} is larger than {MAX_BYTES} bytes", remedy=UNREADABLE_REMEDY)
    try:
        parsed = model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "JSON"
        raise ReceiptError(
            f"{what} cannot be read ({place}: {first['msg']})", remedy=UNREADABLE_REMEDY
        ) from None
    if keys and not parsed.is_signed_by(keys):
        raise ReceiptError(
            f"{what} is not signed with the shared key",
            remedy="give both sides the same AR_SYNC_SIGNING_KEY; if they have it, the receiver's"
            " next load signs again",
        )
    return parsed
