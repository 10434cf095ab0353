"""The archive format: names, manifest, writer, reader."""
