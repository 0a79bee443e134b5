"""What the process of a program may do: how much time and memory it has, and which calls of the kernel it gets.

Its filter of calls (seccomp) lets it compute, read files and write to what is open. All else is denied: to write,
rename or delete a file, to start a process or a thread, to signal another, to connect anywhere, to sleep or wait. A
call that a later kernel adds is denied too. It needs no privilege, and holds in a container and for root.
"""

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Mapping
from contextlib import suppress
from errno import EACCES

CALLS: Mapping[str, tuple[int, ...]] = {
    "x86_64": (
        # read write close stat fstat lstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
        0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15,
        # pread64 readv writev access sched_yield mremap madvise dup getitimer getpid exit uname getcwd readlink
        17, 19, 20, 21, 24, 25, 28, 32, 36, 39, 60, 63, 79, 89,
        # gettimeofday getrusage sysinfo times getuid getgid geteuid getegid getppid getpgrp sigaltstack gettid time
        96, 98, 99, 100, 102, 104, 107, 108, 110, 111, 131, 186, 201,
        # sched_getaffinity getdents64 restart_syscall clock_gettime clock_getres exit_group newfstatat
        204, 217, 219, 228, 229, 231, 262,
        # readlinkat faccessat set_robust_list getrandom statx rseq faccessat2
        267, 269, 273, 318, 332, 334, 439,
    ),
    "aarch64": (
        # getcwd dup faccessat close getdents64 lseek read write readv writev pread64 readlinkat newfstatat fstat
        17, 23, 48, 57, 61, 62, 63, 64, 65, 66, 67, 78, 79, 80,
        # exit exit_group set_robust_list getitimer clock_gettime clock_getres sched_getaffinity sched_yield
        93, 94, 99, 102, 113, 114, 123, 124,
        # restart_syscall sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn times uname getrusage gettimeofday
        128, 132, 134, 135, 139, 153, 160, 165, 169,
        # getpid getppid getuid geteuid getgid getegid gettid sysinfo brk munmap mremap mmap mprotect madvise
        172, 173, 174, 175, 176, 177, 178, 179, 214, 215, 216, 222, 226, 233,
        # getrandom statx rseq faccessat2
        278, 291, 293, 439,
    ),
}  # fmt: skip
"""The calls that are allowed whatever their arguments, by kind of machine."""

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of each."""

OPENS = {"x86_64": {257: 2, 2: 1}, "aarch64": {56: 2}}
"""openat and open, with the place of their flags among the arguments."""

CONTROLS = {"x86_64": 72, "aarch64": 25}
"""fcntl."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000  # that of O_TMPFILE
"""Flags by which a file that is opened could be changed or made."""

_LOAD, _IS, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | EACCES
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _BY_FILTER = 38, 22, 2


def limit(seconds: float, memory_mb: int) -> None:
    """Limit this process for good: its processor time, memory, files and processes.

    Args:
        seconds: Of processor time from now on; a kernel that counts whole seconds ends it if it escapes that.
        memory_mb: Megabytes of address space.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.001))
    _lower(resource.RLIMIT_CPU, int(seconds) + 1)
    _lower(resource.RLIMIT_AS, memory_mb * 1_000_000)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, 64)
    _lower(resource.RLIMIT_NPROC, 1)


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):  # macOS knows no limit of the address space
        resource.setrlimit(kind, (most, most))


def filter_code(machine: str) -> bytes:
    """The filter for a kind of machine as the kernel reads it, instructions of eight bytes."""
    calls: list[tuple[int, int, int, int]] = []

    def load(offset: int) -> None:
        calls.append((_LOAD, 0, 0, offset))

    def result(value: int) -> None:
        calls.append((_RETURN, 0, 0, value))

    def unless(kind: int, value: int, skipped: int) -> None:
        """Skip what follows unless the loaded number compares so."""
        calls.append((kind, 0, skipped, value))

    def when(kind: int, value: int, skipped: int) -> None:
        """Skip what follows when the loaded number compares so."""
        calls.append((kind, skipped, 0, value))

    load(4)
    when(_IS, MACHINES[machine], 1)
    result(_DENY)
    load(0)
    for number in CALLS[machine]:
        unless(_IS, number, 1)
        result(_ALLOW)
    for number, argument in OPENS[machine].items():
        unless(_IS, number, 4)
        load(16 + 8 * argument)
        unless(_HAS, WRITING, 1)
        result(_DENY)
        result(_ALLOW)
    unless(_IS, CONTROLS[machine], 4)
    load(24)
    unless(_AT_LEAST, 4, 1)  # beyond duplicating a descriptor and reading or setting its flag of closing
    result(_DENY)
    result(_ALLOW)
    result(_DENY)
    return b"".join(struct.pack("=HBBI", *call) for call in calls)


class CallFilter:
    """A filter of the calls of a process; made once, and applied by each fork to itself.

    Args:
        code: As the kernel reads it.
    """

    def __init__(self, code: bytes) -> None:
        self._code = ctypes.create_string_buffer(code, len(code))
        head = struct.pack("H6xP", len(code) // 8, ctypes.addressof(self._code))
        self._head = ctypes.create_string_buffer(head, len(head))
        self._prctl = ctypes.CDLL(None).prctl

    def apply(self) -> bool:
        """Have the kernel filter the calls of this process for good; says whether it does."""
        if self._prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            return False
        return not self._prctl(_SET_SECCOMP, _BY_FILTER, ctypes.byref(self._head), 0, 0)
