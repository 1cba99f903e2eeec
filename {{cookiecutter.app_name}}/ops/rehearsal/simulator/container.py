"""Runs one Python command as its container would: `python container.py SPECIFICATION COMMAND…`.

What a container's engine does with namespaces is done here with patches, so that it works on every laptop:
names and ports lead to where this machine has them, the file system is read-only but for the declared
volumes, the user is the declared one (where `World.user` finds that possible), and nothing but the image's own packages is
found. The environment is left alone. The specification is JSON: `directory` (the image's working directory),
`places` ({"host:port": [host, port]}), `published` ({"8000": 41233}), `user` (number or null), `writable`
(paths, or null for a writable file system) and `packages` (names, or null for every installed one).
"""

import asyncio
import contextlib
import errno
import importlib.abc
import importlib.machinery
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = sys.argv[1]
SPECIFICATION = json.loads(Path(FILE).read_text(encoding="utf-8"))
PYTHONS = ("python", "python3", "python3.13")


def place(host: Any, port: Any) -> tuple[Any, Any]:
    """Return where on this machine a container's address and port are."""
    name = host.decode() if isinstance(host, bytes) else host
    if (found := SPECIFICATION["places"].get(f"{name}:{port}")) is not None:
        return found[0], found[1]
    if name in (None, "", "0.0.0.0", "127.0.0.1", "localhost"):  # noqa: S104 - compared, not bound
        with contextlib.suppress(KeyError):
            return "127.0.0.1", SPECIFICATION["published"][str(port)]
    return host, port


def patch_network() -> None:
    """Lead names and ports elsewhere, in the standard library and in uvloop."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve(*place(host, port), *args, **kwargs)

    socket.getaddrinfo = getaddrinfo

    class Socket(socket.socket):
        def bind(self, address: Any) -> None:
            if isinstance(address, tuple):
                address = (*place(address[0], address[1]), *address[2:])
            super().bind(address)

        def connect(self, address: Any) -> None:
            if isinstance(address, tuple):
                address = (*place(address[0], address[1]), *address[2:])
            super().connect(address)

    socket.socket = Socket  # type: ignore[misc]
    try:
        import uvloop
    except ImportError:
        return

    def leading(name: str) -> None:
        original = getattr(uvloop.Loop, name)

        async def method(
            loop: asyncio.AbstractEventLoop,
            factory: Any,
            host: Any = None,
            port: Any = None,
            **more: Any,
        ) -> Any:
            if host is not None:
                if more.get("ssl") and more.get("server_hostname") is None and "connection" in name:
                    more["server_hostname"] = host
                host, port = place(host, port)
            return await original(loop, factory, host, port, **more)

        setattr(uvloop.Loop, name, method)

    leading("create_connection")
    leading("create_server")


def make_read_only(writable: Sequence[str]) -> None:
    """Refuse every change of files outside the declared volumes, as far as Python makes it."""
    image = os.path.realpath(SPECIFICATION["directory"])
    free = [os.path.realpath(path) for path in (*writable, "/dev", "/proc/self")]

    def check(path: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        full = os.path.realpath(os.fsdecode(path))
        inside = any(full == root or full.startswith(root + os.sep) for root in free)
        if not inside or full == image or full.startswith(image + os.sep):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), full)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if (mode and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & changing):
                check(path)
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
            check(arguments[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            check(arguments[1])

    sys.addaudithook(hook)


class OnlyPackages(importlib.abc.MetaPathFinder):
    """Hides installed packages that the container would not have."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = {*packages, *sys.stdlib_module_names}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Refuse what is neither allowed nor in the working directory; leave the rest to others."""
        name = fullname.partition(".")[0]
        if path is None and name not in self.packages:
            own = importlib.machinery.PathFinder.find_spec(name, [SPECIFICATION["directory"]])
            if own is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def keep_children() -> None:
    """Run the Python that the command itself starts in the same container."""

    class Popen(subprocess.Popen[Any]):
        def __init__(self, args: Any, *more: Any, **options: Any) -> None:
            if isinstance(args, list) and Path(args[0]).name in PYTHONS:
                args = [sys.executable, "-B", __file__, FILE, *args]
            super().__init__(args, *more, **options)

    subprocess.Popen = Popen  # type: ignore[misc]


def main() -> None:
    """Become the container and run its command."""
    command = sys.argv[2:]
    if not command or Path(command[0]).name not in PYTHONS:
        sys.exit(f"{' '.join(command)}: without a container engine the rehearsal runs Python commands only")
    os.chdir(SPECIFICATION["directory"])
    sys.path[0] = SPECIFICATION["directory"]
    patch_network()
    if SPECIFICATION["packages"] is not None:
        sys.meta_path.insert(0, OnlyPackages(SPECIFICATION["packages"]))
    if SPECIFICATION["writable"] is not None:
        make_read_only(SPECIFICATION["writable"])
    keep_children()
    if SPECIFICATION["user"] is not None and os.geteuid() != SPECIFICATION["user"]:
        os.setgroups([])
        os.setgid(SPECIFICATION["user"])
        os.setuid(SPECIFICATION["user"])
    arguments = command[1:]
    while arguments[:1] in (["-u"], ["-I"], ["-B"]):
        arguments = arguments[1:]
    if arguments[:1] == ["-m"]:
        sys.argv = [arguments[1], *arguments[2:]]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[:1] == ["-c"]:
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as python -c
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
