"""From which point on a partial must carry every change."""

from __future__ import annotations

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.settings import SenderSettings
from ar_sync_pipeline.sync.published_mark import read_published


def newest_known_watermark(settings: SenderSettings) -> Watermark | None:
    """The newest point that the receiver has or will have; None on a sender's first run."""
    published = read_published(settings.tmp_bkp_fldr)
    return published.watermark if published else None
