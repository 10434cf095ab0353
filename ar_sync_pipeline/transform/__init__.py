"""Transform after a load: its specification, and the built-in rules."""
