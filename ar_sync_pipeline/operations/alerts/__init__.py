"""Incidents from runs, ticks and checks in Dagster."""
