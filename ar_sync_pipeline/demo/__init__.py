"""Two servers in one folder."""
