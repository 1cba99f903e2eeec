"""The commands and their options. `make <command>` passes its variables on: ENV is --env, IMAGE is --image."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from botocore.exceptions import BotoCoreError, ClientError

from ops import (
    aws,
    bootstrap,
    doctor,
    ecs,
    flags,
    github,
    images,
    incident,
    interruption,
    jobs,
    layers,
    logs,
    queues,
    refusals,
    roles,
    secret_values,
    session,
    smoke,
    status,
    teardown,
    terraform,
    up,
)
from ops.errors import EXIT_CHANGES, EXIT_INTERRUPTED, OpsError, WrongUse
from ops.output import Step, confirm, confirm_name, say
from ops.project import DEFAULT_WORKSPACE, Project, load

F = TypeVar("F", bound=Callable[..., Any])

_EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong use: unknown environment, layer, image, or a setting that breaks a rule
  3    credentials, wrong account, or not bootstrapped
  4    the state is locked by somebody else
  5    plan --detailed-exitcode: the plan is not empty
  6    a deployment, migration or launch failed; the version before still serves
  130  interrupted; the same command goes on where it stopped
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
def cli() -> None:
    """Operator commands of this project. Run them at the top of the repository, also as `make <command>`."""


def env_option(function: F) -> F:
    """Add --env and --workspace."""
    function = click.option("--workspace", default=DEFAULT_WORKSPACE, help="Temporary environment beside ENV.")(
        function
    )
    return click.option("--env", "environment", help="Environment of project.yaml.")(function)


yes_option = click.option("--yes", is_flag=True, help="Answer yes to questions.")
github_option = click.option(
    "--github/--no-github", "with_github", envvar="OPS_GITHUB", default=True, help="Ask and tell GitHub too (default)."
)
image_option = click.option("--image", help="Digest (sha256:…), commit or tag in the build repository.")
layer_option = click.option("--layer", "layer_name", required=True, help="Layer of infra/.")


def _project(environment: str | None, workspace: str = DEFAULT_WORKSPACE) -> Project:
    """The project in an environment. Raises WrongUse where the environment is not said."""
    if environment:
        return load(environment, workspace)
    choices = load().environments
    if len(choices) == 1:
        return load(choices[0], workspace)
    raise WrongUse("Which environment?", next_step=f"ENV={'|'.join(choices)} (--env).")


def _in_layer(layer_name: str, environment: str | None, workspace: str) -> tuple[Project, terraform.Layer]:
    layer = terraform.layer_named(layer_name)
    if layer.per_environment:
        return _project(environment, workspace), layer
    if workspace != DEFAULT_WORKSPACE:
        raise WrongUse(
            f"The layer {layer.name} has no temporary environments.",
            next_step="Leave WORKSPACE away.",
        )
    if layer is terraform.ACCOUNT and environment:
        return load(account=load(environment).account), layer
    return load(), layer


# ---------------------------------------------------------------------- to a running service


@cli.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--offline", is_flag=True, help="Only what needs neither AWS nor GitHub.")
def doctor_command(as_json: bool, offline: bool) -> None:
    """Say now what would go wrong later, and how to mend it."""
    checks = doctor.run(offline=offline)
    say(json.dumps([check.data() for check in checks], indent=2) if as_json else doctor.text(checks))
    if any(check.status == doctor.PROBLEM for check in checks):
        raise click.exceptions.Exit(1)


@cli.command("bootstrap")
@click.option("--env", "environment", help="Only the account in which this environment lives.")
@yes_option
@click.option("--plan", "dry_run", is_flag=True, help="Show what would be made, and change nothing.")
@github_option
def bootstrap_command(environment: str | None, yes: bool, dry_run: bool, with_github: bool) -> None:
    """Make the account layer, with the bucket that holds state, in each account. Can be interrupted and run again.

    GitHub is asked how its tokens begin, so that the roles trust them, and told that its jobs may take the roles.
    """
    project = load()
    wanted = _accounts(project, environment)
    connections = aws.connect_all(wanted)
    if with_github and not dry_run:
        project = github.repository.ask_subject(project)
        wanted = _accounts(project, environment)
    for account in wanted:
        bootstrap.run(account, connections[account.account], yes=yes, dry_run=dry_run)
    if with_github and not dry_run:
        if len(wanted) == len(project.accounts):
            github.repository.tell_ready(project, ready=True)
        else:
            say(
                f"When every account is ready: gh variable set {github.repository.READY} --body true lets GitHub's jobs in."
            )


def _accounts(project: Project, environment: str | None) -> list[Project]:
    """The project as each account has it; with an environment only as the one in which it lives."""
    every = layers.of_each_account(project)
    if environment is None:
        return every
    lives = load(environment).account
    return [account for account in every if account.account == lives]


@cli.command("up")
@env_option
@image_option
@click.option("--plan", "dry_run", is_flag=True, help="Show everything, and change nothing.")
@click.option("--yes", is_flag=True, help="Also carry out a plan that deletes or replaces something.")
@click.option("--no-wait", is_flag=True, help="Do not follow the rollout to its end.")
@click.option("--no-migrate", is_flag=True, help="Leave the database's schema alone.")
def up_command(
    environment: str | None,
    workspace: str,
    image: str | None,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    no_migrate: bool,
) -> None:
    """Bring an environment up: network, build repository, image, database, roles, migrations, service, URL.

    What is there already is left alone, so the same command goes on where an earlier one stopped.
    """
    project = _project(environment, workspace)
    connection = aws.connect(project)
    say(f"{project.app} {project.place}: account {project.account}, region {project.region}")
    if dry_run:
        up.show_plans(project, connection, image)
        return
    layers.require_bootstrap(connection, project)
    if project.temporary:
        _require_base(project, connection)
    run = up.Up(project, connection, image=image, yes=yes, follow=not no_wait, migrations=not no_migrate)
    run.up()
    up.warn_about_incidents(project, connection)
    say(f"URL: {run.url} ({run.elapsed()})")


def _require_base(project: Project, connection: aws.Aws) -> None:
    """A temporary environment stands on its environment's network, repository and database."""
    layers.require(connection, project, terraform.SERVICE)


