"""The report: every box of the picture says whether its claims hold and leads to them; nothing else is needed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ops.diagram import draw
from ops.rehearsal import page, picture
from ops.rehearsal.attempts import Attempted
from ops.rehearsal.claims.claim import Result
from ops.rehearsal.claims.subjects import SUBJECTS
from ops.rehearsal.claims.ways import Row
from ops.rehearsal.driver import Findings
from ops.rehearsal.iam.usage import Granted, Usage
from ops.rehearsal.progress import Progress
from ops.rehearsal.reachability import Verdict

from tests.machinery import ROOT

DIAGRAM = draw.load(yaml.safe_load((ROOT / "project.yaml").read_text(encoding="utf-8")))


ROLE = "arn:aws:iam::123456789012:role/my-app/dev/my-app-dev-task"
USED = Granted(ROLE, "task", "Own", "s3:GetObject")
UNUSED = Granted(ROLE, "task", "Own", "s3:PutObject")


def results(broken: str = "") -> list[Result]:
    found = []
    for subject in SUBJECTS:
        result = Result(subject.name)
        result.claim("<b>first</b>", True, "a & b")
        result.claim("second", subject.name != broken, "why")
        found.append(result)
    return found


def report(tmp_path: Path, found: list[Result], *, worked: bool = True) -> str:
    findings = Findings(
        results=found,
        rows=[Row("internet", "service:8000", Verdict("no", "no rule"), False)],
        attempts=[
            Attempted("dev's apply role", "read prod's secret", "secretsmanager GetSecretValue", True, "no rule")
        ],
        usage=Usage(declared={USED, UNUSED}, used={USED: 3}),
        error="broken",
    )
    progress = Progress(out=(tmp_path / "out").open("w"))
    with progress.step("prepare"):
        pass
    run: Any = SimpleNamespace(
        findings=findings,
        project=SimpleNamespace(app="my-app"),
        environment="dev",
        render=ROOT,
        directory=SimpleNamespace(path=tmp_path),
        notes=lambda _: [{"service": "s3", "call": "GetObject", "ms": 12, "status": 200}],
    )
    text = page.page(run, progress, worked=worked)
    progress.out.close()
    return text


def test_every_subject_is_of_a_component_that_the_picture_has() -> None:
    names = set(picture.anchors(DIAGRAM))
    assert {subject.component for subject in SUBJECTS} - {"Names"} <= names
    assert names <= {subject.component for subject in SUBJECTS}, "a box has no claims"


@pytest.mark.parametrize("broken", ["", "Access logs", "VPC network", "Database roles"])
def test_boxes_are_marked(tmp_path: Path, broken: str) -> None:
    text = report(tmp_path, results(broken), worked=not broken)
    boxes = dict(re.findall(r'<g id="([\w-]+)" role="group".*?\n(.*?)\n', text))
    component = next((s.component for s in SUBJECTS if s.name == broken), "")
    for box in DIAGRAM.boxes:
        if box.row:
            wanted = "failed" if broken and {b.id: b.name for b in DIAGRAM.boxes}[box.row] == component else "held"
            assert wanted in boxes[box.id], box.id
    assert ("do not hold</text>" in text) is bool(broken)
    assert ("It works." in text) is not bool(broken)


def test_links_of_the_page_lead_into_it_and_nothing_is_loaded(tmp_path: Path) -> None:
    text = report(tmp_path, results("Service"))
    targets = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert targets
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert {target for target in targets if not (target.startswith("#") and target[1:] in identifiers)} == set()
    assert len(identifiers) == len(set(identifiers))
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)


def test_words_of_others_are_escaped_and_every_part_is_there(tmp_path: Path) -> None:
    text = report(tmp_path, results("Service"))
    assert "<b>first" not in text
    assert "&lt;b&gt;first&lt;/b&gt;" in text
    for name in ("Claims", "Who can reach what", "Refused attempts", "What roles use", "Timeline", "AWS calls"):
        assert f">{name}</h2>" in text
    assert "1 of 2" in text
    assert "Own: s3:PutObject" in text
    assert "prefers-color-scheme: dark" in text


def test_a_rehearsal_that_proved_nothing_has_a_page_too(tmp_path: Path) -> None:
    text = report(tmp_path, [], worked=False)
    assert "It does not work." in text
    assert 'href="#claims"' in text
