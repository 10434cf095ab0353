"""File permissions as for an ordinary account, even if the tests run as root."""

from __future__ import annotations

import ctypes
import importlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

# The first call of strptime() imports it, and Python may be in a folder that only root can read.
importlib.import_module("_strptime")
_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def permissions_count() -> Iterator[None]:
    """Apply permissions to this thread even as root, for example mode 000 (capabilities(7))."""
    if os.geteuid() != 0:
        yield
        return
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _call("capget", header, data)
    before = data[0].effective
    data[0].effective = before & ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    _call("capset", header, data)
    try:
        yield
    finally:
        data[0].effective = before
        _call("capset", header, data)


@contextmanager
def acting_as(user: str, *, also_in: int) -> Iterator[None]:
    """Act as another account, and as a member of one more group; only root can."""
    account, groups = pwd.getpwnam(user), os.getgroups()
    os.setgroups([also_in])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _call(name: str, header: _Header, data: ctypes.Array[_Data]) -> None:
    if getattr(_LIBC, name)(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
