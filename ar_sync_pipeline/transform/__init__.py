"""Postprocessing after a load."""
