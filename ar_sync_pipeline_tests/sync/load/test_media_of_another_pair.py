"""A receiver whose media folder another pair has marked loads nothing, and says why."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.media.errors import MediaOfAnotherError
from ar_sync_pipeline.media.pair_mark import MARK, claim_folder
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.watch.folder_findings import media_findings
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal


def test_nothing_is_loaded_until_the_folder_is_the_pair_s_own(filled: TwoSites) -> None:
    filled.complete()
    claim_folder(filled.receiver_media, "lima")
    with pytest.raises(MediaOfAnotherError, match="is that of the pair lima"):
        filled.load()
    assert len(list_waiting(filled.spool)) == 1
    (finding,) = [f for f in media_findings(filled.settings) if "pair lima" in f.problem]
    assert "AR_SYNC_RECEIVER_MEDIA_FLDR" in finding.remedy

    (filled.receiver_media / MARK).unlink()
    filled.load()
    assert equal(filled)
