"""Scheduled jobs: one that succeeds and one that fails begin by themselves, the failure is told, nobody else begins them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ops import jobs, waiting
from ops.rehearsal import attackers
from ops.rehearsal.attempts import Attempt, attempt
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.edits import FAILS_WITH, JOB_FAILS, JOB_WORKS
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import Keys

if TYPE_CHECKING:
    from ops.rehearsal.steps import Jobs

# Their four minutes are 24 seconds here.
WAIT_SECONDS = 90


def declared(run: Rehearsal) -> bool:
    """Whether project.yaml has the rehearsal's jobs: not where a team has jobs of its own."""
    return {JOB_WORKS, JOB_FAILS} <= set(run.platform().project.jobs)


def prove(run: Rehearsal, played: Jobs, planned: threading.Event) -> None:
    """See what becomes of both, run them by hand, and let others try; nothing where they are not declared.

    What changes a schedule waits until the service was `planned` again.
    """
    if not declared(run):
        return
    with run.progress.step("prove the scheduled jobs") as bar:
        keys = run.sign_in(bar, played.apply)
        _scheduled(run, bar, keys)
        _told(run)
        _by_hand(run, bar, keys)
        tried = _refused(run, bar, played)
        while not (planned.wait(0.3) or run.gave_up.is_set()):
            pass
        _dead_letter(run, bar, keys)
        bar.detail = f"both ran by schedule and by hand, the failure was told, {tried} attempts were refused"


def _ended(run: Rehearsal, name: str) -> list[dict[str, Any]]:
    """The ends of a job's tasks, as ECS said them."""
    revision = f":task-definition/{jobs.family(run.platform().project, name)}:"
    return [note for note in run.notes("tasks") if revision in note["definition"]]


def _wait(run: Rehearsal, what: str, condition: Callable[[], object]) -> None:
    if not waiting.until(condition, WAIT_SECONDS, every=0.3):
        said = "\n".join(json.dumps(note) for note in run.notes("schedules")[-5:])
        raise FailedError(f"After {WAIT_SECONDS} s {what}.\n{said or 'No schedule has begun anything.'}")


def _scheduled(run: Rehearsal, bar: Bar, keys: Keys) -> None:
    """Both begin by their schedules, and `make jobs` says how they ended."""
    for name, code in ((JOB_WORKS, 0), (JOB_FAILS, FAILS_WITH)):
        _wait(run, f"{name} had not run by its schedule", partial(_ended, run, name))
        if any(note["exit_code"] != code for note in _ended(run, name)):
            raise FailedError(f"{name} ended so: {_ended(run, name)[-1]}")
    listed = run.make(bar, "jobs", f"ENV={run.environment}", keys=keys)
    for wanted in ("succeeded", f"failed (exit code {FAILS_WITH})"):
        if wanted not in listed:
            raise FailedError(f"make jobs does not say that a run {wanted}:\n{listed}")


def _told(run: Rehearsal) -> None:
    """The failure is an alarm, and arrives where alarms go."""
    project = run.platform().project
    fails, works = (jobs.family(project, name) for name in (JOB_FAILS, JOB_WORKS))
    if project.settings["incident_management"] != "none":
        _wait(run, f"nobody was told of {fails}", lambda: _told_of(run, fails))
    states = {
        alarm["AlarmName"]: alarm["StateValue"]
        for alarm in run.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{project.names['job']}-")[
            "MetricAlarms"
        ]
    }
    if states.get(fails) != "ALARM" or states.get(works) == "ALARM":
        raise FailedError(f"The alarms of the jobs are {states}.")


def _told_of(run: Rehearsal, alarm: str) -> bool:
    return any(alarm in json.dumps(message.body) for message in run.mailbox.messages())


def _by_hand(run: Rehearsal, bar: Bar, keys: Keys) -> None:
    """`make job` runs one now, shows its log, and its exit code is the job's."""
    said = run.make(bar, "job", f"ENV={run.environment}", f"NAME={JOB_WORKS}", "OVERLAP=1", keys=keys)
    if f"at work on {JOB_WORKS}" not in said:
        raise FailedError(f"make job does not show the job's log:\n{said}")
    try:
        run.make(bar, "job", f"ENV={run.environment}", f"NAME={JOB_FAILS}", "OVERLAP=1", keys=keys)
    except FailedError as error:
        if f"exit code {FAILS_WITH}" not in str(error):
            raise
    else:
        raise FailedError(f"make job NAME={JOB_FAILS} ended as if nothing had happened.")


