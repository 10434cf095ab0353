"""Postprocessing after a load: which transform to run, and the built-in rules."""
