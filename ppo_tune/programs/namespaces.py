"""A world of its own for a process: without network, with no processes and no files but the libraries of Python.

Linux grants it to anybody (user namespaces), unless whoever keeps the system or container switched that off.
"""

import ctypes
import os
import sys
import sysconfig
from pathlib import Path

_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_NEW_MOUNTS, _NEW_NAMES, _NEW_QUEUES = 0x00020000, 0x04000000, 0x08000000
_PRIVATE, _BIND, _DEEP = 1 << 18, 1 << 12, 1 << 14
_DETACH = 2
_SAFE, _READ_ONLY, _BENEATH = 2 | 4, 1, 0x8000
"""MOUNT_ATTR_NOSUID and NODEV, MOUNT_ATTR_RDONLY, and AT_RECURSIVE."""

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_DIE_WITH_PARENT, _NO_NEW_PRIVILEGES = 1, 38
NOBODY = 65534


def leave() -> None:
    """Leave the world of this process; its next child is the first process of the new one.

    Raises:
        OSError: If the system does not grant it.
    """
    user, group = os.getuid(), os.getgid()
    flags = _NEW_USER | _NEW_PROCESSES | _NEW_NETWORK | _NEW_MOUNTS | _NEW_NAMES | _NEW_QUEUES
    _call("unshare", flags)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{NOBODY} {user} 1")
    _write("/proc/self/gid_map", f"{NOBODY} {group} 1")


def settle() -> None:
    """Furnish the new world from within, as its first process: libraries to read, an empty folder, no privileges.

    Raises:
        OSError: If the system does not grant it.
    """
    _call("prctl", _DIE_WITH_PARENT, 9, 0, 0, 0)
    _call("mount", b"none", b"/", None, _DEEP | _PRIVATE, None)
    _write("/proc/sys/user/max_user_namespaces", "0")  # nobody goes on to a further world
    root = Path("/proc")  # a folder that every system has; what is mounted there becomes the root
    _call("mount", b"none", os.fsencode(root), b"tmpfs", _SAFE, b"size=1m,mode=755")
    for folder in _libraries():
        _show(folder, root)
    (root / "empty").mkdir()
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY | _SAFE, 0, 0, 0)
    _call("syscall", _MOUNT_SETATTR, -100, os.fsencode(root), _BENEATH, ctypes.byref(attributes), 32)
    os.chdir(root)
    _call("syscall", _PIVOT_ROOT.get(os.uname().machine, -1), b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/empty")
    _drop_privileges()


def _libraries() -> list[Path]:
    """Folders that modules of Python's own may be imported from, and what these link to."""
    own = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    named = [
        *own,
        Path(sys.base_prefix, "lib"),
        Path("/usr/lib"),
        Path("/usr/lib64"),
        Path("/lib"),
        Path("/lib64"),
    ]
    return sorted({folder for folder in named if folder.is_dir()}, key=lambda folder: len(folder.parts))


def _show(folder: Path, root: Path) -> None:
    """Have a folder, or a link to one, in the new root where it was."""
    place = root / folder.relative_to("/")
    if place.exists() or place.is_symlink():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        place.symlink_to(folder.readlink())
        return
    place.mkdir()
    _call("mount", os.fsencode(folder), os.fsencode(place), None, _BIND | _DEEP, None)


def _drop_privileges() -> None:
    """Give up what the first process of a world may do in it."""
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the capabilities, of this process
    _call("capset", ctypes.byref(head), ctypes.byref((ctypes.c_uint32 * 6)()))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library.

    Raises:
        OSError: If it fails, or there is none.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(f"no {name}")
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
