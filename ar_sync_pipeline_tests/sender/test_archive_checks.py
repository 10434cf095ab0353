"""What the checks of an archive say."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.sender.archive_assets import lost_in_words


@pytest.mark.parametrize(
    ("missing", "refused", "said"),
    [
        (0, 0, "Every file that a row names was found."),
        (2, 0, "2 names in rows have no file."),
        (0, 1, "1 names of files, or in rows, cannot be sent."),
        (2, 1, "2 names in rows have no file, and 1 names of files, or in rows, cannot be sent."),
    ],
)
def test_refused_name_of_a_file_is_not_told_as_one_of_a_row(
    missing: int, refused: int, said: str
) -> None:
    assert lost_in_words(missing, refused) == said
