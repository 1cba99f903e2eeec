"""What a rehearsal changes in project.yaml, which infra/config has to take in every partition."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ops import project
from ops.rehearsal import edits

from tests.machinery import ROOT


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-northwest-1", "aws-cn")]
)
def test_what_it_changes_is_taken(tmp_path: Path, region: str, partition: str) -> None:
    root = tmp_path / "project"
    root.mkdir()
    for part in ("infra", "app"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns(".terraform*"))
    file = root / "project.yaml"
    text = (ROOT / "project.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("aws_region: 'us-east-1'", f"aws_region: '{region}'"), encoding="utf-8")
    before = project.load("dev", root=root)
    assert before.partition == partition
    zones = int(before.environment_settings["network"]["zones"])
    declared = edits.declare(file, partition)
    assert {"two scheduled jobs", "worker example", "storage s3", f"secret {edits.FIRST_SECRET}"} == {*declared}
    with_all = project.load("dev", root=root)
    assert with_all.files
    assert with_all.files["malware_scan"] == (partition != "aws-cn")
    assert edits.declare(file, partition) == []
    assert {f"variable {edits.VARIABLE}", f"secret {edits.SECRET}"} < {*edits.change(file, "dev", zones)}
    assert {*project.load("dev", root=root).secrets} == {edits.FIRST_SECRET, edits.SECRET}
