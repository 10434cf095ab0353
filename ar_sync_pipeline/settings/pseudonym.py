"""The setting of pseudonyms: the sender's secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.settings.loading import Variable
from ar_sync_pipeline.settings.signing import OptionalSecret


class PseudonymSettings(BaseModel):
    """Settings that the sender needs if its catalog has pseudonyms."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    pseudonym_key: Annotated[
        OptionalSecret,
        Variable(
            "Secret with which the catalog's pseudonyms are made; it never leaves the sender, and "
            "another one makes other pseudonyms.",
            "",
        ),
    ] = None

    @property
    def pseudonym_secret(self) -> str | None:
        """The secret in plain text; None if it is not set."""
        return self.pseudonym_key.get_secret_value() if self.pseudonym_key else None


def load_pseudonym_secret(environ: Mapping[str, str]) -> str | None:
    """Read only the secret, for a command that needs no other setting."""
    return environ.get("AR_SYNC_PSEUDONYM_KEY", "").strip() or None
