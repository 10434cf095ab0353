"""The code location of the production server."""
