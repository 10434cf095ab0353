"""Setting up a pair: a catalog for any database, the rights that it needs, the first files."""
