"""``builtin:transapp``: what TranSappViz computes from TranSapp's rows, in seven rules."""

from __future__ import annotations

from ar_sync_pipeline.transform.transapp.receiver_tables import missing_in
from ar_sync_pipeline.transform.transapp.run import RESULTS, TransformReport, run_transapp

__all__ = ["RESULTS", "TransformReport", "missing_in", "run_transapp"]