@cli.command("plan")
@env_option
@layer_option
@image_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Save the plan here, and its text in the same place with .txt.",
)
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help=f"Exit with {EXIT_CHANGES} when the plan is not empty.",
)
@click.option("--lock/--no-lock", default=False, help="Take the state's lock, or only look (default).")
def plan_command(
    environment: str | None,
    workspace: str,
    layer_name: str,
    image: str | None,
    out: Path | None,
    detailed_exitcode: bool,
    lock: bool,
) -> None:
    """Show what an apply of a layer would change. Without IMAGE, the service keeps the image it runs."""
    project, layer = _in_layer(layer_name, environment, workspace)
    made, plan = layers.plan(project, aws.connect(project), layer, image=image, out=out, lock=lock)
    text = made.show(plan.path)
    say(text)
    if out:
        Path(f"{out}.txt").write_text(click.unstyle(text), encoding="utf-8")
    say(f"{made.label}: {plan}")
    if not out:
        plan.path.unlink(missing_ok=True)
    if detailed_exitcode and not plan.empty:
        raise click.exceptions.Exit(EXIT_CHANGES)


@cli.command("apply")
@env_option
@layer_option
@image_option
@click.option("--plan-file", type=click.Path(path_type=Path), help="Apply this plan, saved by plan --out.")
@yes_option
def apply_command(
    environment: str | None,
    workspace: str,
    layer_name: str,
    image: str | None,
    plan_file: Path | None,
    yes: bool,
) -> None:
    """Plan a layer, show it, ask, and apply what was shown; or apply a plan that was saved and reviewed."""
    project, layer = _in_layer(layer_name, environment, workspace)
    connection = aws.connect(project)
    step = Step(layer.name)
    if plan_file:
        layers.apply_saved(project, connection, layer, plan_file, step=step)
        step.done("applied")
        return
    made, plan = layers.plan(project, connection, layer, image=image, lock=True, step=step)
    if plan.empty:
        step.done("no changes")
        return
    say(made.show(plan.path))
    confirm(f"Apply this to {made.label} ({plan})?", yes=yes)
    layers.apply(connection, made, plan)
    step.done("applied")


