"""up and deploy: order, resumption, and that a failure leaves the version before it alone."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ops import ecs, interruption, up

from tests.machinery.ops.conftest import APP, DIGEST, Fargate, Ops, Settings, bash, service_in_moto

pytestmark = pytest.mark.usefixtures("healthy_tasks", "role_manager")


def test_up_from_nothing_to_a_url(
    account_ready: Settings, ops: Ops, docker: Path, fargate: Fargate, client: Callable[[str], Any]
) -> None:
    result = ops("up", "--env", "dev")
    assert result.code == 0, result.text
    assert "URL: http://service.example.com" in result.out
    calls = docker.read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["build", "login", "push"]
    assert "content-" in calls[0]
    assert [task["family"] for task in fargate.ran] == [f"{APP}-dev-migrate"]
    assert "alarms of dev reach nobody yet" in result.err
    recorded = client("ssm").get_parameter(Name=f"/{APP}/dev/image")["Parameter"]["Value"]
    assert recorded.startswith("sha256:")

    again = ops("up", "--env", "dev")
    assert again.code == 0, again.text
    assert "build skipped" in again.out
    assert again.out.count("no changes") == 4
    assert len(docker.read_text().splitlines()) == 3


def test_up_tags_the_image_of_a_commit_by_its_sha(account_ready: Settings, ops: Ops, docker: Path) -> None:
    root = account_ready.path.parent
    git = "git -c user.name=n -c user.email=e@example.com"
    made = bash(f"git init -q . && git add app .dockerignore && {git} commit -qm first && git rev-parse HEAD", root)
    commit = made.stdout.strip()
    assert ops("up", "--env", "dev").code == 0
    assert f":{commit} " in docker.read_text()
    (root / "app/new.py").write_text("")
    changed = ops("up", "--env", "dev", "--yes")
    assert changed.code == 0, changed.text
    assert "not committed" in changed.out


@pytest.mark.parametrize("name", ["app/Dockerfile", "app/main.py", ".dockerignore", "role_manager/rds-ca-bundle.pem"])
def test_whatever_the_image_is_made_of_changes_its_tag(project: Settings, name: str) -> None:
    from ops.images import current_tag

    root = project.path.parent
    before = current_tag(root)[0]
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n# another\n")
    assert current_tag(root)[0] != before


def test_an_image_that_does_not_build_stops_up_with_the_words_of_docker(
    account_ready: Settings, ops: Ops, docker: Path
) -> None:
    (account_ready.path.parent / "app/Dockerfile").write_text("FROM scratch\nCOPY nothing*.txt /\n")
    result = ops("up", "--env", "dev")
    assert result.code == 1
    assert "nothing*.txt" in result.err
    assert [call.split()[0] for call in docker.read_text().splitlines()] == ["build"]


def test_up_goes_on_after_a_failure(account_ready: Settings, ops: Ops, docker: Path) -> None:
    layer = account_ready.path.parent / "infra/database/main.tf"
    good = layer.read_text()
    layer.write_text(good.replace('LAYER  = "database"', 'LAYER  = "broken"'))
    failed = ops("up", "--env", "dev")
    assert failed.code == 1
    assert "Terraform apply failed in database-dev" in failed.err
    assert "Next: " in failed.err
    assert "Not begun: roles, service, migrations, healthy." in failed.out
    layer.write_text(good)
    again = ops("up", "--env", "dev", "--yes")
    assert again.code == 0, again.text
    assert "build skipped" in again.out


def test_up_needs_bootstrap(project: Settings, ops: Ops) -> None:
    result = ops("up", "--env", "dev")
    assert result.code == 3
    assert "make bootstrap" in result.err


def test_up_plan_changes_nothing(account_ready: Settings, ops: Ops, client: Callable[[str], Any]) -> None:
    before = client("s3").list_objects_v2(Bucket=f"{APP}-tfstate-123456789012-us-east-1")["KeyCount"]
    result = ops("up", "--env", "dev", "--plan")
    assert result.code == 0, result.text
    assert "terraform_data.base will be created" in result.out
    assert "reads network, which must exist" in result.out
    assert "Would be built, pushed and deployed" in result.out
    after = client("s3").list_objects_v2(Bucket=f"{APP}-tfstate-123456789012-us-east-1")["KeyCount"]
    assert after == before


def test_up_without_docker_says_what_to_do(account_ready: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr("ops.images.shutil.which", lambda name: None if name == "docker" else which(name))
    result = ops("up", "--env", "dev")
    assert result.code == 1
    assert "Docker is not installed" in result.err
    assert "IMAGE=" in result.err


def test_up_with_an_image_that_is_not_there(account_ready: Settings, ops: Ops) -> None:
    result = ops("up", "--env", "dev", "--image", DIGEST["new"])
    assert result.code == 2
    assert "no image of digest" in result.err
    assert "Not begun" in result.out


def test_up_of_a_temporary_environment(
    deployed: Settings, ops: Ops, client: Callable[[str], Any], push: Callable[..., None]
) -> None:
    release = ops("up", "--env", "dev", "--workspace", "pr-7", "--image", "release-2")
    assert release.code == 2  # what is a release, or could be taken for one, is elsewhere
    push("release-2", DIGEST["new"], f"{APP}/previews")
    result = ops("up", "--env", "dev", "--workspace", "pr-7", "--image", "release-2")
    assert result.code == 0, result.text
    assert "[network]" not in result.out
    keys = [
        item["Key"] for item in client("s3").list_objects_v2(Bucket=f"{APP}-tfstate-123456789012-us-east-1")["Contents"]
    ]
    assert "env:/pr-7/service/dev-temp.tfstate" in keys
    refused = ops("down", "--env", "dev", "--confirm", "dev")
    assert refused.code == 2
    assert "temporary environments: pr-7" in refused.err
    gone = ops("down", "--env", "dev", "--workspace", "pr-7", "--confirm", "pr-7")
    assert gone.code == 0, gone.text
    assert ops("down", "--env", "dev", "--confirm", "dev").code == 0


def test_deploy_migrates_first_and_rolls_back_by_an_older_image(deployed: Settings, ops: Ops, fargate: Fargate) -> None:
    fargate.log = ["applied 0002_orders"]
    result = ops("deploy", "--env", "dev", "--image", "release-2", "--yes")
    assert result.code == 0, result.text
    assert result.out.index("migrations are done") < result.out.index("[service]")
    assert "applied 0002_orders" in result.out
    assert fargate.ran[0]["image"].endswith(DIGEST["new"])
    assert fargate.ran[0]["release"] == DIGEST["new"]
    assert ops("image", "--env", "dev").out.strip() == DIGEST["new"]

    back = ops("deploy", "--env", "dev", "--image", DIGEST["old"], "--yes")
    assert back.code == 0, back.text
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]
    listed = ops("status", "--env", "dev", "--no-drift").out
    assert listed.count("deployed") == 3


def test_a_failed_migration_stops_the_deployment(deployed: Settings, ops: Ops, fargate: Fargate) -> None:
    fargate.exit_code = 3
    fargate.log = ['relation "orders" already exists']
    result = ops("deploy", "--env", "dev", "--image", "release-2", "--yes")
    assert result.code == 6
    assert "exit code 3" in result.err
    assert "still serves" in result.err
    assert 'relation "orders" already exists' in result.out
    assert "Not begun: service, healthy." in result.out
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]


def test_a_migration_that_can_not_start(deployed: Settings, ops: Ops, fargate: Fargate) -> None:
    fargate.reason = "Task failed to start"
    fargate.container_reason = "CannotPullContainerError: not found"
    result = ops("migrate", "--env", "dev")
    assert result.code == 6
    assert "could not be pulled" in result.err


def test_a_migration_that_never_ends_is_stopped(
    deployed: Settings, ops: Ops, fargate: Fargate, monkeypatch: pytest.MonkeyPatch
) -> None:
    fargate.ends = False
    # At once: moto lets a task end by itself after some looks.
    monkeypatch.setattr("ops.up.migrate.__defaults__", (0.0,))
    result = ops("migrate", "--env", "dev")
    assert result.code == 6
    assert "did not end within" in result.err


def test_a_service_that_never_gets_healthy(
    deployed: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch, client: Callable[[str], Any]
) -> None:
    monkeypatch.setattr("ops.ecs.wait_healthy.__kwdefaults__", {"timeout": 0.2})
    service = service_in_moto()
    service.deployments[0] |= {"rolloutState": "IN_PROGRESS", "runningCount": 0}
    service.events = [{"id": "1", "createdAt": 0, "message": "(service shop-dev) failed to launch a task"}]
    _log(client, "cannot reach the database")
    result = ops("up", "--env", "dev", "--image", "release-1", "--yes")
    assert result.code == 6
    assert "not healthy after" in result.err
    assert "failed to launch a task" in result.err
    assert "cannot reach the database" in result.err


def test_a_deployment_that_ecs_rolls_back(deployed: Settings, ops: Ops) -> None:
    service_in_moto().deployments[0] |= {
        "rolloutState": "FAILED",
        "rolloutStateReason": "circuit breaker",
    }
    result = ops("up", "--env", "dev", "--image", "release-1", "--yes")
    assert result.code == 6
    assert "The deployment failed" in result.err


def test_a_rollback_that_was_over_before_the_first_look(deployed: Settings, ops: Ops) -> None:
    """All is healthy then, and it is the version before."""
    ours = service_in_moto().task_definition
    layer = deployed.path.parent / "infra/service/main.tf"
    text = layer.read_text()
    layer.write_text(f'{text}output "task_definition" {{ value = "{ours}0" }}')
    result = ops("up", "--env", "dev", "--image", "release-1", "--yes")
    assert result.code == 6, result.text
    assert "The deployment failed; the version before it runs, if there was one" in result.err
    layer.write_text(f'{text}output "task_definition" {{ value = "{ours}" }}')
    again = ops("up", "--env", "dev", "--image", "release-1", "--yes")
    assert again.code == 0, again.text


def test_up_refuses_what_deletes_without_yes(deployed: Settings, ops: Ops) -> None:
    result = ops("up", "--env", "dev", "--image", "release-2")
    assert result.code == 1
    assert "terraform_data.version" in result.err
    assert "YES=1" in result.err


def test_ctrl_c_ends_in_seconds_and_stops_the_task_that_it_waits_for(
    deployed: Settings, ops: Ops, fargate: Fargate, client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration may take half an hour, and the thread that follows it gets no signal."""
    fargate.ends = False
    monkeypatch.setattr("moto.ecs.models.Task.advance", lambda _task: None, raising=False)
    stopped: list[str] = []
    stop = ecs._stop

    def stop_and_note(*arguments: Any) -> None:
        stopped.append(arguments[-1])
        stop(*arguments)

    monkeypatch.setattr(ecs, "_stop", stop_and_note)

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not fargate.ran and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        began.append(time.monotonic())

    began: list[float] = []
    threading.Thread(target=interrupt).start()
    result = ops("deploy", "--env", "dev", "--image", "release-2")
    assert result.code == 130, result.text
    assert time.monotonic() - began[0] < 10
    assert stopped == ["ops: interrupted"]
    assert "goes on where it stopped" in result.err
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]


