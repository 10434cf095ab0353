"""What can go wrong on the road to the receiver, by what a caller should do about it.

The tree::

TransientError                  retried with backoff
├── UnresolvableHostError       no address for the host's name
├── UnreachableHostError        nobody answers, or the port is closed
└── ConnectionLostError         cut, silent for too long, or closed by the server
ParkedError                     tried again when something at the receiver changes
├── SpoolMissingError           the spool is not there, or is not a folder
├── SpoolNotWritableError       the account may not write there
├── ReceiverDiskFullError       too little free space
├── SourceUnreadableError       what is to be sent cannot be read on this side
├── RemoteFileMissingError      a file that should be there is not
└── RefusedByServerError        the server said no without a reason that SFTP can tell
TerminalError                   a person has to act
├── EndpointError               host, port, user or key settings contradict each other
├── PrivateKeyError             the private key cannot be used
├── KnownHostsError             the file of pinned host keys cannot be used
├── UnknownHostKeyError         no key of this server is pinned
├── ChangedHostKeyError         another key is pinned, or this one is revoked
├── IncompatibleServerError     no common algorithm
│   └── NoSftpError             the account is let in, and SFTP does not start for it
├── LoginRefusedError           the server does not accept this user with this key
├── RemoteNameError             a name that is not allowed over there
├── RemoteFileTooLargeError     a small file that is not small
├── SourceChangedError          the file changed while it was being sent
├── DamagedUploadError          what lies there is not what was sent, though every write succeeded
└── ArchiveConflictError        another archive of the same name is already there
"""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class UnresolvableHostError(TransientError):
    """The name of the host has no address, or the resolver does not answer."""


class UnreachableHostError(TransientError):
    """No TCP connection to any address of the host."""


class ConnectionLostError(TransientError):
    """An established connection was cut, closed, or made no progress for too long.

    paramiko raises EOFError, SSHException, OSError and TimeoutError for the same event; this is
    the one class for all of them.
    """


class SpoolMissingError(ParkedError):
    """The spool does not exist over SFTP, or is not a folder."""

    code = "remote-spool-missing"


class SpoolNotWritableError(ParkedError):
    """The account may not write, or not read, where it has to."""


class ReceiverDiskFullError(ParkedError):
    """Too little free space at the receiver, found before or while writing."""


class SourceUnreadableError(ParkedError):
    """This side's own disk does not give the bytes that are to be sent."""


class RemoteFileMissingError(ParkedError):
    """A file or folder that should be at the receiver is not there."""


class RefusedByServerError(ParkedError):
    """The server refused a request on a living connection.

    SFTP version 3 has one status, ``Failure``, for nearly everything (draft-ietf-secsh-filexfer-02,
    section 7), so the reason is in the receiver's log only.
    """


class EndpointError(TerminalError):
    """The description of the server is incomplete or impossible."""


class PrivateKeyError(TerminalError):
    """The private key is missing, unreadable, locked, or of an unsupported kind."""


class KnownHostsError(TerminalError):
    """The file of pinned host keys is missing, unreadable, or has a bad line."""


class UnknownHostKeyError(TerminalError):
    """The server's host key is not pinned."""


class ChangedHostKeyError(TerminalError):
    """The server offers another host key than the pinned one, or a revoked one."""


class IncompatibleServerError(TerminalError):
    """The server shares no algorithm with this client."""


class NoSftpError(IncompatibleServerError):
    """The server lets the account in and then starts something else than SFTP, or nothing."""


class LoginRefusedError(TerminalError):
    """The server does not let this user in with this key."""


class RemoteNameError(TerminalError):
    """A file or folder name that must not be used at the receiver."""


class RemoteFileTooLargeError(TerminalError):
    """A file that should be small, such as a receipt, is not."""


class SourceChangedError(TerminalError):
    """The bytes that were sent are not those that were promised."""


class DamagedUploadError(TerminalError):
    """The receiver confirmed every write and holds other bytes; once is tried again, twice is not.

    Every byte of the way is protected (RFC 4253, section 6.4), so the fault is behind it.
    """


class ArchiveConflictError(TerminalError):
    """The receiver has another archive under the same name."""
