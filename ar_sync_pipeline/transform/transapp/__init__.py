"""``builtin:transapp``: what TranSappViz computes from TranSapp's rows, in seven rules."""

from __future__ import annotations

from ar_sync_pipeline.transform.transapp.run import TransformReport, run_transapp

__all__ = ["TransformReport", "run_transapp"]
