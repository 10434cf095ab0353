"""Demo: two servers in one folder."""
