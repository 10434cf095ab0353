"""Setup of a pair: a catalog for any database, its grants, the first files."""
