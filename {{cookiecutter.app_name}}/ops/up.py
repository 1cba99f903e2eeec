"""`up` and `deploy`: the layers and steps in their order, those that don't need each other at the same time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from ops import ecs, images, incident, interruption, jobs, layers, releases, review, roles, secret_values
from ops import terraform as terraform_module
from ops.aws import Aws, connect
from ops.errors import AccountError, DeploymentFailed, OpsError
from ops.output import Step, confirm, duration, say, warn
from ops.project import Project, load
from ops.terraform import BUILD_REPOSITORY, DATABASE, NETWORK, SERVICE, Layer, Plan, Terraform

MIGRATION_SECONDS = 30 * 60
MOMENT_SECONDS = 5.0
# Replacing these is how they are changed; nothing is lost by it.
_REPLACED_BY_DESIGN = (
    "aws_ecs_task_definition.",
    "aws_appconfig_hosted_configuration_version.",
    "aws_lambda_invocation.",
)


@dataclass(frozen=True)
class Task:
    """A step of a command, and the names of those that come before it."""

    name: str
    run: Callable[[Step], str]
    after: Sequence[str] = ()


def run_all(tasks: Sequence[Task]) -> None:
    """Run tasks in their order, independent ones at the same time.

    After a failure nothing new begins, what runs is finished, and the first error is raised. A Ctrl-C waits
    until every Terraform has stored its state, and for nothing else.
    """
    names = {task.name for task in tasks}
    waiting = list(tasks)
    done: set[str] = set()
    running: set[str] = set()
    errors: list[BaseException] = []
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()

    def work(task: Task) -> None:
        step = Step(task.name)
        error: BaseException | None = None
        try:
            step.done(task.run(step))
        except (OpsError, BotoCoreError, ClientError) as found:
            step.failed(f"failed: {str(found).splitlines()[0]}")
            error = found
        except BaseException as found:  # noqa: BLE001 - whatever it is, the main thread raises it
            error = found
        ended.put((task.name, error))

    try:
        while waiting or running:
            for task in [*waiting]:
                if not errors and done.issuperset(names.intersection(task.after)):
                    waiting.remove(task)
                    running.add(task.name)
                    # A daemon: the process does not wait for it when it ends.
                    threading.Thread(target=work, args=(task,), name=task.name, daemon=True).start()
            if not running:
                break
            name, error = ended.get()
            running.discard(name)
            if error:
                errors.append(error)
            else:
                done.add(name)
    except KeyboardInterrupt:
        interruption.request()
        terraform_module.wait_for_all()
        _give_a_moment(running, ended)
        if running:
            warn(f"left as they are: {', '.join(sorted(running))}; the same command goes on from there")
        raise
    if waiting and errors:
        say(f"Not begun: {', '.join(task.name for task in waiting)}.")
    for error in errors[1:]:
        warn(str(error))
    if errors:
        raise errors[0]


def _give_a_moment(running: set[str], ended: queue.SimpleQueue[tuple[str, BaseException | None]]) -> None:
    """Let tasks that are asked to stop do so: one that follows a one-off task in ECS stops it."""
    deadline = time.monotonic() + MOMENT_SECONDS
    while running and time.monotonic() < deadline:
        with suppress(queue.Empty):
            running.discard(ended.get(timeout=0.1)[0])


def apply_layer(
    project: Project, aws: Aws, layer: Layer, step: Step, *, image: str | None = None, yes: bool
) -> tuple[Terraform, str]:
    """Plan a layer and apply it. Without `yes`, raises OpsError where the plan deletes something of worth."""
    terraform, plan = layers.plan(project, aws, layer, image=image, lock=True, step=step)
    if plan.empty:
        return terraform, "no changes"
    step.say(str(plan))
    deleted = [address for address in plan.deletes if not _by_design(address)]
    if deleted and not yes:
        raise OpsError(
            f"The plan of {terraform.label} deletes or replaces:\n" + "\n".join(f"  {item}" for item in deleted),
            next_step=f"Look at it with {project.make('plan', LAYER=layer.name)}; if that is meant, repeat with YES=1.",
        )
    layers.apply(aws, terraform, plan)
    return terraform, _in_the_past(plan)


def _in_the_past(plan: Plan) -> str:
    return str(plan).replace("to add", "added").replace("to change", "changed").replace("to remove", "removed")


def require_approved(place: str, approved: review.Changes, now: review.Changes) -> None:
    """Raises OpsError with the difference where a plan is not the one that was approved."""
    lines = review.differences(approved, now)
    if lines:
        raise OpsError(
            f"The plan of {place} is no longer the one that was approved:\n" + "\n".join(f"  {line}" for line in lines),
            next_step="Nothing of it was applied. Run all jobs again (or the workflow CD): what is there now is planned,"
            " shown and approved anew.",
        )


def _by_design(address: str) -> bool:
    return any(address.startswith(kind) or f".{kind}" in address for kind in _REPLACED_BY_DESIGN)


class Up:
    """One run of `up` or `deploy`."""

    def __init__(
        self,
        project: Project,
        aws: Aws,
        *,
        image: str | None = None,
        yes: bool = False,
        approved: review.Changes | None = None,
        follow: bool = True,
        migrations: bool = True,
    ) -> None:
        self.project = project
        self.aws = aws
        self.given = image
        self.yes = yes
        self.approved = approved
        self.planned: tuple[Terraform, Plan] | None = None
        self.follow = follow
        self.migrations = migrations
        self.image: images.Image | None = None
        self.definition: str | None = None
        self.url = ""
        self.started = time.monotonic()

    def elapsed(self) -> str:
        """Time since the beginning, in words."""
        return duration(time.monotonic() - self.started)

    # ------------------------------------------------------------------ steps

    def layer(self, layer: Layer) -> Callable[[Step], str]:
        """The step that applies a layer."""
        return lambda step: apply_layer(self.project, self.aws, layer, step, yes=self.yes)[1]

    def find_or_build_image(self, step: Step) -> str:
        """The step that makes sure that the image is in the build repository."""
        if self.given is not None:
            self.image = images.resolve(self.aws, self.project, self.given)
            return f"{self.image} is in the build repository: nothing to build"
        tag, words = images.current_tag(self.project.root)
        self.image = images.find(self.aws, self.project, tag)
        if self.image:
            return f"there already, build skipped: {words}"
        step.say(f"not built yet: {words}")
        self.image = images.build_and_push(self._registry(), self.project, tag, step)
        return f"pushed {self.image}"

    def _registry(self) -> Aws:
        """Who may push, where the images are. Raises AccountError where that is another account than the credentials'."""
        if self.project.home:
            return self.aws
        try:
            return connect(load())
        except AccountError as error:
            raise AccountError(
                f"The image has to be built, and pushed to account {self.project.registry['account_id']}. {error.message}",
                next_step="Promote one that was built: IMAGE=sha256:… or IMAGE=<commit>. Or name a profile for each account"
                " in project.yaml (aws_profile), and set no AWS_PROFILE.",
            ) from error

    def check_roles(self, step: Step) -> str:
        """The step in which the role manager proves that each role can do its job and no more."""
        report = roles.run(self.aws, self.project, "check", step, brief=True)
        return str(report.get("summary", "every role is as project.yaml says"))

    def require_secrets(self, _step: Step) -> str:
        """The step that stops before the service while a secret has no value."""
        return secret_values.require(self.aws, self.project)

    def migrate(self, step: Step) -> str:
        """The step that runs the image's migrations."""
        return migrate(self.project, self.aws, self._digest(), step)

    def apply_service(self, step: Step) -> str:
        """The step that gives the service its image and settings."""
        if self.planned is None:
            terraform, result = apply_layer(self.project, self.aws, SERVICE, step, image=self._digest(), yes=self.yes)
        else:
            terraform, plan = self.planned
            terraform.step = step
            result = "no changes" if plan.empty else _in_the_past(plan)
            if not plan.empty:
                layers.apply(self.aws, terraform, plan)
        outputs = terraform.output()
        self.url = str(outputs.get("url", ""))
        self.definition = outputs.get("task_definition")
        if changed := ecs.restart_for_secrets(self.aws, self.project):
            result += f"; restarted for {', '.join(changed)}"
        return result

    def plan_service(self, step: Step) -> str:
        """Plan the service before anything is done, and see that the plan may be applied: `apply_service` takes it.

        It may where it is what was approved, or changes only which image runs; a person is shown anything else.
        """
        terraform, plan = layers.plan(self.project, self.aws, SERVICE, image=self._digest(), lock=True, step=step)
        self.planned = terraform, plan
        if plan.empty:
            return "no changes"
        planned = terraform.planned(plan.path)
        changes = review.changes(planned)
        if self.approved is not None:
            if changes:
                require_approved(f"{SERVICE.name} of {self.project.place}", self.approved, changes)
            return f"{plan}, as approved"
        if review.only_image(planned):
            return f"{plan}: nothing but the image"
        say(terraform.show(plan.path))
        deleted = [address for address in plan.deletes if not _by_design(address)]
        question = f"This changes more of {terraform.label} than its image"
        if deleted:
            question += f", and deletes or replaces {', '.join(deleted)}"
        confirm(f"{question} ({plan}). Apply it?", yes=self.yes)
        return str(plan)

    def wait_healthy(self, step: Step) -> str:
        """The step that follows the rollout."""
        try:
            ecs.wait_healthy(self.aws, self.project, step, self.definition)
            ecs.wait_workers(self.aws, self.project, step)
        except DeploymentFailed:
            if changed := jobs.follow_service(self.aws, self.project):
                step.say(f"scheduled jobs run the service's image again: {', '.join(changed)}")
            raise
        releases.record(self.aws, self.project, self._digest())
        return "healthy"

    def note_release(self, _step: Step) -> str:
        """The step in place of waiting."""
        releases.record(self.aws, self.project, self._digest())
        return "not waited for: make status tells how it goes"

    def _digest(self) -> str:
        assert self.image is not None  # noqa: S101 - the image step came before
        return self.image.digest

    # ------------------------------------------------------------------ orders

    def _release(self, first_deployment: bool, after: Sequence[str]) -> list[Task]:
        """Migrations come before the new version; the very first time there is nothing yet to run them in."""
        migrating = self.project.database and self.migrations
        end = Task(
            "healthy",
            self.wait_healthy if self.follow else self.note_release,
            ("service", "migrations"),
        )
        if not migrating:
            return [Task("service", self.apply_service, after), end]
        if first_deployment:
            return [
                Task("service", self.apply_service, after),
                Task("migrations", self.migrate, ["service"]),
                end,
            ]
        return [
            Task("migrations", self.migrate, after),
            Task("service", self.apply_service, ["migrations"]),
            end,
        ]

    def up(self) -> None:
        """Everything, from the network to a healthy service."""
        if self.project.database and not self.project.temporary:
            # Before anything is made: it fails where nobody could trust the database.
            step = Step("package")
            step.done(layers.package(self.project))
        first = ecs.service(self.aws, self.project) is None
        tasks: list[Task] = []
        if not self.project.temporary:
            tasks.append(Task("network", self.layer(NETWORK)))
            if self.project.home:  # another account's is there already, or the image is not found
                tasks.append(Task("build-repository", self.layer(BUILD_REPOSITORY)))
            if self.project.database:
                tasks.append(Task("database", self.layer(DATABASE), ["network"]))
                tasks.append(Task("roles", self.check_roles, ["database"]))
        tasks.append(Task("image", self.find_or_build_image, ["build-repository"]))
        before = [task.name for task in tasks]
        if self.project.secrets:
            tasks.append(Task("secrets", self.require_secrets, before))
            before = ["secrets"]
        run_all([*tasks, *self._release(first, before)])

    def deploy(self) -> None:
        """An image that is in the build repository, to a service that runs."""
        ecs.existing_service(self.aws, self.project)
        secrets = [("secrets", self.require_secrets)] if self.project.secrets else []
        for name, run in (*secrets, ("image", self.find_or_build_image), ("plan", self.plan_service)):
            step = Step(name)
            step.done(run(step))
        run_all(self._release(False, []))


