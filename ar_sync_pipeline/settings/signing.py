"""The settings of signatures: the current key, and the previous key during a rotation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from itertools import pairwise
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from ar_sync_pipeline.settings.loading import SettingProblem, SettingsError, Variable
from ar_sync_pipeline.settings.values import invalid_value
from ar_sync_pipeline.signing_keys import SigningKeys

_LEAST_CHARACTERS: Final = 16
_LEAST_BITS: Final = 64
_MAKE_ONE: Final = "make a random one with: openssl rand -hex 32"
_ALPHABETS: Final = (
    ("[0-9]", 10),
    ("[a-f]", 6),
    ("[g-z]", 20),
    ("[A-Z]", 26),
    ("[^0-9A-Za-z]", 32),
)
NOT_SIGNED: Final = (
    "AR_SYNC_SIGNING_KEY is not set: whoever can write into the spool can send archives, and say"
    " what became of them."
)


def strong_secret(value: object) -> object:
    """Validate that a secret is long and random enough not to be guessed."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if len(text) < _LEAST_CHARACTERS:
        raise invalid_value(f"is shorter than {_LEAST_CHARACTERS} characters", _MAKE_ONE)
    if _bits(text) < _LEAST_BITS:
        raise invalid_value("repeats itself or can be guessed", _MAKE_ONE)
    return value


OptionalSecret = Annotated[SecretStr, BeforeValidator(strong_secret)] | None


def end_of_key(value: object) -> datetime:
    """Parse a time with its zone; a date alone means its start in UTC."""
    text = str(value).strip()
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        found = datetime.fromisoformat(text)
        aware = found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        aware = None
    if aware is None:
        raise invalid_value(
            "is not a date, or a time with its zone",
            "write it as 2026-12-31 or 2026-12-31T12:00:00Z",
        )
    return aware


class SigningSettings(BaseModel):
    """Settings of signatures on both sides."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    signing_key: Annotated[
        OptionalSecret,
        Variable(
            "Secret that both sides share; archives and receipts carry an HMAC made with it, and "
            "a receiver that has one quarantines what is not signed with it.",
            "",
        ),
    ] = None
    old_signing_key: Annotated[
        OptionalSecret,
        Variable(
            "The key before AR_SYNC_SIGNING_KEY, whose signatures are accepted until "
            "AR_SYNC_OLD_SIGNING_KEY_UNTIL.",
            "",
        ),
    ] = None
    old_signing_key_until: Annotated[
        Annotated[datetime, BeforeValidator(end_of_key)] | None,
        Variable(
            "When AR_SYNC_OLD_SIGNING_KEY ends: a date, which begins in UTC, or a time with its "
            "zone.",
            "2026-12-31",
        ),
    ] = None

    @field_validator("old_signing_key")
    @classmethod
    def _there_is_a_new_one(cls, old: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if old is not None and "signing_key" in info.data:
            new = info.data["signing_key"]
            if new is None or new.get_secret_value() == old.get_secret_value():
                raise invalid_value(
                    "is set without another AR_SYNC_SIGNING_KEY",
                    "set the new key there, or remove this one",
                )
        return old

    @field_validator("old_signing_key_until")
    @classmethod
    def _old_key_has_an_end(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        if "old_signing_key" in info.data and (info.data["old_signing_key"] is None) != (
            until is None
        ):
            raise invalid_value(
                "is not set together with AR_SYNC_OLD_SIGNING_KEY",
                "set both while keys are rotated, and neither afterwards",
            )
        return until

    @property
    def signing_keys(self) -> SigningKeys:
        """The keys as bytes."""
        return SigningKeys(
            _encoded(self.signing_key), _encoded(self.old_signing_key), self.old_signing_key_until
        )


def load_signing_keys(environ: Mapping[str, str]) -> SigningKeys:
    """Read only the keys, for a command that needs no other setting and may check a key in use.

    Raises:
        SettingsError: The end date of the old key cannot be read.
    """
    name = "AR_SYNC_OLD_SIGNING_KEY_UNTIL"
    until = environ.get(name, "").strip()
    try:
        end = end_of_key(until) if until else None
    except PydanticCustomError as error:
        facts = error.context or {}
        found = SettingProblem(name, str(facts["problem"]), str(facts["remedy"]), name)
        raise SettingsError("signatures", (found,)) from None
    keys = (environ.get(f"AR_SYNC_{which}SIGNING_KEY", "").encode() for which in ("", "OLD_"))
    current, old = (key or None for key in keys)
    return SigningKeys(current, old, end)


def _encoded(secret: SecretStr | None) -> bytes | None:
    return secret.get_secret_value().encode() if secret else None


def _bits(text: str) -> float:
    """Return a rough lower bound of the entropy of a secret in bits.

    Only the first occurrence of each pair of neighbouring characters counts. A pair of equal
    characters, or of characters that are adjacent in the alphabet, does not count.
    """
    pairs = {pair for pair in pairwise(text) if abs(ord(pair[0]) - ord(pair[1])) > 1}
    alphabet = sum(size for pattern, size in _ALPHABETS if re.search(pattern, text))
    return len(pairs) * math.log2(alphabet)
