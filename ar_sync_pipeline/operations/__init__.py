"""What both code locations share."""
