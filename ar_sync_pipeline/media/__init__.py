"""Media files: inventory at the sender, installation and removal at the receiver."""