def _refused(run: Rehearsal, bar: Bar, played: Jobs) -> int:
    """Nobody but the schedules and the apply role begins a job, and the schedules begin nothing else."""
    platform = run.platform()
    names, definition = platform.project.names, jobs.family(platform.project, JOB_WORKS)
    schedule = run.client("scheduler").get_schedule(GroupName=names["jobs"], Name=definition)
    group = run.client("scheduler").get_schedule_group(Name=names["jobs"])["Arn"]
    everybody = attackers.keys_of_all(run, bar, platform, played)
    role = schedule["Target"]["RoleArn"]
    everybody["jobs"] = attackers.assumed(run, "scheduler.amazonaws.com", role, group)
    task = {"cluster": names["service"], "launchType": "FARGATE"}
    execution = platform.task_definition(names["service"])["executionRoleArn"]
    rows = [
        Attempt(who, "run a scheduled job", "ecs", "run_task", task | {"taskDefinition": definition})
        for who in everybody
        if who not in ("apply", "jobs")
    ]
    rows += [
        Attempt("jobs", "run the service's tasks", "ecs", "run_task", task | {"taskDefinition": names["service"]}),
        Attempt(
            "jobs", "run a job as its own role", "ecs", "run_task",
            task | {"taskDefinition": definition, "overrides": {"taskRoleArn": role}},
        ),
        Attempt("jobs", "read a secret", "ssm", "get_parameter", {"Name": names["image_parameter"]}),
        Attempt("execution", "begin a job every minute", "scheduler", "create_schedule", {
            "Name": "thief", "GroupName": names["jobs"], "ScheduleExpression": "rate(1 minute)",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": schedule["Target"]["Arn"], "RoleArn": execution, "Input": "{{}}"},
        }),
    ]  # fmt: skip
    made = 0
    for row in rows:
        with_keys = everybody[row.who]
        found = attempt(row, with_keys, {}, run.project.region, run.endpoint) if with_keys is not None else None
        if found is not None:
            made += 1
            run.findings.attempts.append(found)
            if not found.refused:
                raise FailedError(f"{found.who} may {found.what}: {found.because}")
    return made


def _dead_letter(run: Rehearsal, bar: Bar, keys: Keys) -> None:
    """What cannot be started is kept and said, until somebody forgets it."""
    project = run.platform().project
    scheduler = run.client("scheduler")
    found = scheduler.get_schedule(GroupName=project.names["jobs"], Name=jobs.family(project, JOB_FAILS))
    target = json.loads(found["Target"]["Input"])
    target["TaskDefinition"] = f"{target['TaskDefinition'].rpartition(':')[0]}:999"
    kept = (
        "Name",
        "GroupName",
        "Description",
        "ScheduleExpression",
        "ScheduleExpressionTimezone",
        "FlexibleTimeWindow",
    )
    changed = {key: found[key] for key in (*kept, "State")}
    soon = changed | {"ScheduleExpression": "rate(1 minute)"}
    scheduler.update_schedule(**soon, Target=found["Target"] | {"Input": json.dumps(target)})
    _wait(
        run, "no run was kept that could not be started",
        lambda: any(note.get("dead_letter") == "sent" for note in run.notes("schedules")),
    )  # fmt: skip
    scheduler.update_schedule(**changed | {"State": "DISABLED"}, Target=found["Target"])
    listed = run.make(bar, "jobs", f"ENV={run.environment}", keys=keys)
    if f"could not be started: {JOB_FAILS}:" not in listed:
        raise FailedError(f"make jobs does not say what could not be started:\n{listed}")
    forgotten = run.make(bar, "jobs", f"ENV={run.environment}", "FORGET=1", keys=keys)
    if "could not be started" in forgotten:
        raise FailedError(f"make jobs FORGET=1 forgets nothing:\n{forgotten}")