@cli.command("down")
@env_option
@click.option("--confirm", "given", help="The environment's name, instead of typing it.")
def down_command(environment: str | None, workspace: str, given: str | None) -> None:
    """Delete an environment. A protected one is refused."""
    project = _project(environment, workspace)
    connection = aws.connect(project)
    layers.require_bootstrap(connection, project)
    teardown.refuse_protected(project, connection)
    say("This deletes, with all data:\n  " + "\n  ".join(teardown.tell(project, connection)))
    name = project.workspace if project.temporary else str(project.environment)
    confirm_name(f"Account {project.account}, region {project.region}.", name, given=given)
    teardown.down(project, connection)
    say(f"{project.place} is gone.")


@cli.command("destroy")
@click.option("--confirm", "given", help="The application's name, instead of typing it.")
@github_option
def destroy_command(given: str | None, with_github: bool) -> None:
    """Delete every environment, the build repository, and the account layer with all state."""
    project = load()
    accounts = layers.of_each_account(project)
    connections = aws.connect_all(accounts)
    teardown.refuse_any_protected(project, connections)
    say("This deletes, with all data and all Terraform state:")
    for environment in map(load, project.environments):
        say("  " + "\n  ".join(teardown.tell(environment, connections[environment.account])))
    say("  the build repository with its images, GitHub's roles, the state bucket and its key")
    where = "; ".join(f"Account {account.account}, region {account.region}" for account in accounts)
    confirm_name(f"{where}.", project.app, given=given)
    if with_github:
        github.repository.tell_ready(project, ready=False)
    teardown.destroy(accounts, connections)
    say(f"Everything of {project.app} is gone.")


# ---------------------------------------------------------------------- day to day


@cli.command("deploy")
@env_option
@click.option("--image", required=True, help="Digest, commit or tag; an older one rolls back.")
@click.option("--yes", is_flag=True, help="Also apply what the plan changes beside the image.")
@click.option("--no-wait", is_flag=True, help="Do not follow the rollout to its end.")
@click.option("--no-migrate", is_flag=True, help="Leave the database's schema alone.")
def deploy_command(
    environment: str | None, workspace: str, image: str, yes: bool, no_wait: bool, no_migrate: bool
) -> None:
    """Deploy an image: migrations, service, until healthy. When something fails the version before serves on.

    A plan of the service that changes more than its image is shown, and applied when somebody says so.
    """
    project = _project(environment, workspace)
    connection = aws.connect(project)
    run = up.Up(project, connection, image=image, yes=yes, follow=not no_wait, migrations=not no_migrate)
    run.deploy()
    say(f"URL: {run.url} ({run.elapsed()})")


@cli.command("migrate")
@env_option
@image_option
def migrate_command(environment: str | None, workspace: str, image: str | None) -> None:
    """Run the migrations of the image that is deployed, or of another."""
    project = _project(environment, workspace)
    if not project.database:
        raise WrongUse("This project has no database, so there are no migrations.")
    connection = aws.connect(project)
    ecs.existing_service(connection, project)
    digest = images.resolve(connection, project, image).digest if image else ecs.running_digest(connection, project)
    step = Step("migrations")
    step.done(up.migrate(project, connection, str(digest), step))


@cli.command("roles")
@env_option
@click.argument("action", type=click.Choice(roles.ACTIONS))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def roles_command(environment: str | None, workspace: str, action: str, as_json: bool) -> None:
    """Plan, apply or check the database's roles."""
    project = _project(environment, workspace)
    step = Step("roles")
    shared = layers.shared(project, terraform.DATABASE)
    roles.run(aws.connect(project), shared, action, step, as_json=as_json)
    if not as_json:
        step.done()


