"""Runs Terraform on renders. How it finds the provider is known to ops/checks.py of the rendered repository."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tools import template


def rendered_check() -> ModuleType:
    """ops/checks.py of the template, which is copied into renders as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(template.RENDERED_ROOT)
        patch.setattr(sys, "dont_write_bytecode", True)  # into what other tests render at this moment
        return importlib.import_module("ops.checks")


def layers() -> list[str]:
    """The layers and modules of the template."""
    found: list[str] = rendered_check().roots(template.RENDERED_ROOT / "infra")
    return found


class Terraform:
    """Terraform with a provider. Skips the test, or fails it with REQUIRE_TERRAFORM=1, when there is none."""

    def __init__(self, work: Path) -> None:
        """Keep the configuration in a folder that outlives the tests."""
        check = rendered_check()
        try:
            self.environment: dict[str, str] = check.terraform_environment(work)
        except check.NoTerraformError as error:
            message = f"TERRAFORM TESTS DID NOT RUN: {error}"
            if os.environ.get("REQUIRE_TERRAFORM") == "1":
                pytest.fail(message)
            pytest.skip(message)

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command; the caller reads its exit status."""
        return subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def must(self, folder: Path, *arguments: str) -> str:
        """What a command prints. AssertionError with all of it when it fails."""
        result = self.run(folder, *arguments)
        assert result.returncode == 0, f"terraform {' '.join(arguments)} in {folder}:\n{result.stdout}"
        return result.stdout


def copy_infra(repository: Path, destination: Path) -> Path:
    """A repository's Terraform and settings in a folder of the test's own; the path of its infra/."""
    shutil.copytree(repository / "infra", destination / "infra", ignore=shutil.ignore_patterns(".terraform*"))
    shutil.copy(repository / "project.yaml", destination)
    return destination / "infra"


def mocked_provider(layer: Path) -> str:
    """The `mock_provider` block with which the layer's own tests run."""
    for path in sorted((layer / "tests").glob("*.tftest.hcl")):
        text = path.read_text(encoding="utf-8")
        if found := re.search(r'^mock_provider "aws" \{.*?^\}$', text, re.MULTILINE | re.DOTALL):
            return found.group()
    raise AssertionError(f"{layer.name} has no test with a mocked provider")
