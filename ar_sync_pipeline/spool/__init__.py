"""The queue between the servers: states, load plan, receipts, retention."""
