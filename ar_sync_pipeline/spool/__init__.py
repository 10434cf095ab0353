"""The queue between the servers: states, plan, retention."""
