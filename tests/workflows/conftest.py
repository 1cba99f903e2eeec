"""A repository on GitHub with a render in it, and an AWS account: `world()` makes both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from tests.bakes import Bake
from tests.terraform import Terraform
from tests.workflows.github import ADMINISTRATOR, Repository, Run
from tests.workflows.runner import HERE, Runner
from tests.workflows.server import GitHub
from tests.workflows.small import shrink
from tools import machinery

OWNER_AND_NAME = "acme/my-app"
REGION = "us-east-1"
# ops/rehearsal/simulator/identities.py: the only keys that nobody has to hand out.
ADMINISTRATORS_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "simulated"}
PYTHON = machinery.RENDER / ".venv" / "bin" / "python"


class Aws:
    """The simulated AWS, by its control (`tests/machinery/workflows/aws.py`)."""

    def __init__(self, answer: dict[str, str]) -> None:
        """`answer`: where it is."""
        self.url, self.address, self.directory = answer["aws"], answer["control"], Path(answer["directory"])
        self.internet = answer["internet"]

    def ask(self, what: str, **arguments: Any) -> Any:
        """Have something done there. AssertionError with what went wrong."""
        body = json.dumps({"do": what, "arguments": arguments}).encode()
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"{self.address}/control", body
            ) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Call AWS as a bystander who may see everything."""
        return self.ask("call", service=service, operation=operation, arguments=arguments)

    def sign(self, subject: str, audience: str, claims: dict[str, Any]) -> str:
        """A token that this AWS takes for one of GitHub's."""
        return str(self.ask("sign", prefix=subject, audience=audience, claims=claims))

    def fork(self) -> Aws:
        """Another AWS in the state of this one."""
        return Aws(self.ask("fork"))

    def variables(self) -> dict[str, str]:
        """What leads everybody on this machine to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "MINIATURE": self.address,
            "http_proxy": self.internet,
            "NO_PROXY": "127.0.0.1,localhost",
            "STAND_INS_PYTHON": str(PYTHON),
            "IMAGES": str(self.directory / "images"),
        }


@dataclass
class World:
    """A repository, the server before it, the render's files, and AWS."""

    repository: Repository
    github: GitHub
    source: Path
    aws: Aws
    variables: dict[str, str]

    def first_push(self) -> list[Run]:
        """Push the render to main."""
        return self.repository.import_tree(self.source)

    def make(self, *words: str, well: bool = True) -> str:
        """Run a make target as an administrator does, with keys of AWS and GitHub; what it said."""
        here = self.repository.tree
        self.repository.git("fetch", "--quiet", "origin", tree=True)
        self.repository.git("checkout", "--quiet", "-B", "main", "refs/remotes/origin/main", tree=True)
        keys = {**ADMINISTRATORS_KEYS, "AWS_REGION": REGION}
        github = {"GITHUB_API_URL": self.github.url, "GH_TOKEN": f"person-{ADMINISTRATOR}"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MAKE", "MFLAGS", "GITHUB_"))
        }
        path = os.pathsep.join([str(HERE / "bin"), kept["PATH"]])
        done = subprocess.run(
            ["make", "--no-print-directory", *words],
            cwd=here,
            env={**kept, **self.variables, **keys, **github, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == well, done.stdout[-5000:]
        return done.stdout


@pytest.fixture(scope="session")
def environment_of_jobs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, str]:
    """Variables that spare jobs the making of the same environment again.

    The environment is one that `make setup` made in a render, with this machine's caches; jobs find it in its place
    (make's variable VENV) and up to date. `test_set_up_from_nothing` is without this.
    """
    base = tmp_path_factory.getbasetemp()
    done = (base if worker_id == "master" else base.parent) / "machinery"
    with FileLock(f"{done}.lock"):
        if not done.exists():
            machinery.render()
        done.touch()
        machinery.set_up()
    # A folder of links, with stamps that are newer than every checkout.
    folder = Path(tempfile.mkdtemp(prefix="venv-"))
    tomorrow = time.time() + 24 * 3600
    for path in (machinery.RENDER / ".venv").iterdir():
        if path.is_file() and path.stat().st_size == 0:
            (folder / path.name).touch()
            os.utime(folder / path.name, (tomorrow, tomorrow))
        else:
            (folder / path.name).symlink_to(path)
    if " " in str(folder):
        return {}
    return {"MAKEFLAGS": f"VENV={folder}", "MYPY_CACHE_DIR": str(folder / "mypy")}


@pytest.fixture(scope="session")
def layers(environment_of_jobs: dict[str, str]) -> dict[str, str]:
    """The layers in miniature; their module needs the render's packages."""
    del environment_of_jobs
    script = "import json; from tests.machinery.ops import miniature; print(json.dumps(miniature.LAYERS))"
    done = subprocess.run(
        [PYTHON, "-c", script], env=machinery.environment(), capture_output=True, text=True, check=True
    )
    loaded: dict[str, str] = json.loads(done.stdout)
    return loaded


@pytest.fixture(scope="session")
def empty_account(environment_of_jobs: dict[str, str]) -> Iterator[Aws]:
    """An AWS account with nothing in it."""
    del environment_of_jobs
    with tempfile.TemporaryDirectory(prefix="aws-", ignore_cleanup_errors=True) as folder:
        directory = Path(folder) / "aws"
        directory.mkdir()
        for parent in (directory, *directory.parents[:2]):  # tasks and PostgreSQL run as another user
            parent.chmod(parent.stat().st_mode | 0o055)
        settings = {"directory": str(directory), "render": str(machinery.RENDER), "region": REGION}
        with (
            (Path(folder) / "log").open("w+") as log,
            subprocess.Popen(
                [PYTHON, "-m", "tests.machinery.workflows.aws", json.dumps(settings)],
                env=machinery.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as running,
        ):
            assert running.stdout
            line = running.stdout.readline()
            assert line, (Path(folder) / "log").read_text()
            yield Aws(json.loads(line))


# What is made of the account layer. The rest is nothing to the workflows, and the provider waits long for some of it.
MADE = re.compile(r"aws_iam_|aws_kms_|aws_dynamodb_|aws_s3_bucket(?!_lifecycle)")
Account = Callable[..., Aws]
Edit = Callable[[Path], None]


def unchanged(_project: Path) -> None:
    """Leave a render as it is."""


@pytest.fixture(scope="session")
def bootstrapped(bake: Bake, empty_account: Aws, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """An account after a bootstrap: the state's bucket and locks, and GitHub's roles, by the render's account layer."""
    known: dict[str, Aws] = {}

    def make(edit: Edit = unchanged, **options: str) -> Aws:
        work = tmp_path_factory.mktemp("account")
        project = bake.copy(work / "project", **options).path
        edit(project)
        key = json.dumps([options, *[path.read_text() for path in sorted((project / "infra/account").glob("*.tf"))]])
        if key not in known:
            account = known[key] = empty_account.fork()
            terraform = Terraform(work)
            terraform.environment |= account.variables() | ADMINISTRATORS_KEYS
            layer = project / "infra" / "account"
            (layer / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
            terraform.must(layer, "init", "-input=false")
            # What it would make, as a stream: to read a saved plan again, Terraform starts the provider again.
            said = map(json.loads, terraform.must(layer, "plan", "-json", "-input=false").splitlines())
            made = [event["change"]["resource"] for event in said if event["type"] == "planned_change"]
            targets = [
                f"-target={one['addr']}" for one in made if not one["module"] and MADE.match(one["resource_type"])
            ]
            terraform.must(layer, "apply", "-auto-approve", "-input=false", *targets)
            settings = yaml.safe_load((project / "project.yaml").read_text())
            app, number, region = settings["app_name"], settings["aws_account_id"], settings["aws_region"]
            account.ask("bootstrapped", bucket=f"{app}-tfstate-{number}-{region}")
        return known[key].fork()

    return make


@pytest.fixture
def world(
    bake: Bake, layers: dict[str, str], environment_of_jobs: dict[str, str], empty_account: Aws, bootstrapped: Account
) -> Iterator[Callable[..., World]]:
    """Make a repository for a render, and its AWS account.

    `settings` are those of `Repository`; `edit` changes the render's files; without `bootstrap` the account is empty.
    """
    with ExitStack() as stack:
        # Short, unlike pytest's: the paths of sockets are limited.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="github-", ignore_cleanup_errors=True)))

        def make(
            *,
            settings: dict[str, Any] | None = None,
            subject: str = "",
            bootstrap: bool = True,
            edit: Edit = unchanged,
            **options: str,
        ) -> World:
            options.setdefault("github_repository", OWNER_AND_NAME)
            account = bootstrapped(edit, **options) if bootstrap else empty_account.fork()
            source = bake.copy(folder / "render", **options).path
            edit(source)
            shrink(source, layers)
            here = place(stack, folder, account, environment_of_jobs, options["github_repository"], settings or {})
            here.source = source
            here.github.subject = subject or here.github.subject
            if bootstrap:
                here.repository.variables["BOOTSTRAPPED"] = "true"  # as `make bootstrap` sets it
            return here

        yield make


def place(
    stack: ExitStack, folder: Path, account: Aws, environment: dict[str, str], name: str, settings: dict[str, Any]
) -> World:
    """A repository and its server, with a runner whose jobs find an AWS account."""
    variables = {**account.variables(), **environment}
    runner = Runner(folder / "runner", variables, [HERE / "bin"])
    repository = Repository(folder / "github", name, runner, **settings)
    github = runner.github = stack.enter_context(GitHub(repository, sign=account.sign).serving())
    return World(repository, github, folder, account, variables)


@pytest.fixture(scope="session")
def beginning(
    bake: Bake, layers: dict[str, str], environment_of_jobs: dict[str, str], bootstrapped: Account
) -> Iterator[Callable[..., World]]:
    """A project whose environments are up: the render on main, GitHub's environments made, `make up` for each."""
    known: dict[str, World] = {}
    with ExitStack() as stack:

        def make(up: tuple[str, ...], edit: Edit, **options: str) -> World:
            options.setdefault("github_repository", OWNER_AND_NAME)
            key = json.dumps([up, options, repr(edit)])
            if key not in known:
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="up-", ignore_cleanup_errors=True))
                )
                source = bake.copy(folder / "render", **options).path
                edit(source)
                shrink(source, layers)
                account = bootstrapped(edit, **options)
                here = known[key] = place(stack, folder, account, environment_of_jobs, options["github_repository"], {})
                here.repository.import_tree(source, started=False)
                here.repository.variables["BOOTSTRAPPED"] = "true"
                here.make("github-environments", f"REVIEWERS={ADMINISTRATOR}")
                for environment in up:
                    here.make("up", f"ENV={environment}")
            return known[key]

        yield make


@pytest.fixture
def delivered(beginning: Callable[..., World], environment_of_jobs: dict[str, str]) -> Iterator[Callable[..., World]]:
    """Go on from a copy of a project whose environments are up."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="github-", ignore_cleanup_errors=True)))

        def make(up: tuple[str, ...] = ("dev", "staging", "prod"), edit: Edit = unchanged, **options: str) -> World:
            before = beginning(up, edit, **options)
            account = before.aws.fork()
            here = place(stack, folder / "unused", account, environment_of_jobs, before.repository.full_name, {})
            runner = here.repository.execute
            here.repository = here.github.repository = before.repository.copy(folder / "copy", runner)
            return here

        yield make


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[..., GitHub]]:
    """Make a repository with workflows of a test's own (`ci.yml` -> text), and no AWS."""
    with ExitStack() as stack:

        def make(
            workflows: dict[str, str], *, account: Aws | None = None, keys: bool = False, **settings: Any
        ) -> GitHub:
            variables = {"STAND_INS_PYTHON": str(PYTHON), **(account.variables() if account else {})}
            runner = Runner(tmp_path / "runner", variables | (ADMINISTRATORS_KEYS if keys else {}), [HERE / "bin"])
            repository = Repository(tmp_path / "github", OWNER_AND_NAME, runner, **settings)
            sign = account.sign if account else None
            runner.github = stack.enter_context(GitHub(repository, sign=sign).serving())
            files = {f".github/workflows/{name}": text for name, text in workflows.items()}
            repository.commit("main", {"README.md": "Hello\n", **files})
            return runner.github

        yield make


def ended(runs: list[Run], *, well: bool = True) -> dict[str, Run]:
    """The runs by their workflow's name. AssertionError with their failed steps where one did not end as it should."""
    for run in runs:
        assert not well or run.conclusion in ("success", "skipped"), str(run)
    return {run.name: run for run in runs}
