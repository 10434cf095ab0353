"""State of a pair for people: connectivity, lag, comparison, preflight, alerts."""
