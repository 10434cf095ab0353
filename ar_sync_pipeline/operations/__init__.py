"""Names, checks, runs and alerts that both code locations share."""