@cli.command("flag")
@env_option
@click.option("--name", help="Flag to change; without it all are shown.")
@click.option("--enabled", type=click.BOOL, help="true or false.")
@click.option(
    "--percent",
    type=click.FloatRange(0, 100),
    help="Part of the users who have it while it is enabled.",
)
@click.option("--immediate", is_flag=True, help="All tasks at once, without watching alarms.")
def flag_command(
    environment: str | None,
    workspace: str,
    name: str | None,
    enabled: bool | None,
    percent: float | None,
    immediate: bool,
) -> None:
    """Show the feature flags, or change one and follow its launch to the end or its rollback."""
    project = _project(environment, workspace)
    connection = aws.connect(project)
    found = flags.find(connection, project, immediate=immediate)
    document = flags.read(connection, found)
    if not name:
        if enabled is not None or percent is not None:
            raise WrongUse("Which flag?", next_step="NAME=… (--name).")
        say(flags.text(document))
        return
    if enabled is None and percent is None:
        raise WrongUse(f"What should become of {name}?", next_step="ENABLED=true|false, PERCENT=0..100.")
    changed = flags.change(document, name, enabled, percent)
    if changed == document:
        say(f"{name} is so already.")
        return
    words = f"{name} {'on' if changed['values'][name]['enabled'] else 'off'}"
    words += f", {percent:g} %" if percent is not None else ""
    step = Step("flag")
    flags.deploy(connection, found, changed, words, step)
    step.done(words)


@cli.command("logs")
@env_option
@click.option("--since", default="10m", show_default=True, help="Such as 10m, 2h, 1d, or 2026-01-31T08:00.")
@click.option("--follow", is_flag=True, help="Go on as new lines come.")
@click.option(
    "--filter",
    "pattern",
    default="",
    help='CloudWatch filter pattern, such as ERROR or { $.level = "error" }.',
)
def logs_command(environment: str | None, workspace: str, since: str, follow: bool, pattern: str) -> None:
    """Show the service's log."""
    project = _project(environment, workspace)
    read = logs.follow if follow else logs.search
    start = logs.since(since)
    for event in read(aws.connect(project), project.names["service_log_group"], start, pattern):
        say(logs.line(event))


@cli.command("exec")
@env_option
@click.option("--task", help="Task; without it the newest one.")
@click.option("--command", "command", default="/bin/sh", show_default=True, help="What to run in it.")
def exec_command(environment: str | None, workspace: str, task: str | None, command: str) -> None:
    """Open a shell in a running task."""
    project = _project(environment, workspace)
    raise click.exceptions.Exit(session.open_shell(aws.connect(project), project, command, task))


@cli.command("run")
@env_option
@click.option(
    "--cmd",
    "command",
    required=True,
    help="Command, as in a shell: 'python -m app.something --fast'.",
)
@click.option(
    "--timeout",
    default=60,
    show_default=True,
    type=click.IntRange(1, 24 * 60),
    help="Minutes until it is stopped.",
)
def run_command(environment: str | None, workspace: str, command: str, timeout: int) -> None:
    """Run a command in a task of its own, show its log, and exit with its code."""
    project = _project(environment, workspace)
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WrongUse(f"CMD: {error}.") from error
    if not words:
        raise WrongUse("CMD is empty.")
    connection = aws.connect(project)
    definition = ecs.existing_service(connection, project)["taskDefinition"]
    stopped = ecs.run_task(
        connection,
        project,
        definition,
        show=say,
        command=words,
        timeout=timeout * 60,
        started_by="ops-run",
    )
    if stopped.exit_code is None:
        raise OpsError(f"The task did not run: {stopped.reason}")
    if stopped.exit_code:
        click.echo(f"task {stopped.task}: {stopped.reason}", err=True)
    raise click.exceptions.Exit(stopped.exit_code)


