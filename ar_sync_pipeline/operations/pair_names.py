"""What the definitions of a pair are called, where several pairs share one Dagster instance.

Dagster finds runs, ticks, windows, checks and pool slots by these names alone, so two pairs without
names of their own would take each other's runs for theirs.
"""

from dataclasses import dataclass

import dagster as dg

SIDE_TAG, PAIR_TAG = "ar_sync/side", "ar_sync/pair"
_PLAIN_ROOTS = frozenset({"complete", "partial", "receiver", "receiver_endpoint"})


@dataclass(frozen=True)
class PairNames:
    """Names of a pair's definitions: with its name as a prefix, plain where it has no name.

    Attributes:
        pair: ``AR_SYNC_PAIR``.
    """

    pair: str = ""

    def key(self, *path: str) -> dg.AssetKey:
        """An asset's key: below the pair's folder in the asset catalog."""
        return dg.AssetKey([*filter(None, [self.pair]), *path])

    def name(self, plain: str) -> str:
        """The name of a job, schedule, sensor, pool, group or step."""
        return f"{self.pair}_{plain}" if self.pair else plain

    @property
    def roots(self) -> frozenset[str]:
        """The first parts of the keys of all its assets."""
        return frozenset({self.pair}) if self.pair else _PLAIN_ROOTS

    def tags(self, side: str) -> dict[str, str]:
        """Tags of everything on one side of the pair, by which operators filter."""
        return {SIDE_TAG: self.name(side)} | ({PAIR_TAG: self.pair} if self.pair else {})


ALONE = PairNames()
"""The names of a pair that has no name."""