def test_ctrl_c_waits_for_nobody_who_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "MOMENT_SECONDS", 0.2)
    deaf = threading.Event()

    def work(_step: Any) -> str:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        deaf.wait(60)
        return "done"

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        up.run_all([up.Task("deaf", work)])
    assert time.monotonic() - began < 5
    deaf.set()
    interruption.forget()


def test_a_folder_that_git_does_not_trust_is_named(
    deployed: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout of another user's: without git's words it would be "not a git repository"."""
    bash("git init -q .", deployed.path.parent)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    result = ops("up", "--env", "dev", "--plan")
    assert result.code == 1
    assert "dubious ownership" in result.err
    assert "safe.directory" in result.err


def test_deploy_of_what_was_never_built(deployed: Settings, ops: Ops) -> None:
    result = ops("deploy", "--env", "dev", "--image", "0123456789abcdef0123456789abcdef01234567")
    assert result.code == 2
    assert "no image of commit" in result.err
    assert DIGEST["new"] in result.err
    for nonsense in ("sha256:12", "a b", "$(id)", ""):
        assert ops("deploy", "--env", "dev", "--image", nonsense).code == 2


def test_deploy_before_up(account_ready: Settings, ops: Ops) -> None:
    result = ops("deploy", "--env", "dev", "--image", DIGEST["new"])
    assert result.code == 3
    assert "make up ENV=dev" in result.err


def _log(client: Callable[[str], Any], message: str) -> None:
    import time

    logs = client("logs")
    logs.create_log_stream(logGroupName=f"/{APP}/dev/service", logStreamName="app/app/1")
    event = {"timestamp": int(time.time() * 1000), "message": message}
    logs.put_log_events(logGroupName=f"/{APP}/dev/service", logStreamName="app/app/1", logEvents=[event])
