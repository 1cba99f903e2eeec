"""Where Terraform finds the AWS provider: a configured file, the registry, or a mirror on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def require(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure Terraform to find the provider; skip the test where there is none and REQUIRE_TERRAFORM is not 1."""
    configured = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if configured and Path(configured).is_file():
        return
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    if _registry(tmp_path):
        return
    for mirror in _mirrors():
        file = tmp_path / "terraform.rc"
        file.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
        monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(file))
        return
    message = "no AWS provider: no TF_CLI_CONFIG_FILE, no registry, no mirror"
    if os.environ.get("REQUIRE_TERRAFORM") == "1":
        pytest.fail(message)
    pytest.skip(message)


def _mirrors() -> Iterator[Path]:
    """Folders that Terraform's documentation names, and those directly below /opt."""
    places = [Path.home() / ".terraform.d/plugins", Path("/usr/local/share/terraform/plugins")]
    places += [Path("/usr/share/terraform/plugins"), *sorted(Path("/opt").glob("*"))]
    for place in places:
        if (place / "registry.terraform.io/hashicorp/aws").is_dir():
            yield place


def _registry(tmp_path: Path) -> bool:
    """Whether the registry answers."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "main.tf").write_text(
        'terraform {\n  required_providers {\n    aws = {\n      source = "hashicorp/aws"\n    }\n  }\n}\n'
    )
    process = subprocess.run(
        ["terraform", f"-chdir={folder}", "providers", "lock", "-platform=linux_amd64"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return process.returncode == 0
