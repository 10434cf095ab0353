"""SFTP, the only link between the two servers: publishes archives, reads receipts, checks the link.

Every step of a session has a time limit, the server's host key is always checked against pinned
keys, and no file gets its final name before it is complete.
"""
