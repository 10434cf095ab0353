"""The way between the servers: session, publishing, probe."""
