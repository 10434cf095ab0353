"""What the next complete carries of the chunks that a late one could not verify."""

from __future__ import annotations

from uuid import UUID

from ar_sync_pipeline.archive.manifest import Chunk, KeyRange
from ar_sync_pipeline.sync.load.unverified_chunks import chunks_to_carry


def chunk(number: int) -> Chunk:
    return Chunk(
        member=f"tables/app_child.{number:06}.copy.zst",
        row_count=1,
        digest="1",
        size_bytes=1,
        raw_bytes=1,
        sha256="0" * 64,
        key_range=KeyRange(low=number << 16, high=(number + 1) << 16),
        carried=False,
    )


def carried(archive_id: UUID, count: int) -> set[int]:
    lacking = chunks_to_carry(archive_id, {"app_child": [chunk(n) for n in range(count)]})
    assert [table.name for table in lacking.tables] == ["app_child"]
    return {low >> 16 for low in lacking.tables[0].chunks}


def test_all_if_they_are_few() -> None:
    assert carried(UUID(int=1), 50) == set(range(50))


def test_others_each_time_if_they_are_many() -> None:
    rounds = [carried(UUID(int=n), 200) for n in range(60)]
    assert {len(one) for one in rounds} == {50}
    assert set().union(*rounds) == set(range(200))


def test_table_without_ranges_of_keys_as_a_whole() -> None:
    whole = chunk(0).model_copy(update={"key_range": None})
    lacking = chunks_to_carry(UUID(int=1), {"app_log": [whole]})
    assert lacking.has_chunk("app_log", whole)
