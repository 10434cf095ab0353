"""What every asset of the sender works with: its settings, its catalog and a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build

OWNERS = ["team:operators"]


def pool(kind: ArchiveKind) -> str:
    """The pool of a kind's dumps: one of each at a time, so a long complete delays no partial."""
    return f"sender_{kind}_dump"


@dataclass(frozen=True)
class SenderSite:
    """The sender, as one run sees it."""

    settings: SenderSettings
    catalog: Catalog
    clock: Callable[[], datetime]

    @property
    def url(self) -> str:
        """Of the sender's database; holds the password."""
        return self.settings.sender_database_url.get_secret_value()

    def build(self, context: dg.AssetExecutionContext) -> BuildFolder:
        """The run's scratch folder; a run that goes on where another failed finds that one's."""
        run = context.run
        return open_build(self.settings.tmp_bkp_fldr, run.root_run_id or run.run_id)
