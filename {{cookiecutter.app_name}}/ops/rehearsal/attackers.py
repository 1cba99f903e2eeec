"""Who tries what attempts.py lists, and the facts that its rows name."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from ops import project
from ops.project import Project
from ops.rehearsal import attempts
from ops.rehearsal.attempts import ATTEMPTS, Attempted
from ops.rehearsal.deployed import Platform
from ops.rehearsal.driver import TAG_LAG_SECONDS, FailedError, Rehearsal, manifest
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import MAIN, PULL_REQUEST, Job, Keys

if TYPE_CHECKING:
    from ops.rehearsal.steps import Jobs

STRANGER = "another-app"


def attack(run: Rehearsal, bar: Bar, jobs: Jobs) -> Iterator[Attempted]:
    """Make every attempt that this project has what it needs for."""
    platform = run.platform()
    with contextlib.ExitStack() as stack:
        facts = _about_own(run, platform, jobs) | _about_stranger(run, stack)
        here = run.project.accounts[run.project.account]["environments"]
        another = next((name for name in here if name != run.environment), None)
        if another is None:
            run.findings.limits.append("There is no other environment that could try to touch this one, or be touched.")
        else:
            other = project.load(another, root=run.copy)
            tags = {"application": run.project.app, "environment": another}
            flags = run.project.settings["feature_flags"] != "none"
            planted = attempts.planted(run.client, other.names, tags, flags=flags)
            facts |= stack.enter_context(planted) | _about_other(run, other)
            # That environment is there for long: IAM knows the tags of its key.
            if run.gave_up.wait(TAG_LAG_SECONDS):
                return
            run.findings.limits.append(
                "Until IAM knows the tags of a new key, which takes up to five minutes, another environment's apply role could "
                "give it its own: AWS has no condition that tells tagging a key from making one with tags."
            )
        keys = keys_of_all(run, bar, platform, jobs)
        for row in ATTEMPTS:
            if row.who in keys:
                made = attempts.attempt(row, keys[row.who], facts, run.project.region, run.endpoint)
                if made is not None:
                    yield made


def keys_of_all(run: Rehearsal, bar: Bar, platform: Platform, jobs: Jobs) -> dict[str, Keys | None]:
    """The keys of everybody who tries something; a job that asks for another's role has none."""
    found: dict[str, Keys | None] = {
        "apply": run.sign_in(bar, jobs.apply),
        "plan": run.sign_in(bar, jobs.plan),
        "build": run.sign_in(bar, jobs.build),
        "a job": None,
    }
    if "dev" in run.project.environments:
        found["preview"] = run.sign_in(bar, jobs.preview)
    if platform.service:
        definition = platform.task_definition(run.project.names["service"])
        tasks, cluster = "ecs-tasks.amazonaws.com", platform.service["clusterArn"]
        found["task"] = assumed(run, tasks, definition["taskRoleArn"], cluster)
        found["execution"] = assumed(run, tasks, definition["executionRoleArn"], cluster)
        for worker in list(platform.project.workers.values())[:1]:
            role = platform.task_definition(worker["name"])["taskRoleArn"]
            found["worker"] = assumed(run, tasks, role, cluster)
    with contextlib.suppress(ClientError):  # it is not there, or not yet
        function = platform.role_manager
        found["role manager"] = assumed(run, "lambda.amazonaws.com", function["Role"], function["FunctionArn"])
    return found


def assumed(run: Rehearsal, service: str, role: str, source: str) -> Keys:
    """Keys of a role as a service of AWS gets them for what it runs."""
    query = urllib.parse.urlencode({"service": service, "role": role, "source": source})
    secret = (run.directory.path / "secret").read_text(encoding="ascii")
    request = urllib.request.Request(f"{run.endpoint}/rehearsal/assume?{query}", headers={"X-Secret": secret})  # noqa: S310 - the simulator
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            given = json.load(answer)
    except OSError as error:
        raise FailedError(f"{service} gets no keys of {role}: {error}") from error
    return Keys(role.rpartition("/")[2], given["access_key"], given["secret_key"], given["token"])


