"""Shared by sender and receiver: connections, schema facts, digests, ledger, gate."""
