"""Incidents and the mail about them."""
