"""Types of the values in a manifest, with the limits of PostgreSQL and of this product."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from ar_sync_pipeline.archive.microseconds import EARLIEST_INSTANT, END_OF_INSTANTS

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
TableName = Annotated[str, StringConstraints(min_length=1, max_length=127, pattern=r"^[^\x00]+$")]
MOST_DEFINITION_LENGTH = 20_000
"""Number of characters of a `Definition` that a receiver reads."""
Definition = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MOST_DEFINITION_LENGTH, pattern=r"^[^\x00]+$"),
]
# A label of an enum may be empty.
TypePart = Annotated[
    str, StringConstraints(max_length=MOST_DEFINITION_LENGTH, pattern=r"^[^\x00]*$")
]
TypeName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
# Identifiers that are also shown: a cluster, a version, a digest.
Label = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00]*$")]
MigrationName = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]+$")
]
MemberName = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]
MOST_BYTES = 2**50
"""Size of the largest member or file in bytes that a manifest can tell."""
ByteCount = Annotated[int, Field(ge=0, le=MOST_BYTES)]
RowCount = Annotated[int, Field(ge=0, lt=2**63)]
BigInt = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Instant = Annotated[AwareDatetime, Field(ge=EARLIEST_INSTANT, lt=END_OF_INSTANTS)]


class Strict(BaseModel):
    """A model that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
