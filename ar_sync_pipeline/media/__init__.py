"""Media files: inventory, installation."""
