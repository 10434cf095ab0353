"""From a snapshot to an archive in the receiver's spool."""
