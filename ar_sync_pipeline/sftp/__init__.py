"""SFTP, the only road between the two servers: publish archives, fetch receipts, check the road.

A session's every step is bounded, the server's host key is always checked against pinned keys,
and nothing appears under its final name before all of it is there.
"""
