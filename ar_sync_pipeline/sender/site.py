"""What every asset of the sender uses: settings, catalog and a clock."""

from dataclasses import dataclass

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase


@dataclass(frozen=True)
class SenderSite:
    """The sender, as one run sees it."""

    settings: SenderSettings
    catalog: Catalog
    clock: Clock

    @property
    def database(self) -> SenderDatabase:
        """The sender's database, as dumps read it."""
        return SenderDatabase(
            self.settings.database_url,
            self.catalog,
            self.clock,
            self.settings.max_blocking_seconds,
            self.settings.pseudonym_secret,
        )

    @property
    def names(self) -> PairNames:
        """Names of the definitions of this sender."""
        return PairNames(self.settings.pair)

    def pool(self, kind: ArchiveKind) -> str:
        """Return the pool of a kind's dumps: one dump of a kind at a time.

        A long complete therefore delays no partial. Each pair has its own pools, so a receiver that
        does not answer delays no other pair.
        """
        return self.names.name(f"sender_{kind}_dump")

    def build(self, context: dg.AssetExecutionContext, kind: ArchiveKind) -> BuildFolder:
        """Return the run's scratch folder of a kind; a retry continues in the failed run's."""
        run = context.run
        return open_build(self.settings.tmp_bkp_fldr, run.root_run_id or run.run_id, kind)
