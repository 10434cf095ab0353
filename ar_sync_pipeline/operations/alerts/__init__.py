"""From what Dagster knows of runs, ticks and checks to incidents."""