@cli.command("status")
@env_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--drift/--no-drift", default=True, help="Plan each layer to see drift (default), or not.")
def status_command(environment: str | None, workspace: str, as_json: bool, drift: bool) -> None:
    """Show what is deployed: image, tasks, alarms, drift, last deployments."""
    project = _project(environment, workspace)
    connection = aws.connect(project)
    layers.require_bootstrap(connection, project)
    found = status.read(connection, project, drift=drift)
    say(json.dumps(found.data(), indent=2) if as_json else status.text(found))


@cli.command("smoke")
@env_option
def smoke_command(environment: str | None, workspace: str) -> None:
    """See from outside whether the service answers: DNS, load balancer, certificate."""
    project = _project(environment, workspace)
    smoke.check(aws.connect(project), project, Step("from outside"))


@cli.command("image")
@env_option
def image_command(environment: str | None, workspace: str) -> None:
    """Print the digest of the image that the service runs."""
    project = _project(environment, workspace)
    connection = aws.connect(project)
    ecs.existing_service(connection, project)
    say(str(ecs.running_digest(connection, project)))


@cli.command("incident-url")
@click.option("--env", "environment", help="Environment of project.yaml.")
def incident_url_command(environment: str | None) -> None:
    """Store the incident service's URL as a secret. It is typed unseen, or read from standard input."""
    project = _project(environment)
    connection = aws.connect(project)
    incident.store(connection, project, incident.read(project))
    say(f"Stored in {project.names['incident_url_parameter']}.")
    say(f"Next: make apply LAYER=service ENV={project.environment} subscribes it to the alarms.")


@cli.command("secret")
@env_option
@click.option("--name", required=True, help="Name in service.secrets of project.yaml.")
@click.option("--generate", is_flag=True, help="Make a random value instead of asking for one.")
def secret_command(environment: str | None, workspace: str, name: str, generate: bool) -> None:
    """Store the value of a secret. It is typed unseen, or read from standard input, and never shown."""
    project = _project(environment, workspace)
    secret_values.require_declared(project, name)
    connection = aws.connect(project)
    value = secret_values.generated() if generate else secret_values.read(project, name)
    secret_values.store(connection, project, name, value)
    say(f"Stored in {secret_values.parameter(project, name)}.")
    say(f"Next: {project.make('deploy', IMAGE='…')} gives it to the service.")


@cli.command("secrets")
@env_option
def secrets_command(environment: str | None, workspace: str) -> None:
    """List the secrets: whether each has a value, since when and by whom; never the value."""
    project = _project(environment, workspace)
    found = secret_values.stored(aws.connect(project), project)
    for line in secret_values.lines(project, found):
        say(line)
    if not project.secrets:
        say("project.yaml has no secrets (service.secrets).")


@cli.command("job")
@env_option
@click.option("--name", required=True, help="Name in jobs of project.yaml.")
@click.option("--overlap", is_flag=True, help="Also beside another run of it.")
def job_command(environment: str | None, workspace: str, name: str, overlap: bool) -> None:
    """Run a scheduled job now, show its log, and exit with its code."""
    project = _project(environment, workspace)
    jobs.require_declared(project, name)
    stopped = jobs.run(aws.connect(project), project, name, overlap=overlap, show=say)
    if stopped.exit_code is None:
        raise OpsError(f"The job did not run: {stopped.reason}")
    if stopped.exit_code:
        click.echo(f"task {stopped.task}: {stopped.reason}", err=True)
    raise click.exceptions.Exit(stopped.exit_code)


@cli.command("jobs")
@env_option
@click.option("--forget", is_flag=True, help="Forget what could not be started, which ends its alarm.")
def jobs_command(environment: str | None, workspace: str, forget: bool) -> None:
    """List the scheduled jobs with their next run and their last ones."""
    project = _project(environment, workspace)
    connection = aws.connect(project)
    if forget:
        jobs.forget(connection, project)
    say(jobs.text(connection, project))


