"""Workflows of the template itself, and its release command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.release import notes

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {path.name: yaml.safe_load(path.read_text()) for path in FILES}
CHANGELOG = "# Changelog\n\n## 1.2.3\n\n- New.\n\n## 1.2.2\n\n- Old.\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    pins = re.findall(r"uses:\s*(\S+)(.*)", path.read_text())
    assert pins
    for uses, comment in pins:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", uses)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


def test_one_pin_of_each_action() -> None:
    """Those of the render are updated by themselves, in a pull request of their own: they need not be equal."""
    pins = {pin for path in FILES for pin in re.findall(r"uses:\s*([\w./-]+)@([0-9a-f]{40})", path.read_text())}
    names = [name for name, _ in pins]
    assert len(names) == len(set(names)), sorted(pins)


def test_dependabot_looks_where_pins_are() -> None:
    """In folders that are there; and for actions where the files are (`/` alone means .github/workflows)."""
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    looked = {update["package-ecosystem"]: update["directories"] for update in updates}
    found = {
        name: {path for pattern in patterns for path in (ROOT.glob(pattern.strip("/")) if pattern != "/" else [ROOT])}
        for name, patterns in looked.items()
    }
    assert all(found.values())
    rendered = ROOT / "{{cookiecutter.app_name}}"
    using = {path.parent for path in (rendered / ".github").rglob("*.yml") if "uses:" in path.read_text()}
    assert using <= found["github-actions"]
    compiled = [path for folder in (ROOT, rendered) for path in folder.glob("**/requirements*.in")]
    wanted = {path.parent for path in compiled if not {".machinery", ".venv"} & set(path.relative_to(ROOT).parts)}
    assert wanted <= found["uv"]
    assert {path.parent for path in rendered.rglob("Dockerfile")} <= found["docker"]


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_permissions_are_empty_at_the_top_and_least_in_jobs(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {}
    may = {("release.yml", "release"): {"contents"}, ("ci.yml", "diff"): {"pull-requests"}}
    for key, job in workflow["jobs"].items():
        writes = {scope for scope, level in job["permissions"].items() if level == "write"}
        assert writes <= may.get((name, key), set())


def test_every_run_is_one_make_target_that_exists() -> None:
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    runs = [
        step["run"]
        for workflow in WORKFLOWS.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert runs
    for run in runs:
        command, target, *variables = run.split()
        assert command == "make"
        assert target in targets
        assert all(re.fullmatch("[A-Z]+=[a-z]+", word) for word in variables)


def test_required_stands_for_every_job() -> None:
    jobs = WORKFLOWS["ci.yml"]["jobs"]
    assert set(jobs["required"]["needs"]) == set(jobs) - {"required"}


def test_release_notes_are_the_part_of_the_version() -> None:
    assert notes("v1.2.3", CHANGELOG, "1.2.3") == "- New.\n"
    assert notes("v1.2.2", CHANGELOG, "1.2.2") == "- Old.\n"


@pytest.mark.parametrize(
    ("tag", "template_version", "says"),
    [
        ("1.2.3", "1.2.3", "not a version"),
        ("v1.2", "1.2", "not a version"),
        ("v1.2.3", "1.2.4", "cookiecutter.json is 1.2.4"),
        ("v9.9.9", "9.9.9", "no part"),
    ],
)
def test_a_release_that_is_not_right_is_refused(tag: str, template_version: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        notes(tag, CHANGELOG, template_version)
