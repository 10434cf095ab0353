"""The use cases: dump, load, status. The only place where the other rooms meet."""