def migrate(project: Project, aws: Aws, digest: str, step: Step, timeout: float = MIGRATION_SECONDS) -> str:
    """Run an image's migrations as a one-off task under the migrator's role.

    Raises DeploymentFailed with the reason when they fail: the version that runs is left alone.
    """
    definition = ecs.task_definition(aws, project.names["migrate"])
    if definition is None:
        raise DeploymentFailed(
            f"There is no task definition {project.names['migrate']}.",
            next_step=f"Run {project.make('up')} first.",
        )
    current = ecs.container(definition)["image"].partition("@")[2]
    arn = definition["taskDefinitionArn"] if current == digest else ecs.with_image(aws, definition, digest)
    try:
        stopped = ecs.run_task(
            aws,
            project,
            arn,
            show=lambda text: step.say(f"| {text}"),
            timeout=timeout,
            started_by="ops-migrate",
        )
    except OpsError as error:
        raise DeploymentFailed(
            f"Migrations did not run: {error.message}",
            next_step=f"{error.next_step} The version that ran before still serves.".strip(),
        ) from error
    finally:
        if arn != definition["taskDefinitionArn"]:
            # Terraform registers its own; this one was for the run.
            aws.client("ecs").deregister_task_definition(taskDefinition=arn)
    if stopped.exit_code != 0:
        raise DeploymentFailed(
            f"Migrations failed: {stopped.reason}",
            next_step="The deployment stopped before anything else was changed; the version that ran before still"
            " serves. Correct the migration (its log is above) and deploy again.",
        )
    return "migrations are done"


