"""Errors of SFTP, by retry policy.

The tree::

TransientError                  retried with backoff
├── UnresolvableHostError       no address for the host name
├── UnreachableHostError        no answer, or the port is closed
└── ConnectionLostError         interrupted, silent for too long, or closed by the server
ParkedError                     tried again when something at the receiver changes
├── RemoteSpoolMissingError     the spool does not exist, or is not a folder
├── SpoolNotWritableError       the account may not write there, or nobody can
├── ReceiverDiskFullError       too little free space
├── SourceUnreadableError       a file to send cannot be read on this side
├── RemoteFileMissingError      a file at the receiver is missing
└── RefusedByServerError        the server refused without a reason that SFTP can tell
TerminalError                   an operator has to act
├── EndpointError               host, port, user or key settings contradict each other
├── PrivateKeyError             the private key cannot be used
├── KnownHostsError             the file of pinned host keys cannot be used
├── UnknownHostKeyError         no key of this server is pinned
├── ChangedHostKeyError         another key is pinned, or this one is revoked
├── IncompatibleServerError     no common algorithm
│   └── NoSftpError             the login succeeds, and SFTP does not start
├── LoginRefusedError           the server does not accept this user with this key
├── RemoteNameError             a name that is not allowed at the receiver
├── RemoteFileTooLargeError     a small file is too large
├── SourceChangedError          the file changed while it was sent
├── DamagedUploadError          the uploaded bytes differ, though every write succeeded
└── ArchiveConflictError        another archive of the same name exists
"""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class UnresolvableHostError(TransientError):
    """The host name has no address, or the resolver does not answer."""


class UnreachableHostError(TransientError):
    """No address of the host accepts a TCP connection."""


class ConnectionLostError(TransientError):
    """An established connection was interrupted, closed, or made no progress for too long.

    paramiko raises EOFError, SSHException, OSError or TimeoutError for this event; this class
    replaces all of them.
    """


class RemoteSpoolMissingError(ParkedError):
    """The spool does not exist over SFTP, or is not a folder."""


class SpoolNotWritableError(ParkedError):
    """The account may not read or write in the spool, or its file system takes no file."""


class ReceiverDiskFullError(ParkedError):
    """The receiver has too little free space, found before or while writing."""


class SourceUnreadableError(ParkedError):
    """A file to send cannot be read on this side."""


class RemoteFileMissingError(ParkedError):
    """A file or folder at the receiver is missing."""


class RefusedByServerError(ParkedError):
    """The server refused a request on a working connection.

    SFTP version 3 has one status, ``Failure``, for nearly everything (draft-ietf-secsh-filexfer-02,
    section 7), so the reason is only in the receiver's log.
    """


class EndpointError(TerminalError):
    """The description of the server is incomplete or impossible."""


class PrivateKeyError(TerminalError):
    """The private key is missing, unreadable, locked or of an unsupported type."""


class KnownHostsError(TerminalError):
    """The file of pinned host keys is missing, unreadable, or has a bad line."""


class UnknownHostKeyError(TerminalError):
    """The server's host key is not pinned."""


class ChangedHostKeyError(TerminalError):
    """The server offers another host key than the pinned one, or a revoked one."""


class IncompatibleServerError(TerminalError):
    """The server shares no algorithm with this client."""


class NoSftpError(IncompatibleServerError):
    """The login succeeds, and then the server starts no SFTP."""


class LoginRefusedError(TerminalError):
    """The server rejects this user with this key."""


class RemoteNameError(TerminalError):
    """A file or folder name is not allowed at the receiver."""


class RemoteFileTooLargeError(TerminalError):
    """A small file, such as a receipt, is too large."""


class SourceChangedError(TerminalError):
    """The sent bytes differ from the archive."""


class DamagedUploadError(TerminalError):
    """The receiver confirmed every write and has other bytes; the upload is retried once.

    SSH protects every byte on the connection (RFC 4253, section 6.4), so the fault is at the
    receiver.
    """


class ArchiveConflictError(TerminalError):
    """The receiver has another archive under the same name."""
