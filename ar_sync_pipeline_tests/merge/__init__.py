"""The merge of an archive into the receiver's tables."""
