"""The filter of kernel calls, worked through as the kernel does, for machines that these tests do not run on too."""

import os
import struct

import pytest

from ppo_tune.programs.limits import CALLS, CONTROLS, MACHINES, OPENS, filter_code

ALLOWED, DENIED = "allowed", "denied"

NAMES = {
    "x86_64": {"read": 0, "write": 1, "mmap": 9, "openat": 257, "open": 2, "fcntl": 72, "exit_group": 231}
    | {"fork": 57, "clone": 56, "clone3": 435, "execve": 59, "kill": 62, "socket": 41, "unlink": 87, "rename": 82}
    | {"openat2": 437, "creat": 85, "truncate": 76, "ptrace": 101, "io_uring_setup": 425, "setitimer": 38}
    | {"prctl": 157, "prlimit64": 302, "seccomp": 317, "nanosleep": 35, "futex": 202, "memfd_create": 319},
    "aarch64": {"read": 63, "write": 64, "mmap": 222, "openat": 56, "fcntl": 25, "exit_group": 94}
    | {"clone": 220, "clone3": 435, "execve": 221, "kill": 129, "socket": 198, "unlinkat": 35, "renameat": 38}
    | {"openat2": 437, "truncate": 45, "ptrace": 117, "io_uring_setup": 425, "setitimer": 103, "prctl": 167}
    | {"prlimit64": 261, "seccomp": 277, "nanosleep": 101, "futex": 98, "memfd_create": 279},
}  # fmt: skip

KEEPS = {"read", "write", "mmap", "exit_group"}


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> str:
    """What the filter says of a call: the classic BPF of the kernel's manual, as far as filters use it."""
    data = struct.pack(
        "=IIQ6Q",
        number,
        MACHINES[machine] if arch is None else arch,
        0,
        *arguments,
        *[0] * (6 - len(arguments)),
    )
    code = [*struct.iter_unpack("=HBBI", filter_code(machine))]
    at = loaded = 0
    while True:
        kind, then, other, value = code[at]
        at += 1
        if kind == 0x06:
            assert value in (0x7FFF0000, 0x00050000 | 13)
            return ALLOWED if value == 0x7FFF0000 else DENIED
        if kind == 0x20:
            loaded = struct.unpack_from("=I", data, value)[0]
            continue
        holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[kind]
        at += then if holds else other


@pytest.mark.parametrize("machine", NAMES)
def test_a_process_may_compute_and_nothing_else(machine: str) -> None:
    special = {*OPENS[machine], CONTROLS[machine]}
    named = {name: number for name, number in NAMES[machine].items() if number not in special}

    allowed = {name for name, number in named.items() if verdict(machine, number) == ALLOWED}

    assert allowed == KEEPS
    assert {n for n in range(1000) if verdict(machine, n, 0, 2**31, 0) == ALLOWED} - special == {
        *CALLS[machine]
    }


@pytest.mark.parametrize("machine", NAMES)
def test_a_file_may_be_read_and_not_written(machine: str) -> None:
    number = NAMES[machine]["openat"]
    flags = [os.O_RDONLY | os.O_CLOEXEC, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK, os.O_WRONLY, os.O_RDWR]
    flags += [os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE]

    assert [verdict(machine, number, 0, 0, flag) for flag in flags] == [ALLOWED] * 2 + [DENIED] * 6


def test_the_older_call_opens_files_as_the_newer_one_does() -> None:
    assert [verdict("x86_64", 2, 0, flag) for flag in (os.O_RDONLY, os.O_WRONLY)] == [ALLOWED, DENIED]


@pytest.mark.parametrize("machine", NAMES)
def test_a_descriptor_is_duplicated_and_sends_no_signals(machine: str) -> None:
    duplicate, get, set_owner = 0, 3, 8

    found = [verdict(machine, NAMES[machine]["fcntl"], 0, command) for command in (duplicate, get, set_owner)]

    assert found == [ALLOWED, ALLOWED, DENIED]


@pytest.mark.parametrize("machine", NAMES)
def test_calls_of_another_machine_are_denied(machine: str) -> None:
    other_arch = 0x40000003  # i386, whose calls have other numbers

    assert verdict(machine, NAMES[machine]["read"], arch=other_arch) == DENIED
    assert verdict(machine, NAMES[machine]["read"] + 0x40000000) == DENIED  # x32
