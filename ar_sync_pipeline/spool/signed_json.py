"""Small JSON files that cross the border between the two servers, signed where a key is shared."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ar_sync_pipeline.archive.manifest import Sha256
from ar_sync_pipeline.spool.errors import ReceiptError

MAX_BYTES = 64 * 1024
UNREADABLE_REMEDY = "delete the file; the receiver's next run writes it again"


class SignedJson(BaseModel):
    """A model with a format number and, when signed, an HMAC over everything else.

    Attributes:
        hmac: HMAC-SHA256 over the canonical JSON without this field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)] = 1
    hmac: Sha256 | None = None

    def signature(self, key: bytes) -> str:
        """HMAC-SHA256 of the model without its ``hmac`` field."""
        content = self.model_dump(mode="json", exclude={"hmac"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hmac.new(key, canonical, hashlib.sha256).hexdigest()

    def signed(self, key: bytes | None) -> Self:
        """A copy that carries its signature; the same where no key is shared."""
        return self if key is None else self.model_copy(update={"hmac": self.signature(key)})

    def to_bytes(self) -> bytes:
        """The file's content."""
        return self.model_dump_json().encode() + b"\n"


Model = TypeVar("Model", bound=SignedJson)


def parse_signed(model: type[Model], content: bytes, *, what: str, key: bytes | None) -> Model:
    """Read a model from bytes of any origin.

    Args:
        what: the file, for messages, such as "the receipt of ...".
        key: the shared secret, when one is set; the file must then carry its HMAC.

    Raises:
        ReceiptError: the bytes are no such model, too many, or not signed with the key.
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
    if key is not None and not hmac.compare_digest(parsed.hmac or "", parsed.signature(key)):
        raise ReceiptError(
            f"{what} is not signed with the shared key",
            remedy="give both sides the same AR_SYNC_SIGNING_KEY",
        )
    return parsed
