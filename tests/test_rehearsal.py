"""`make rehearse` of renders: that what works is said to work, and that what was broken on purpose is named."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests import privileges
from tests.bakes import Bake, Project
from tests.options import Options, covering, label, minimal
from tests.terraform import Terraform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

# A folder for temporary files below which no Unix socket of a Terraform provider could be opened.
LONG = "temporary files of somebody whose paths are as long as those of macOS, and a little longer"
# Of what the others leave out, test_terraform.py plans each kind; they are rehearsed every night.
QUICK: list[Options] = [{}]
NIGHTLY = [minimal(), *covering()]


def environment(folder: Path) -> dict[str, str]:
    """A person's environment without AWS and make, and with a folder for temporary files of its own."""
    folder.mkdir(exist_ok=True)
    # Tasks run as another user, who has to get there.
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o011)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    return kept | {"TMPDIR": str(folder)}


def make(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a target as a person would who is not at a terminal."""
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=project.path,
        env=environment(project.path.parent / LONG),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Rehearsed:
    """What became of a rehearsal: its report's folder, what it printed, and the directories that it left."""

    returncode: int
    output: str
    left: list[str]
    folder: str
    infra: str

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return Path(self.folder)

    @property
    def data(self) -> dict[str, object]:
        """The report's data."""
        loaded: dict[str, object] = json.loads((self.report / "report.json").read_text(encoding="utf-8"))
        return loaded


@pytest.fixture(scope="session")
def rehearsed(bake: Bake, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Rehearsed]:
    """Rehearse a render of these options, once for all tests and workers of a session."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "rehearsals"
    shared.mkdir(exist_ok=True)

    def rehearse(**options: str) -> Rehearsed:
        folder = shared / (re.sub(r"[^\w=,.-]", "", label(options)) or "defaults")
        note = folder / "rehearsed.json"
        with FileLock(f"{folder}.lock"):
            if not note.exists():
                Terraform(tmp_path_factory.mktemp("terraform"))
                project = bake.copy(folder / "project", **options)
                result = make(project, "rehearse")
                left = [str(path) for path in (folder / LONG).glob("rehearsal-*")]
                made = Rehearsed(
                    result.returncode,
                    result.stdout,
                    left,
                    str(project.path / "ops/rehearsal/report"),
                    str(project.path / "infra"),
                )
                note.write_text(json.dumps(asdict(made)), encoding="utf-8")
            return Rehearsed(**json.loads(note.read_text(encoding="utf-8")))

    return rehearse


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [*QUICK, *(pytest.param(options, marks=pytest.mark.nightly) for options in NIGHTLY)],
    ids=label,
)
def test_everything_works_and_nothing_is_left(rehearsed: Callable[..., Rehearsed], options: Options) -> None:
    run = rehearsed(**options)
    assert run.returncode == 0, run.output[-20_000:]
    assert "It works" in run.output
    page = (run.report / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?[^#"']|url\([^#]""", page), "the report needs another file"
    found = run.data
    assert found["worked"] is True
    assert found["reachability"]
    attempts = found["attempts"]
    assert isinstance(attempts, list)
    assert len(attempts) >= 30
    assert all(attempt["refused"] and attempt["because"] for attempt in attempts)
    assert found["privileges"]
    assert float(str(found["deciding_seconds"])) < 0.05 * float(str(found["seconds"]))
    assert int(str(found["peak_memory_bytes"])) < 4_000_000_000
    assert not run.left, "the run's directory is left"


@pytest.mark.nightly
@pytest.mark.parametrize("elsewhere", ["prod", "dev"])
def test_environments_in_two_accounts(bake: Bake, tmp_path: Path, elsewhere: str) -> None:
    """From bootstrap over a promotion and a rollback to nothing; the keys of one account open nothing of the other."""
    Terraform(tmp_path)
    project = bake.copy(tmp_path / "project", environments="dev+prod")
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    lives = "    aws_account_id: '210987654321'\n    aws_profile: there\n"
    text = re.sub(rf"(?m)^(  {elsewhere}:\n)", rf"\1{lives}", text)
    file.write_text(re.sub(r"(?m)^(aws_account_id: .*\n)", r"\1aws_profile: here\n", text), encoding="utf-8")
    result = make(project, "rehearse")
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "in 2 accounts" in result.stdout
    found = json.loads((project.path / "ops/rehearsal/report/report.json").read_text(encoding="utf-8"))
    assert found["worked"] is True
    across = [attempt for attempt in found["attempts"] if "other account's" in attempt["what"]]
    assert len(across) >= 60
    assert all(attempt["refused"] for attempt in across)


