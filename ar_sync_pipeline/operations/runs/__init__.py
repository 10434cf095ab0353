"""Launching, terminating, counting and purging of runs."""
