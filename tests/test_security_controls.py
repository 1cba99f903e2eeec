"""docs/security.md of a render claims what its Terraform says, and `make checkov-skips` lists what is accepted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bakes import Bake, Project
from tests.options import MAIN, Options, label


def check(project: Project, argument: str) -> subprocess.CompletedProcess[str]:
    """Run the render's ops/checks.py without leaving anything in it."""
    return subprocess.run(
        [sys.executable, "-B", "-m", "ops.checks", argument],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", MAIN, ids=label)
def test_every_claim_is_in_the_terraform(bake: Bake, options: Options) -> None:
    result = check(bake(**options), "--controls")
    assert result.returncode == 0, result.stderr
    assert int(re.findall(r"(\d+) claims", result.stdout)[0]) > 30


def test_an_absent_component_makes_no_claims(bake: Bake) -> None:
    rows = (bake(database="none").path / "docs" / "security.md").read_text(encoding="utf-8")
    assert "`database/" not in rows
    assert "`database/" in (bake().path / "docs" / "security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "control"),
    [
        ("service/load-balancer.tf", "invalid_header_fields = true", "invalid_header_fields = false", "ELB.4"),
        ("service/task-definitions.tf", "readonlyRootFilesystem = true", "readonlyRootFilesystem = false", "ECS.5"),
        ("service/security-groups.tf", "from_port         = 443\n", "from_port         = 22\n", "EC2.18"),
        ("build-repository/main.tf", '"IMMUTABLE"', '"MUTABLE"', "ECR.2"),
        ("network/main.tf", '"aws_default_security_group" "closed"', '"aws_default_security_group" "open"', "EC2.2"),
        ("database/cluster.tf", "storage_encrypted = true", "storage_encrypted = false", "RDS.27"),
    ],
)
def test_a_weakened_control_is_named(bake: Bake, tmp_path: Path, file: str, old: str, new: str, control: str) -> None:
    project = bake.copy(tmp_path / "weakened", domain_name="shop.example.com")
    path = project.path / "infra" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    result = check(project, "--controls")
    assert result.returncode == 1
    assert re.search(rf"docs/security\.md:\d+: {re.escape(control)}: .*infra/{re.escape(file)}", result.stderr)


def test_accepted_findings_are_listed_with_their_reasons(bake: Bake) -> None:
    result = check(bake(), "--skips")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert int(lines[-1].split()[0]) == (len(lines) - 1) / 2
    for where, reason in zip(lines[:-1:2], lines[1:-1:2], strict=True):
        assert re.fullmatch(r"infra/\S+\.tf:\d+  CKV2?_AWS_\d+  \w+\.\w+", where)
        assert len(reason.split()) >= 4, f"{where}: no reviewer is convinced by {reason!r}"