@cli.command("queue")
@env_option
@click.option("--name", help="Worker of project.yaml; needed where there are several.")
@click.option(
    "--action",
    type=click.Choice(queues.ACTIONS),
    default="look",
    show_default=True,
    help="Look, or give dead letters back, or delete them.",
)
@yes_option
def queue_command(environment: str | None, workspace: str, name: str | None, action: str, yes: bool) -> None:
    """Look at a worker's queue, give its dead letters back to it (redrive), or delete them (purge)."""
    project = _project(environment, workspace)
    worker = queues.chosen(project, name)
    connection = aws.connect(project)
    if action == "look":
        say("\n".join(queues.look(connection, project, worker)))
    elif action == "redrive":
        step = Step("redrive")
        step.done(queues.redrive(connection, project, worker, step))
    else:
        number = queues.dead_letters(connection, project, worker)
        confirm(f"Delete {number} dead letters of {worker} in {project.place} for good?", yes=yes)
        queues.purge(connection, project, worker)
        say(f"The dead letters of {worker} are deleted, within a minute.")


@cli.command("unlock")
@env_option
@layer_option
@click.option("--lock", "identifier", required=True, help="The lock's ID, from the message that named it.")
@yes_option
def unlock_command(environment: str | None, workspace: str, layer_name: str, identifier: str, yes: bool) -> None:
    """Remove a state lock that a run left behind when it died."""
    project, layer = _in_layer(layer_name, environment, workspace)
    connection = aws.connect(project)
    layers.require_bootstrap(connection, project)
    made = terraform.Terraform(project, layer)
    confirm(f"Is the run that holds lock {identifier} of {made.label} really over?", yes=yes)
    made.init()
    made.unlock(identifier)
    say(f"{made.label} is unlocked.")


@cli.command("lock-providers")
def lock_providers_command() -> None:
    """Pin the versions of Terraform's providers in every layer. Commit what is written: it is used from then on."""
    base = load()
    project = load(base.environments[0])
    for layer in layers.present(base):
        terraform.Terraform(project, layer).lock_providers()
        say(f"infra/{layer.name}/.terraform.lock.hcl")


for command in github.COMMANDS:
    cli.add_command(command)


# ---------------------------------------------------------------------- errors


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors become messages and exit codes."""
    signal.signal(signal.SIGTERM, _terminated)
    interruption.forget()
    try:
        code = cli.main(args=arguments, prog_name="ops", standalone_mode=False)
    except click.UsageError as error:
        code = _show(_in_words(error))
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nInterrupted. The same command goes on where it stopped.", err=True)
        code = EXIT_INTERRUPTED
    except OpsError as error:
        code = _show(error)
    except (BotoCoreError, ClientError) as error:
        code = _show(aws.explain(error))
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


# What make calls an option that has another name there.
_VARIABLES = {"--command": "CMD", "--out": "PLAN_FILE", "--timeout": "MINUTES"}


def _in_words(error: click.UsageError) -> WrongUse:
    """What click refuses, with the variable by which make passes the option on, and what can be typed."""
    command = error.ctx.command.name if error.ctx else None
    if command is None or command not in cli.commands:
        return WrongUse(error.format_message(), next_step="`make help` lists every target.")
    parameter = getattr(error, "param", None)
    if not isinstance(parameter, click.Parameter):
        return WrongUse(error.format_message(), next_step=f"`make {command} HELP=1` shows its options.")
    option = parameter.opts[0]
    variable = _VARIABLES.get(option, option.removeprefix("--").replace("-", "_").upper())
    said = "missing" if isinstance(error, click.MissingParameter) else error.message.rstrip(".")
    return WrongUse(
        f"{variable}: {said}.", next_step=f"`make {command} … {variable}=…`; `make {command} HELP=1` shows its options."
    )


def _show(error: OpsError) -> int:
    click.echo(click.style("Error: ", fg="red", bold=True) + error.message, err=True)
    if error.next_step:
        click.echo(click.style("Next: ", bold=True) + error.next_step, err=True)
    for refused in refusals.explain(error.message, Path.cwd()):
        click.echo(click.style("IAM: ", bold=True) + refused, err=True)
    return error.exit_code


def _terminated(_signal: int, _frame: object) -> None:
    terraform.interrupt()
    raise KeyboardInterrupt