def _about_own(run: Rehearsal, platform: Platform, jobs: Jobs) -> dict[str, Any]:
    """Facts about the account and, as far as they are there, the rehearsed environment's things."""
    own, iam = run.project, run.client("iam")
    partition = own.partition
    policies = {item["PolicyName"]: item["Arn"] for item in iam.list_policies(Scope="Local")["Policies"]}
    attached = iam.list_attached_role_policies(RoleName=own.names["apply_role"])["AttachedPolicies"]
    facts: dict[str, Any] = {
        "app": own.app,
        "environment": run.environment,
        "own": own.names,
        "roles": {key: _role(run, own, key) for key in ("apply_role", "plan_role", "build_role")},
        "own_roles": {},
        "role_path": own.names.get("role_path", "/"),
        "boundary": policies[own.names["permissions_boundary"]],
        "own_policy": attached[0]["PolicyArn"],
        "administrator_policy": f"arn:{partition}:iam::aws:policy/AdministratorAccess",
        "provider": iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"],
        "manifest": manifest(9),
        "everything": attempts.EVERYTHING,
        "trusts_all": attempts.TRUSTS_ALL,
        "for_all": attempts.FOR_ALL,
        "tokens": _tokens(run, jobs),
    }
    with contextlib.suppress(ClientError):
        name = own.names["incident_url_parameter"]
        facts["incident_url"] = run.client("ssm").get_parameter(Name=name)["Parameter"]["Name"]
    if own.settings["terraform_state_locks"] == "dynamodb":
        facts["locks_table"] = own.names["locks_table"]
    with contextlib.suppress(IndexError):
        facts["own_vpc"] = platform.vpc.vpc_id
    if platform.service:
        facts["own_roles"]["task_role"] = platform.task_definition(own.names["service"])["taskRoleArn"]
        facts["own_load_balancer"] = platform.load_balancer["LoadBalancerArn"]
    with contextlib.suppress(ClientError):
        facts |= {
            "own_database": own.names["database_cluster"],
            "own_secret": platform.cluster["MasterUserSecret"]["SecretArn"],
            "own_database_group": platform.cluster["VpcSecurityGroups"][0]["VpcSecurityGroupId"],
        }
        facts["own_roles"]["role_manager"] = platform.role_manager["Role"]
    return facts


def _about_other(run: Rehearsal, other: Project) -> dict[str, Any]:
    """Facts about another environment, which is not there but for what was planted."""
    names = other.names
    where = f"{other.region}:{other.account}"
    keys = ("apply_role", "task_role", "role_manager")
    return {
        "another": other.environment,
        "other": {key: name for key, name in names.items() if other.database or not key.startswith("role_manager")},
        "other_roles": {key: _role(run, other, key) for key in keys},
        "other_topic": f"arn:{other.partition}:sns:{where}:{names['alarms_topic']}",
        "other_load_balancer": f"arn:{other.partition}:elasticloadbalancing:{where}:"
        f"loadbalancer/app/{names['service']}/0123456789abcdef",
    } | ({"other_database": names["database_cluster"]} if other.database else {})


def _about_stranger(run: Rehearsal, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Facts about another application of the account; its state and a parameter are made for a while."""
    s3, ssm = run.client("s3"), run.client("ssm")
    bucket = f"{STRANGER}-tfstate-{run.project.account}-{run.project.region}"
    region = run.project.region
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, **place)
    stack.callback(s3.delete_bucket, Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="service/dev.tfstate", Body=b"{}")
    stack.callback(s3.delete_object, Bucket=bucket, Key="service/dev.tfstate")
    name = f"/{STRANGER}/dev/incident-url"
    ssm.put_parameter(Name=name, Value="x", Type="SecureString")
    stack.callback(ssm.delete_parameter, Name=name)
    return {"stranger": STRANGER, "stranger_bucket": bucket}


def _role(run: Rehearsal, of: Project, key: str) -> str:
    """The ARN of a role by the key of its name, also of one that is not there."""
    name = of.names[key]
    try:
        return str(run.client("iam").get_role(RoleName=name)["Role"]["Arn"])
    except ClientError:
        return f"arn:{of.partition}:iam::{of.account}:role{of.names.get('role_path', '/')}{name}"


def _tokens(run: Rehearsal, jobs: Jobs) -> Mapping[str, str]:
    """Tokens of jobs, by what they are called in attempts.py."""
    prefix = str(run.project.settings["github_oidc_subject_prefix"])
    repository = prefix.rpartition("/")[2]
    audience = f"sts.{run.project.dns_suffix}"
    gate, branch = run.environment, "refs/heads/feature"
    played = {
        "apply": (jobs.apply, prefix),
        "branch": (Job("apply", gate=gate, ref=branch), prefix),
        "pull request": (Job("apply", event="pull_request", ref=PULL_REQUEST), prefix),
        "main": (Job("apply", ref=MAIN), prefix),
        "push to a branch": (Job("build", ref=branch), prefix),
        "preview": (jobs.preview, prefix),
        "fork": (Job("apply", gate=gate), f"repo:thief/{repository}"),
    }
    return {name: job.token(run.directory.path, prefix, audience) for name, (job, prefix) in played.items()}
