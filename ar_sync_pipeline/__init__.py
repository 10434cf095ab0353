"""Keep a receiver in step with a sender over nothing but SFTP."""

__version__ = "0.1.0"
