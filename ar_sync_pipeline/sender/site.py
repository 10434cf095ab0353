"""What every asset of the sender works with: its settings, its catalog and a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build

OWNERS = ["team:operators"]


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

    @property
    def names(self) -> PairNames:
        """What the definitions of this sender are called."""
        return PairNames(self.settings.pair)

    def pool(self, kind: ArchiveKind) -> str:
        """The pool of a kind's dumps: one of each at a time, so a long complete delays no partial.

        Each pair has its own, so a receiver that does not answer delays no other.
        """
        return self.names.name(f"sender_{kind}_dump")

    def build(self, context: dg.AssetExecutionContext) -> BuildFolder:
        """The run's scratch folder; a run that goes on where another failed finds that one's."""
        run = context.run
        return open_build(self.settings.tmp_bkp_fldr, run.root_run_id or run.run_id)
