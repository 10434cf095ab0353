"""What every asset of the receiver uses: settings, catalog and a clock."""

from dataclasses import dataclass

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.settings.model import ReceiverSettings


@dataclass(frozen=True)
class ReceiverSite:
    """The receiver, as one run sees it."""

    settings: ReceiverSettings
    catalog: Catalog
    clock: Clock

    @property
    def names(self) -> PairNames:
        """Names of the definitions of this receiver."""
        return PairNames(self.settings.pair)

    @property
    def pool(self) -> str:
        """Pool of all loads: one at a time."""
        return self.names.name("receiver_load")
