"""Runs themselves: launching, ending, counting, purging."""