def show_plans(project: Project, aws: Aws, image: str | None) -> bool:
    """Show what `up` would do, and change nothing; whether there is anything."""
    layers.require_bootstrap(aws, project)
    tag, words = images.current_tag(project.root)
    repository = not project.home or layers.is_applied(aws, project, BUILD_REPOSITORY)
    found = images.find(aws, project, tag) if repository and not image else None
    digest = image or (found.digest if found else ecs.running_digest(aws, project))
    changes = False
    for layer in layers.present(project)[1:]:
        if project.temporary and not layer.workspaces:
            continue
        say(f"--- {layer.name}")
        unplanned = _why_not_plannable(project, aws, layer, digest)
        if unplanned:
            say(f"{unplanned}\n")
            changes = True
            continue
        terraform, plan = layers.plan(project, aws, layer, image=digest if layer is SERVICE else None)
        say(terraform.show(plan.path) if not plan.empty else "No changes.\n")
        changes = changes or not plan.empty
        plan.path.unlink(missing_ok=True)
    say("--- image")
    if image:
        say(f"IMAGE={image} is given: nothing is built.")
    elif found:
        say(f"There already, nothing is built: {words}.")
    else:
        say(f"Would be built, pushed and deployed: {words}.")
        changes = True
    if project.database:
        say("--- then the role manager checks the database's roles, and the image's migrations run")
    return changes


def _why_not_plannable(project: Project, aws: Aws, layer: Layer, image: str | None) -> str:
    missing = [item.name for item in layers.needs(project, layer) if not layers.is_applied(aws, project, item)]
    if missing:
        return f"Would be created. It reads {' and '.join(missing)}, which must exist before it can be planned."
    if layer is SERVICE and not image:
        return "Would be created with the image below. IMAGE=… plans it in detail."
    return ""


def warn_about_incidents(project: Project, aws: Aws) -> None:
    """Say when alarms go nowhere yet."""
    if incident.wanted(project) and not incident.is_set(aws, project):
        warn(
            f"alarms of {project.environment} reach nobody yet: make incident-url ENV={project.environment}, then"
            f" make apply LAYER=service ENV={project.environment}"
        )
