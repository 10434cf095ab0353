"""Sender rows to archive members: one snapshot, the rows of an archive, its chunks."""
