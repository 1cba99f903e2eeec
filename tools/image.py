"""`make test-image`: a render's image, built and started without an engine and without a registry.

    python -m tools.image

For a checkout under umask 022 and one under 077, `make test-image` of a render of the defaults runs with buildah, for
which this user has to be root. The base image is made of what is on this machine: its Python with the libraries that it
needs, a shell, and the wheels that the render's requirements pin. So it proves the Dockerfile, its context and its
modes; the base that is deployed is the registry's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cookiecutter.main import cookiecutter

from tools import template

BASE = "docker.io/library/python:3.13-slim"
PROGRAMS = ("sh", "cat", "chmod", "env", "ls", "mkdir", "rm")
# What wheels count on: https://peps.python.org/pep-0513/#the-manylinux1-policy
ASSUMED = ("libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1", "libstdc++.so.6")
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'


def run(*command: str | Path, folder: Path | None = None, **variables: str) -> str:
    """What a command prints. Exits with its words when it fails."""
    finished = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if finished.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))[:200]} failed:\n{finished.stdout[-5000:]}{finished.stderr[-5000:]}")
    return finished.stdout.strip()


def libraries(program: Path) -> set[Path]:
    """The shared libraries of a program, and what loads them."""
    shown = subprocess.run(["ldd", program], capture_output=True, encoding="utf-8", check=False).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", shown)}


def copy(source: Path, target: Path) -> None:
    """Copy a file with its mode, following links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source.resolve(), target)


def base_files(root: Path, wheels: Path) -> None:
    """Fill a folder with what the official image has: Python below /usr/local, a shell. Its pip knows the wheels."""
    prefix = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    left_out = shutil.ignore_patterns("__pycache__", "site-packages", "test", "idlelib", "tkinter", "config-*")
    python = root / "usr/local/bin" / version
    copy(prefix / "bin" / version, python)
    for name in ("python", "python3"):
        (python.parent / name).symlink_to(version)
    modules = root / "usr/local/lib" / version
    shutil.copytree(prefix / "lib" / version, modules, ignore=left_out)
    needed = {library for file in (prefix / "bin" / version, *modules.rglob("*.so")) for library in libraries(file)}
    for name in PROGRAMS:
        program = Path(shutil.which(name) or name)
        needed |= libraries(program)
        copy(program, root / "bin" / name)
    (loaded,) = {library.parent for library in needed if library.name == "libc.so.6"}
    needed |= {loaded / name for name in ASSUMED if (loaded / name).exists()}
    for library in needed:
        copy(library, root / str(library).lstrip("/"))
    run(python, "-I", "-m", "ensurepip", LD_LIBRARY_PATH=str(prefix / "lib"))
    shutil.copytree(wheels, root / "wheels")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
    (root / "tmp").mkdir()


def download(render: Path, wheels: Path) -> None:
    """Fetch the wheels that the image's requirements pin, for this Python."""
    for file in sorted((render / "app").glob("requirements*.txt")):
        run(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "--dest", wheels,
            "--only-binary", ":all:", "--requirement", file)  # fmt: skip


def renders(folder: Path) -> Iterator[tuple[str, Path]]:
    """Two checkouts of a render, as two people's umasks leave them."""
    for umask in (0o022, 0o077):
        before = os.umask(umask)
        try:
            made = Path(cookiecutter(str(template.ROOT), no_input=True, output_dir=str(folder / f"{umask:03o}")))
            for path in (made, *made.rglob("*")):
                path.chmod(path.stat().st_mode & ~umask)
        finally:
            os.umask(before)
        yield f"{umask:03o}", made


def main() -> None:
    """Build and check both images. Exits with words when one is not right, or nothing here can build it."""
    if shutil.which("buildah") is None or os.geteuid() != 0:
        sys.exit("The image is built with buildah, as root: apt-get install --no-install-recommends buildah")
    with tempfile.TemporaryDirectory(prefix="test-image-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder), encoding="utf-8")
        os.environ["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
        checkouts = dict(renders(folder))
        download(checkouts["022"], folder / "wheels")
        os.umask(0o022)
        base_files(folder / "base", folder / "wheels")
        container = run("buildah", "from", "scratch")
        run("buildah", "copy", "--quiet", container, folder / "base", "/")
        run("buildah", "config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
        run("buildah", "commit", "--quiet", container, BASE)
        for umask, render in checkouts.items():
            sys.stdout.write(f"A checkout under umask {umask}: ")
            sys.stdout.flush()
            command = [sys.executable, "-m", "ops.laptop.image"]
            status = subprocess.run(command, cwd=render, env=os.environ | {"PYTHONPATH": str(render)}, check=False)
            if status.returncode != 0:
                sys.exit(1)


if __name__ == "__main__":
    main()
