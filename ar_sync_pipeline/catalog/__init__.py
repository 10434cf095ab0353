"""Which tables travel, and how each one changes."""
