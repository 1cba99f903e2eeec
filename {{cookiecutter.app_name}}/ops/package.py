"""Builds role_manager/dist/role_manager.zip for Lambda: `make package`. It holds role_manager/ without its tests.

Equal input gives equal bytes: dependencies are pinned with hashes and resolved for the target, not for
this machine; files are sorted, have one date and one mode, and are stored, not compressed, because
compressors differ between machines (Lambda unpacks the archive anyway).

Byte code saves about half of the import time. Only Python 3.13 can make it for Python 3.13; where none is
found the archive has sources alone, and says so. Its bytes are equal for one version of the compiler: let
one place, CI, build what is deployed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ops import answers

_ROOT = Path(__file__).parents[1]
_SOURCE = _ROOT / "role_manager"
_RUNTIME = "3.13"  # of the function in infra/database
_PLATFORMS = {"arm64": "aarch64-manylinux2014", "x86_64": "x86_64-manylinux2014"}
_LEFT_OUT = {"tests", "dist"}
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold

_COMPILE = """
import py_compile, sys
from pathlib import Path
root = Path(sys.argv[1])
for file in sorted(root.rglob("*.py")):
    name = file.relative_to(root).as_posix()
    py_compile.compile(str(file), dfile="/var/task/" + name, doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
# Where AWS publishes the certificate authorities of RDS:
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.SSL.html
_BUNDLES = {
    "cn-": "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem",
    "us-gov-": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem",
    "": "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem",
}


class PackageError(Exception):
    """The archive could not be built; the message says why."""


def build(output: Path, architecture: str) -> str:
    """Build the archive.

    Args:
        output: the zip file to write; it is replaced only when all went well.
        architecture: arm64 or x86_64.

    Returns:
        One line about what was built.

    Raises:
        PackageError: a program is missing or failed.

    """
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "task"
        _install(root, architecture)
        for file in sorted(file for file in _SOURCE.rglob("*") if file.suffix in {".py", ".sql", ".pem"}):
            part = file.relative_to(_SOURCE)
            if part.parts[0] not in _LEFT_OUT:
                target = root / "role_manager" / part
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        compiler = _compile(root)
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_suffix(".partial")
        count = _write(root, partial)
        partial.replace(output)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    code = (
        f"byte code by Python {compiler}"
        if compiler
        else f"WITHOUT byte code: no Python {_RUNTIME} was found, so the function starts slower"
    )
    return f"{output}: {count} files, {output.stat().st_size:,} bytes, {architecture}, {code}, sha256 {digest}"


def _install(root: Path, architecture: str) -> None:
    command = f"""pip install --quiet --no-deps --require-hashes --only-binary :all: --link-mode copy
        --no-compile-bytecode --python-version {_RUNTIME} --python-platform {_PLATFORMS[architecture]}"""
    requirements = str(_SOURCE / "requirements.txt")
    _run([_uv(), *command.split(), "--target", str(root), "--requirement", requirements])
    for path in sorted(root.rglob("*")):
        # Records of the installation differ between machines; pg8000 reads METADATA for its version.
        if path.parent.name.endswith(".dist-info") and path.is_file():
            if path.name != "METADATA" and not path.name.startswith("LICENSE"):
                path.unlink()
        elif path.name in {"__pycache__", "bin"} and path.is_dir():
            shutil.rmtree(path)
    for name in (".lock", "CACHEDIR.TAG"):
        (root / name).unlink(missing_ok=True)


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"  # in .venv
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise PackageError("uv was not found: run `make setup` first")
    return found


def _compile(root: Path) -> str | None:
    """Compile with Python of the runtime's version; return its full version, or None without one."""
    for candidate in _candidates():
        answer = subprocess.run(
            [candidate, "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        version = answer.stdout.strip()
        if answer.returncode == 0 and version.startswith(f"{_RUNTIME}."):
            _run([candidate, "-I", "-c", _COMPILE, str(root)], {"PYTHONHASHSEED": "0"})
            return version
    return None


def _candidates() -> Iterator[str]:
    yield sys.executable
    if found := shutil.which(f"python{_RUNTIME}"):
        yield found
    answer = subprocess.run(
        [_uv(), "python", "find", "--no-python-downloads", _RUNTIME],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if answer.returncode == 0:
        yield answer.stdout.strip()


def _write(root: Path, output: Path) -> int:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _DATE)
            entry.create_system = 3  # Unix, on every machine
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
    return len(files)


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    answer = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if answer.returncode != 0:
        words = " ".join(command[:3])
        raise PackageError(f"{words} failed:\n{answer.stderr.strip() or answer.stdout.strip()}")


def missing_authority(region: str, bundle: Path) -> str | None:
    """Say what to do when the bundle has no certificate authority of a region, else None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=bundle)
    # Subjects are tuples of tuples of pairs; the types of ssl say less.
    subjects: Any = [certificate["subject"] for certificate in context.get_ca_certs()]
    names = {dict(parts[0] for parts in subject).get("commonName", "") for subject in subjects}
    if any(re.match(rf"Amazon RDS {re.escape(region)} Root CA ", name) for name in names):
        return None
    url = next(url for prefix, url in _BUNDLES.items() if region.startswith(prefix))
    return (
        f"{bundle.name} has no certificate authority of {region}, so no database there would be "
        f"trusted. Get AWS's own: curl --fail --output {bundle} {url}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops.package", description=__doc__)
    parser.add_argument("--output", type=Path, default=_SOURCE / "dist" / "role_manager.zip")
    parser.add_argument("--config", type=Path, default=_ROOT / "project.yaml")
    given = parser.parse_args(arguments)
    try:
        settings = answers.read(given.config)
        problem = missing_authority(settings["aws_region"], _SOURCE / "rds-ca-bundle.pem")
        line = "" if problem else build(given.output, settings["cpu_architecture"])
    except (PackageError, OSError) as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        print(f"package: {given.config.name} can't be read: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError, AttributeError) as error:
        print(f"package: {given.config.name}: {error}: `make doctor` says what is wrong", file=sys.stderr)
        return 1
    if problem:
        print(f"package: {problem}", file=sys.stderr)
        return 1
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
