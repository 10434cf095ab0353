"""The use cases: dump, load, status. Only this package combines the other packages."""
