"""Projects of earlier versions take the template as it is now, and keep what their teams have done."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hcl2
import pytest

from tests.bakes import Bake, files
from tests.conftest import commit, git
from tests.terraform import Terraform
from tools import template

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RELEASES: dict[str, str] = tomllib.loads((template.ROOT / "releases.toml").read_text(encoding="utf-8"))
# Projects are made from commits between releases as well.
STATES = RELEASES | {"one account, no files": "7202f63"}
UPDATE = [sys.executable, "-P", "-m", "ops.template_update"]


def known(revision: str) -> str:
    """The commit of a revision of this repository. A shallow clone has no history to make old projects from."""
    try:
        return git(template.ROOT, "rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        pytest.skip(f"{revision} is not in this clone: it is shallow")


class Team:
    """A project of an earlier version, and a clone of the template that it follows."""

    def __init__(self, folder: Path, template_files: dict[str, Path], revision: str) -> None:
        """Make the project with cruft at a revision; the template's newest commit is the work tree as it is now."""
        self.folder = folder
        self.template = folder / "template"
        self.path = folder / "out" / "my-app"
        git(folder, "clone", "--quiet", "--no-tags", str(template.ROOT), str(self.template))
        git(self.template, "checkout", "--quiet", "-B", "main", known(revision))
        self.run(sys.executable, "-m", "cruft", "create", str(self.template), "--no-input", "--output-dir", "out")
        git(self.path, "init", "--quiet", "--initial-branch", "main")
        commit(self.path, "start")
        git(self.template, "rm", "-r", "--quiet", "--ignore-unmatch", "cookiecutter.json", "hooks", "{*")
        inside = self.template / template.RENDERED_ROOT.name
        now = {inside / name: path for name, path in template_files.items()}
        now |= {
            self.template / name: template.ROOT / name
            for name in git(template.ROOT, "ls-files", "-co", "--exclude-standard", "hooks", "migrations").split()
        }
        for name in ("cookiecutter.json", "CHANGELOG.md"):
            now[self.template / name] = template.ROOT / name
        for target, source in now.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        git(self.template, "add", "--all")
        git(self.template, "commit", "--quiet", "--allow-empty", "--message", "now")
        git(self.template, "tag", "v99.0.0-rc1", known(revision))  # no release: nobody is brought to it

    def environment(self) -> dict[str, str]:
        """The variables of its commands: a home of its own, nothing of a git hook."""
        return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
            "HOME": str(self.folder),
            "PYTHONPATH": str(template.RENDERED_ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",  # in the folder that other tests render
        }

    def run(
        self, *command: str, folder: Path | None = None, status: int = 0, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run a command; what it printed."""
        done = subprocess.run(
            command,
            cwd=folder or self.folder,
            env=self.environment() | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change a file of the project, or make it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change(path.read_text(encoding="utf-8") if path.exists() else ""), encoding="utf-8")

    def update(self, *options: str, status: int = 0) -> str:
        """Commit the team's edits and run the update."""
        commit(self.path, "our edits")
        return self.run(*UPDATE, *options, folder=self.path, status=status)


@pytest.fixture
def team(tmp_path: Path, template_files: dict[str, Path]) -> Callable[[str], Team]:
    return lambda revision: Team(tmp_path, template_files, revision)


def moved_or_gone(old: Path, new: Path) -> list[str]:
    """Resources of the old Terraform that the new one neither has nor says where they went."""
    found = []
    for layer in sorted(path.parent for path in old.glob("*/main.tf")):
        before, after = addresses(layer), addresses(new / layer.name)
        said = {
            str(block["from"]).strip("${}")
            for path in (new / layer.name).glob("*.tf")
            for kind in ("moved", "removed")
            for block in hcl2.loads(path.read_text(encoding="utf-8")).get(kind, [])
        }
        found += [f"{layer.name}: {address}" for address in sorted(before - after - said)]
    return found


def addresses(layer: Path) -> set[str]:
    """The resources of a layer, as `type.name`."""
    return {
        f"{kind}.{name}".replace('"', "")
        for path in layer.glob("*.tf")
        for block in hcl2.loads(path.read_text(encoding="utf-8")).get("resource", [])
        for kind, names in block.items()
        for name in names
    }


# What may be made anew at an update: it holds nothing, and its absence for a moment does no harm.
OF_NO_WORTH = ("aws_iam_role_policy.", "aws_iam_policy.", "aws_iam_role_policy_attachment.", "aws_vpc_security_group_")


@pytest.mark.parametrize("version", STATES)
def test_an_untouched_project_becomes_one_of_today_and_its_state_loses_nothing_of_worth(
    team: Callable[[str], Team], bake: Bake, version: str
) -> None:
    ours = team(STATES[version])
    old = ours.folder / "old-infra"
    shutil.copytree(ours.path / "infra", old)
    printed = ours.run(*UPDATE, folder=ours.path)
    assert "left for you" not in printed
    gone = moved_or_gone(old, ours.path / "infra")
    assert [address for address in gone if not address.split(": ")[1].startswith(OF_NO_WORTH)] == []
    made, expected = files(ours.path), files(bake().path)
    tracked = set(git(ours.path, "ls-files").splitlines())
    assert tracked - {".cruft.json"} == expected.keys()
    assert [name for name, path in expected.items() if path.read_bytes() != made[name].read_bytes()] == []
    assert git(ours.path, "status", "--short") == ""
    assert git(ours.path, "branch", "--show-current").strip() == "template-update"
    assert (
        json.loads((ours.path / ".cruft.json").read_text())["commit"] == git(ours.template, "rev-parse", "HEAD").strip()
    )
    git(ours.path, "checkout", "--quiet", "-b", "again")
    assert "Nothing to do" in ours.run(*UPDATE, folder=ours.path)


def edit(ours: Team) -> None:
    """What teams do and deploy: a setting, a resource, a document; a workflow and documents that are gone."""
    ours.edit("infra/service/ours.tf", lambda _: 'resource "aws_sqs_queue" "ours" {\n  name = "ours"\n}\n')
    ours.edit("project.yaml", lambda text: text.replace("cidr: 10.40.0.0/16", "cidr: 10.99.0.0/16"))
    ours.edit("docs/ours.md", lambda _: "# Ours\n")
    (ours.path / ".github/workflows/preview.yml").unlink()
    shutil.rmtree(ours.path / "docs/decisions")


@contextlib.contextmanager
def deployed(ours: Team) -> Iterator[dict[str, str]]:
    """Rehearse a copy of the project as it is, and keep what it made; the variables that lead to that AWS."""
    copy = ours.folder / "as-it-was"
    shutil.copytree(ours.path, copy)
    rehearsal = subprocess.Popen(
        ["make", "rehearse", "KEEP=1"],
        cwd=copy,
        env=ours.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert rehearsal.stdout is not None
        printed = []
        for line in rehearsal.stdout:
            printed.append(line)
            if "Ctrl-C ends it" in line:
                break
        notes = list(copy.glob("**/report/kept.json"))
        assert notes, "".join(printed)[-10_000:]
        yield json.loads(notes[0].read_text(encoding="utf-8"))["variables"]
    finally:
        os.killpg(rehearsal.pid, signal.SIGINT)
        rehearsal.communicate(timeout=120)


# Terraform's words for what a plan takes away, and for what it makes again.
GONE = re.compile(r"^\s*# (\S+) will be destroyed", re.MULTILINE)
MADE_AGAIN = re.compile(r"^\s*# (\S+) (?:must|will) be replaced", re.MULTILINE)
# What may be made again besides: settings, calls, what each release makes again, and roles.
# The CHANGELOG says what that means for those who run as one.
OF_NO_CONTENT = (
    *OF_NO_WORTH, "aws_ecs_task_definition.", "aws_flow_log.", "aws_iam_role.", "aws_lambda_invocation."
)  # fmt: skip


def lost(printed: str) -> list[str]:
    """What a plan destroys that somebody would miss."""
    return [name for name in GONE.findall(printed) if not name.startswith(OF_NO_WORTH)] + [
        name for name in MADE_AGAIN.findall(printed) if not name.startswith(OF_NO_CONTENT)
    ]


def test_what_a_plan_would_lose_is_found_in_its_words() -> None:
    plan = """
  # aws_iam_role.task must be replaced
  # aws_rds_cluster.this must be replaced
  # module.key.aws_kms_key.this will be destroyed
  # (because aws_kms_key.this is not in configuration)
  # aws_iam_role.old will be destroyed
  # aws_iam_policy.boundary will be destroyed
  # aws_lb.this will be updated in-place
"""
    assert lost(plan) == ["module.key.aws_kms_key.this", "aws_iam_role.old", "aws_rds_cluster.this"]


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("version", RELEASES)
def test_an_updated_project_passes_its_tests_and_deletes_nothing_of_worth_of_what_the_old_version_made(
    team: Callable[[str], Team], tmp_path: Path, version: str
) -> None:
    Terraform(tmp_path)
    ours = team(RELEASES[version])
    edit(ours)
    commit(ours.path, "our edits")
    with deployed(ours) as variables:
        ours.run(*UPDATE, folder=ours.path)
        missed = {}
        for layer in ("account", "build-repository", "network", "database", "service"):
            where = () if layer in ("account", "build-repository") else ("ENV=dev",)
            printed = ours.run("make", "plan", f"LAYER={layer}", *where, folder=ours.path, variables=variables)
            assert "Plan:" in printed or "No changes" in printed
            missed[layer] = lost(printed)
        assert not any(missed.values()), missed
    ours.run("make", "test-fast", folder=ours.path)


@pytest.mark.parametrize("version", STATES)
def test_what_a_team_did_stays(team: Callable[[str], Team], version: str) -> None:
    ours = team(STATES[version])
    edit(ours)
    ours.edit("app/migrations/versions/0002_ours.py", lambda _: '"""Ours."""\nrevision = "0002"\n')
    environment = "environments:\n  qa:\n    protected: false\n"
    ours.edit("project.yaml", lambda text: text.replace("environments:\n", environment, 1))
    planned = ours.update("--plan")
    assert "Nothing was changed." in planned
    assert git(ours.path, "branch", "--show-current").strip() == "main"

    printed = ours.run(*UPDATE, folder=ours.path)
    assert "cidr: 10.99.0.0/16" in (ours.path / "project.yaml").read_text(encoding="utf-8")
    for name in ("app/migrations/versions/0002_ours.py", "infra/service/ours.tf", "docs/ours.md"):
        assert (ours.path / name).exists(), name
    assert not (ours.path / ".github/workflows/preview.yml").exists()
    assert not (ours.path / "docs/decisions/one-account.md").exists()
    assert "left for you: project.yaml" not in printed
    assert "\n  qa:\n" in (ours.path / "project.yaml").read_text(encoding="utf-8")


def test_each_kind_of_conflict_keeps_the_team_s_and_is_told(team: Callable[[str], Team]) -> None:
    ours = team(known("HEAD"))
    inside = ours.template / template.RENDERED_ROOT.name
    ours.edit("docs/runbooks/deploy.md", lambda _: "# Our way to deploy\n")
    ours.edit("docs/runbooks/rotate.md", lambda text: text + "\nOurs.\n")
    (ours.path / "docs/runbooks/roll-back.md").unlink()
    ours.edit("docs/new.md", lambda _: "# Ours\n")
    (inside / "docs/runbooks/deploy.md").write_text("# The template's new way\n")
    (inside / "docs/runbooks/rotate.md").unlink()
    (inside / "docs/runbooks/roll-back.md").write_text("# Roll back differently\n")
    (inside / "docs/new.md").write_text("# The template's\n")
    (inside / "docs/clean.md").write_text("# Nobody objects\n")
    commit(ours.template, "next")
    printed = ours.update()
    expected = {
        "docs/runbooks/deploy.md": "you and the template changed the same lines",
        "docs/runbooks/rotate.md": "you changed what the template removed",
        "docs/runbooks/roll-back.md": "you removed what the template changed",
        "docs/new.md": "you and the template made a file of this name",
    }
    for name, why in expected.items():
        assert f"left for you: {name}: {why}" in printed
    assert (ours.path / "docs/runbooks/deploy.md").read_text() == "# Our way to deploy\n"
    assert (ours.path / "docs/runbooks/rotate.md").read_text().endswith("Ours.\n")
    assert not (ours.path / "docs/runbooks/roll-back.md").exists()
    assert (ours.path / "docs/new.md").read_text() == "# Ours\n"
    assert (ours.path / "docs/clean.md").read_text() == "# Nobody objects\n"
    report = (ours.path / ".ops/template-update.md").read_text(encoding="utf-8")
    assert "+# The template's new way" in report


def test_what_a_team_committed_on_the_branch_of_an_update_is_not_lost(team: Callable[[str], Team]) -> None:
    ours = team(known("HEAD"))
    (ours.template / template.RENDERED_ROOT.name / "docs/new.md").write_text("# New\n")
    commit(ours.template, "next")
    ours.run(*UPDATE, folder=ours.path)
    (ours.path / "docs/new.md").write_text("# New, and ours\n")
    commit(ours.path, "what was left for us")
    git(ours.path, "checkout", "--quiet", "main")
    assert "has commits of yours" in ours.run(*UPDATE, folder=ours.path, status=2)
    assert git(ours.path, "show", "template-update:docs/new.md") == "# New, and ours\n"
    git(ours.path, "reset", "--quiet", "--hard", "template-update~1")
    git(ours.path, "branch", "--quiet", "-D", "template-update")


def test_migrations_run_in_order_and_what_fails_leaves_no_trace(team: Callable[[str], Team]) -> None:
    ours = team(known("HEAD"))
    settings = ours.template / "cookiecutter.json"
    version = json.loads(settings.read_text())["_template_version"]
    settings.write_text(settings.read_text().replace(f'"{version}"', '"99.2.0"'))
    folder = ours.template / "migrations"
    folder.mkdir(exist_ok=True)
    (folder / "99.10.0.py").write_text("raise SystemExit('too new to run')\n")
    (folder / "99.2.0.py").write_text("open('docs/b.md', 'w').write('b'); print('made b')\n")
    (folder / "99.1.0.py").write_text("print('first')\n")
    commit(ours.template, "next")
    printed = ours.run(*UPDATE, folder=ours.path)
    assert printed.index("migration: first") < printed.index("migration: made b")
    assert (ours.path / "docs/b.md").read_text() == "b"

    git(ours.path, "checkout", "--quiet", "main")
    git(ours.path, "branch", "--quiet", "-D", "template-update")
    (folder / "99.2.0.py").write_text("open('docs/b.md', 'w').write('b'); raise SystemExit('no room')\n")
    commit(ours.template, "broken")
    printed = ours.run(*UPDATE, folder=ours.path, status=1)
    assert "The migration 99.2.0.py failed:\nno room" in printed
    assert git(ours.path, "branch", "--list").split() == ["*", "main"]
    assert git(ours.path, "status", "--short") == ""
    assert len(git(ours.path, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("break_", "words"),
    [
        (lambda path: (path / ".cruft.json").unlink(), "nothing says which template"),
        (lambda path: (path / ".cruft.json").write_text("{}"), ".cruft.json is broken"),
        (lambda path: _set(path, template="/nowhere"), "cannot be fetched"),
        (lambda path: _set(path, commit="0" * 40), "has no 0000"),
        (lambda path: _answer(path, aws_region="us-east-9"), "aws_region: 'us-east-9'"),
    ],
)
def test_what_prevents_an_update_is_said(
    team: Callable[[str], Team], break_: Callable[[Path], object], words: str
) -> None:
    ours = team(known("HEAD"))
    (ours.template / template.RENDERED_ROOT.name / "docs/new.md").write_text("# New\n")
    commit(ours.template, "next")
    break_(ours.path)
    commit(ours.path, "broken")
    result = ours.run(*UPDATE, folder=ours.path, status=1 if "nothing" not in words and "broken" not in words else 2)
    assert words in result
    assert "Traceback" not in result
    assert git(ours.path, "branch", "--show-current").strip() == "main"
    (ours.path / "loose.txt").write_text("x")
    assert (
        "not committed" in ours.run(*UPDATE, folder=ours.path, status=2) or "nothing says" in words or "broken" in words
    )


def _set(path: Path, **values: str) -> None:
    record = path / ".cruft.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | values))


def _answer(path: Path, **answers: str) -> None:
    record = path / ".cruft.json"
    state = json.loads(record.read_text())
    state["context"]["cookiecutter"] |= answers
    record.write_text(json.dumps(state))


def test_make_update_wants_a_project() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "update", "PROJECT="],
        cwd=template.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "make update PROJECT=../shop" in done.stderr
