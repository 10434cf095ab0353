"""The two databases: snapshot, selection, digests, staging and merge, ledger."""