def test_a_call_that_the_simulator_lacks_stops_it_at_once_by_name(bake: Bake, tmp_path: Path) -> None:
    Terraform(tmp_path)
    project = bake.copy(tmp_path / "project", **minimal())
    with (project.path / "infra/account/main.tf").open("a", encoding="utf-8") as file:
        file.write('\ndata "aws_rds_engine_version" "unknown" {\n  engine = "aurora-postgresql"\n}\n')
    assert make(project, "setup").returncode == 0
    began = time.monotonic()
    result = make(project, "rehearse")
    assert result.returncode != 0
    assert "The simulator has no rds DescribeDBEngineVersions" in result.stdout, result.stdout[-10_000:]
    assert time.monotonic() - began < 90


def test_interruption_cleans_up(bake: Bake, tmp_path: Path) -> None:
    Terraform(tmp_path)
    project = bake.copy(tmp_path / "project", **minimal())
    assert make(project, ".venv/.rehearse").returncode == 0
    running = subprocess.Popen(
        ["make", "--no-print-directory", "rehearse"],
        cwd=project.path,
        env=environment(tmp_path / LONG),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "make bootstrap" in line:
            break
    time.sleep(3)
    os.killpg(running.pid, signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "everything that was started is stopped" in rest, rest
    assert not list((tmp_path / LONG).glob("rehearsal-*"))
    assert str(tmp_path) not in processes(), "a process is left"


def test_the_leftovers_of_a_killed_run_are_removed_by_the_next(bake: Bake, tmp_path: Path) -> None:
    Terraform(tmp_path)
    project = bake.copy(tmp_path / "project", **minimal())
    assert make(project, ".venv/.rehearse").returncode == 0
    running = subprocess.Popen(
        [project.path / ".venv/bin/python", "-m", "ops.rehearsal"],
        cwd=project.path,
        env=environment(tmp_path / LONG),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "make bootstrap" in line:
            break
    time.sleep(3)
    running.kill()
    running.wait()
    running.stdout.close()
    [killed] = (tmp_path / LONG).glob("rehearsal-*")
    result = make(project, "rehearse", "ONLY=account")
    assert result.returncode == 0, result.stdout[-10_000:]
    assert not killed.exists()
    assert killed.name not in processes()


def processes() -> str:
    """The command lines of this machine's processes."""
    return subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Sabotage:
    """An edit of a render's file, the layer that it concerns, and words by which the rehearsal names it."""

    name: str
    file: str
    old: str
    new: str
    layer: str
    says: str


SABOTAGES = [
    Sabotage(
        "endpoint for secrets removed",
        "infra/network/endpoints.tf",
        "endpoints = merge(local.service_endpoints, local.secrets_endpoint)",
        "endpoints = local.service_endpoints",
        "network",
        "role manager reaches secretsmanager — no endpoint for secretsmanager",
    ),
    Sabotage(
        "endpoint for everybody's account",
        "infra/network/endpoints.tf",
        """      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account } }
    }]
  }) : null""",
        """    }]
  }) : null""",
        "network",
        "endpoint secretsmanager refuses other accounts: secretsmanager:DescribeSecret",
    ),
    Sabotage(
        "database subnets given a route to the internet",
        "infra/network/routes.tf",
        "route_table_id = aws_route_table.database.id",
        "route_table_id = aws_route_table.public.id",
        "network",
        "database subnets have no route out of the VPC: igw-",
    ),
    Sabotage(
        "log bucket policy emptied",
        "infra/service/access-logs.tf",
        '"logdelivery.elasticloadbalancing.amazonaws.com"',
        '"nobody.amazonaws.com"',
        "service",
        "the bucket's policy does not let logdelivery.elasticloadbalancing.amazonaws.com put",
    ),
    Sabotage(
        "alarm action removed",
        "infra/service/alarms.tf",
        "  threshold           = local.settings.alarms.latency_p99_seconds\n"
        "  evaluation_periods  = 5\n"
        "  datapoints_to_alarm = 3\n"
        '  treat_missing_data  = "notBreaching"\n'
        "  alarm_actions       = [aws_sns_topic.alarms.arn]\n",
        "  threshold           = local.settings.alarms.latency_p99_seconds\n"
        "  evaluation_periods  = 5\n"
        "  datapoints_to_alarm = 3\n"
        '  treat_missing_data  = "notBreaching"\n',
        "service",
        "-latency has no alarm action",
    ),
    Sabotage(
        "migrator's login dropped",
        "project.yaml",
        "migrator: { profile: owner, login: iam",
        "migrator: { profile: owner, login: none",
        "database",
        "my-app-dev-migrate logs in as migrator",
    ),
    Sabotage(
        "check of the role manager that logs in as nobody",
        "role_manager/actions.py",
        "results = proofs.prove(manager, logins=logins and found.iam_logins and safe, future=safe, again=found.empty)",
        "results = proofs.prove(manager, logins=False, future=safe, again=found.empty)",
        "database",
        "it proves by logging in what each role can do: not proven: app, migrator",
    ),
    Sabotage(
        "wrong environment variable name",
        "infra/service/task-definitions.tf",
        "      DB_HOST   =",
        "      DATABASE_HOST =",
        "service",
        "DB_HOST is missing",
    ),
    Sabotage(
        "rollback alarm removed",
        "infra/service/service.tf",
        "alarm_names = [for alarm in local.rollback_alarms : alarm.alarm_name]",
        "alarm_names = [local.rollback_alarms.errors.alarm_name]",
        "service",
        "no rollback alarm on latency",
    ),
    Sabotage(
        "database opened to the VPC",
        "infra/database/security_groups.tf",
        'resource "aws_vpc_security_group_ingress_rule" "database_from_role_manager" {',
        'resource "aws_vpc_security_group_ingress_rule" "open" {\n'
        "  security_group_id = aws_security_group.database.id\n"
        '  cidr_ipv4         = "10.0.0.0/8"\n'
        "  from_port         = 5432\n"
        "  to_port           = 5432\n"
        '  ip_protocol       = "tcp"\n'
        "}\n\n"
        'resource "aws_vpc_security_group_ingress_rule" "database_from_role_manager" {',
        "database",
        "another machine in the VPC does not reach database:5432",
    ),
    Sabotage(
        "topic on the AWS-managed key",
        "infra/service/notifications.tf",
        "kms_master_key_id = module.key.arn",
        'kms_master_key_id = "alias/aws/sns"',
        "service",
        "AWS-managed key, which cloudwatch.amazonaws.com cannot use",
    ),
]


@pytest.fixture
def kept(bake: Bake, tmp_path: Path) -> Iterator[Project]:
    """The defaults, deployed and left running."""
    Terraform(tmp_path)
    project = bake.copy(tmp_path / "project")
    assert make(project, "setup").returncode == 0
    log = (tmp_path / "log").open("w+")
    running = subprocess.Popen(
        ["make", "--no-print-directory", "rehearse", "KEEP=1"],
        cwd=project.path,
        env=environment(tmp_path / LONG),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    note = project.path / "ops/rehearsal/report/kept.json"
    while not note.exists():
        log.seek(0)
        assert running.poll() is None, log.read()[-20_000:]
        time.sleep(1)
    yield project
    os.killpg(running.pid, signal.SIGINT)
    running.wait(60)
    log.close()
    assert not list((tmp_path / LONG).glob("rehearsal-*"))


# What is broken in the service's layer is applied after all others.
IN_ORDER = sorted(SABOTAGES, key=lambda sabotage: sabotage.layer == "service")


@pytest.mark.nightly
def test_sabotage_is_named(kept: Project, subtests: pytest.Subtests) -> None:
    for sabotage in IN_ORDER:
        with subtests.test(sabotage.name):
            file = kept.path / sabotage.file
            before = file.read_text(encoding="utf-8")
            assert before.count(sabotage.old) == 1, f"{sabotage.file} changed: write the sabotage again"
            file.write_text(before.replace(sabotage.old, sabotage.new), encoding="utf-8")
            try:
                result = make(kept, "rehearse", f"ONLY={sabotage.layer}")
            finally:
                file.write_text(before, encoding="utf-8")
            assert result.returncode != 0, result.stdout[-10_000:]
            assert sabotage.says in result.stdout, result.stdout[-10_000:]
            if sabotage.layer != "service":  # those come last, and each applies the service's other files as they were
                mended = make(kept, "rehearse", f"ONLY={sabotage.layer}")
                assert mended.returncode == 0, mended.stdout[-10_000:]


def edit(project: Project, file: str, old: str, new: str) -> None:
    """Replace something that stands once in a file."""
    text = (project.path / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} changed: write the edit again"
    (project.path / file).write_text(text.replace(old, new), encoding="utf-8")


# What a team may have written into project.yaml a year later, each in the place of what it was made with.
OWN = {
    "  variables: {}": "  variables: { GREETING: 'hi', EMPTY: '' }",
    "  secrets: []": "  secrets: [API_KEY, OTHER_KEY]",
    "jobs: {}": """jobs:
  clean-up:
    command: [python, -m, app.jobs.heartbeat]
    schedule: 'cron(30 3 * * ? *)'
    time_zone: Europe/Berlin
    timeout_minutes: 10
    environments: [prod]
  report: { command: [python, -m, app.jobs.heartbeat], schedule: rate(15 minutes), timeout_minutes: 5 }""",
    "workers: {}": """workers:
  mail: { command: [python, -m, app.worker, example], min_tasks: 0, max_tasks: 3 }
  example: { command: [python, -m, app.worker, example], min_tasks: 2, max_receives: 3 }""",
    "storage: 'none'": "storage: 's3'",
    "files: {}": "files: { content_types: [image/png], max_megabytes: 20, expire_days: 30, old_version_days: 7 }",
    "zones: 2\n      # Zones with": "zones: 3\n      # Zones with",
    "min_capacity: 0\n      max_capacity: 2\n": "min_capacity: 1\n      max_capacity: 2\n",
    "  retired: []": "    analyst: { profile: read-only, login: none }\n  retired: [old_report]",
    "  schemas: [app]": "  schemas: [app, reporting]",
    "min_tasks: 1\n      max_tasks: 2\n": "min_tasks: 2\n      max_tasks: 2\n",
}


@pytest.mark.nightly
def test_what_a_team_has_of_its_own_is_rehearsed(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project", environments="dev+prod", domain_name="shop.example.com")
    for old, new in OWN.items():
        edit(project, "project.yaml", old, new)
    result = make(project, "rehearse")
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "make secret: API_KEY, OTHER_KEY" in result.stdout


@pytest.mark.nightly
def test_what_an_edit_concerns_is_repeated_and_what_is_not_is_said(kept: Project) -> None:
    def again() -> str:
        result = make(kept, "rehearse", "AGAIN=1")
        assert result.returncode == 0, result.stdout[-10_000:]
        return result.stdout

    assert "nothing is repeated" in again()

    edit(kept, "infra/service/alarms.tf", "callers see it.", "callers notice it.")
    said = again()
    assert "make apply LAYER=service" in said
    assert "make apply LAYER=network" not in said
    assert "Not repeated: layers account, network, build-repository, database" in said
    assert "what must be refused (no policy changed)" in said

    edit(kept, "app/routes/health.py", '    status: str = "ok"\n', '    status: str = "ok"\n    again: str = "yes"\n')
    said = again()
    assert "make deploy ENV=dev" in said
    assert "make apply LAYER" not in said

    edit(kept, "project.yaml", "  variables: {}", "  variables: { AGAIN: 'yes' }")
    said = again()
    assert "make apply LAYER=service" in said
    assert "nothing is repeated" in again()


def test_again_without_a_kept_rehearsal_is_refused(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project", **minimal())
    result = make(project, "rehearse", "AGAIN=1")
    assert result.returncode != 0
    assert "make rehearse KEEP=1" in result.stdout


# These come last: what they ask was rehearsed by then.


def test_flags_are_watched_with_the_role_of_rollbacks(rehearsed: Callable[..., Rehearsed]) -> None:
    usage = privileges.decisions(rehearsed().report)
    assert {call.call for call in usage.without("my-app-dev-flags-rollback", "cloudwatch:DescribeAlarms")} == {
        "monitoring DescribeAlarms"
    }


# A few of what dev's apply role needs for any platform, each with a call that is refused without it.
APPLY = {
    "ec2:CreateVpc": "ec2 CreateVpc",
    "ecs:RegisterTaskDefinition": "ecs RegisterTaskDefinition",
    "iam:CreateRole": "iam CreateRole",
    "iam:PassRole": "ecs RegisterTaskDefinition",
    "kms:CreateKey": "kms CreateKey",
    "s3:PutObject": "s3 PutObject",
    "sns:CreateTopic": "sns CreateTopic",
}


def test_an_action_that_is_taken_out_of_a_role_s_policies_is_missed_by_name(
    rehearsed: Callable[..., Rehearsed],
) -> None:
    run = rehearsed()
    assert run.returncode == 0, run.output[-20_000:]
    usage = privileges.decisions(run.report)
    build = {action: missed for action, missed in privileges.one_by_one(usage, "my-app-github-build") if missed}
    assert build.keys() >= {
        "ecr:BatchCheckLayerAvailability", "ecr:CompleteLayerUpload", "ecr:DescribeImages", "ecr:DescribeRepositories",
        "ecr:GetAuthorizationToken", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
    }  # fmt: skip
    assert all(call.action == action for action, missed in build.items() for call in missed)
    for action, call in APPLY.items():
        missed = usage.without("my-app-github-apply-dev", action)
        assert call in {one.call for one in missed}, f"without {action}: {missed}"
        assert all(one.action.lower() == action.lower() for one in missed)


@pytest.mark.nightly
@pytest.mark.timeout(2 * 3600)
def test_every_action_of_every_role_is_missed_in_a_rehearsal_or_says_why_it_stays(
    rehearsed: Callable[..., Rehearsed],
) -> None:
    runs = [rehearsed(**options) for options in [*QUICK, *NIGHTLY]]
    usages = [privileges.decisions(run.report) for run in runs]
    unexplained = privileges.unexplained(usages, Path(runs[0].infra))
    assert not unexplained, "nothing needs these, and their lines say nothing:\n" + "\n".join(
        f"{place.sid}: {place.action}" for place in unexplained
    )
