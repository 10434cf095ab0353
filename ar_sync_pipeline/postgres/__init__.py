"""What both directions share: connections, schema facts, digests, ledger, gate."""
