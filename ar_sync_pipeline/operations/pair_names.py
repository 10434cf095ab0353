"""Names of a pair's definitions, for several pairs on one Dagster instance.

Dagster finds runs, ticks, windows, checks and pool slots only by these names. Without names of
their own, two pairs would use each other's runs.
"""

from dataclasses import dataclass

import dagster as dg

SIDE_TAG, PAIR_TAG = "ar_sync/side", "ar_sync/pair"
# By this tag `dagster-celery` chooses the queue of a run.
QUEUE_TAG = "dagster-celery/queue"
_PLAIN_ROOTS = frozenset({"complete", "partial", "receiver", "receiver_endpoint"})


@dataclass(frozen=True)
class PairNames:
    """Names of a pair's definitions: with the pair's name as a prefix, or plain without a name.

    Attributes:
        pair: ``AR_SYNC_PAIR``.
    """

    pair: str = ""

    def key(self, *path: str) -> dg.AssetKey:
        """Return an asset key, with the name of the pair as its first part."""
        return dg.AssetKey([*filter(None, [self.pair]), *path])

    def name(self, plain: str) -> str:
        """Return the name of a job, schedule, sensor, pool, group or step."""
        return f"{self.pair}_{plain}" if self.pair else plain

    @property
    def roots(self) -> frozenset[str]:
        """First parts of the keys of all its assets."""
        return frozenset({self.pair}) if self.pair else _PLAIN_ROOTS

    def tags(self, side: str) -> dict[str, str]:
        """Return the tags of all definitions of one side of the pair, for filters in the UI."""
        return {SIDE_TAG: self.name(side)} | ({PAIR_TAG: self.pair} if self.pair else {})

    def job_tags(self, side: str, longest_seconds: int) -> dict[str, str]:
        """Return the tags of a job of one side: those of all definitions, runtime limit, queue."""
        limit = {dg.MAX_RUNTIME_SECONDS_TAG: str(longest_seconds)}
        return {**limit, **self.tags(side), QUEUE_TAG: self.name(side)}


def queue_of(key: dg.AssetKey) -> str | None:
    """Return the queue for a run of an asset that the UI starts: such a run has no job's tags.

    None: the asset is not of this product.
    """
    found = pair_and_path(key)
    if found is None:
        return None
    pair, path = found
    return PairNames(pair).name("receiver" if path[0] == "receiver" else "sender")


def pair_and_path(key: dg.AssetKey) -> tuple[str, list[str]] | None:
    """Return the name of an asset's pair, and the rest of its key; None: it is no asset of ours."""
    for pair, *path in (["", *key.path], key.path):
        if path and path[0] in _PLAIN_ROOTS:
            return pair, path
    return None


ALONE = PairNames()
"""The names of a pair that has no name."""
