"""The old system, AndroidRequestsBackups: its archives and its settings."""
