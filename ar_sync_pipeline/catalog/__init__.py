"""Which tables are replicated, and how each one changes."""
