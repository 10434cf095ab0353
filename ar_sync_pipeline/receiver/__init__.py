"""The code location of the visualization server."""
