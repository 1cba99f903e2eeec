"""Everything that would go wrong later, said now, with the way to mend it."""

from __future__ import annotations

import functools
import json
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from ops import aws as aws_module
from ops import bootstrap, github, incident, layers, processes
from ops.aws import Aws, code
from ops.errors import OpsError
from ops.project import Project, load
from ops.terraform import ACCOUNT, NETWORK, SERVICE, Terraform

OK, WARNING, PROBLEM = "ok", "warning", "problem"

# Native S3 locks: https://developer.hashicorp.com/terraform/language/backend/s3
TERRAFORM = (1, 11)
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
LOAD_BALANCER_NAME = 32
_PLACEHOLDERS = {
    "aws_account_id": "123456789012",
    "owner": "platform-team",
    "description": "A service on AWS",
}
_PLACEHOLDER_OWNER = "my-org/"

# Quotas by service and code: https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
_VPCS = ("vpc", "L-F678F1CE")
_ADDRESSES = ("ec2", "L-0263D0A3")
_FARGATE = ("fargate", "L-3032A538")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `fix` is empty when it is ok."""

    name: str
    status: str
    detail: str
    fix: str = ""

    def data(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


Finding = tuple[str, str] | tuple[str, str, str]
"""Status, detail and, where it is not ok, the way to mend it: what a check of the account returns."""


@dataclass(frozen=True)
class Account:
    """An account that is looked at: what its environments share, each of them, and AWS."""

    base: Project
    projects: list[Project]
    aws: Aws


def run(*, offline: bool = False) -> list[Check]:
    """All checks. Those that need what is missing are left out, and the missing is a problem."""
    checks = [_python(), _terraform(), _docker(), *_optional_tools()]
    if any(check.name == "Terraform" and check.status == PROBLEM for check in checks):
        return checks  # project.yaml is read with it
    try:
        base = load()
        projects = [load(name) for name in base.environments]
    except OpsError as error:
        checks.append(Check("project.yaml", PROBLEM, error.message, error.next_step))
        return checks
    checks.append(Check("project.yaml", OK, f"{base.app}: {', '.join(base.environments)}"))
    checks += [*_placeholders(base), *map(_name_budget, projects)]
    if offline:
        return checks
    checks.append(_github(base))
    for account in layers.of_each_account(base):
        here = [project for project in projects if project.account == account.account]
        # Which account a row is about, where there are several.
        suffix = f" {account.account}" if len(base.accounts) > 1 else ""
        try:
            connection = aws_module.connect(account)
            who = aws_module.identity(connection)
        except OpsError as error:
            checks.append(Check(f"credentials{suffix}", PROBLEM, error.message, error.next_step))
            continue
        lives = f"; here live {', '.join(project.place for project in here) or 'the images'}" if suffix else ""
        checks.append(Check(f"credentials{suffix}", OK, f"account {who.account}, {who.arn}{lives}"))
        checks += _in_the_account(Account(account, here, connection), suffix)
    return checks


# ---------------------------------------------------------------------- this machine


def _python() -> Check:
    return Check("Python", OK, platform.python_version())


def _version(command: list[str]) -> str | None:
    """Output of a version command; None where it is not installed or does not run."""
    process = processes.run(command, seconds=20)
    return process.out.strip() if process.ok else None


def _terraform() -> Check:
    fix = "Install Terraform 1.11 or newer: https://developer.hashicorp.com/terraform/install"
    output = _version([processes.TERRAFORM, "version", "-json"])
    if output is None:
        return Check("Terraform", PROBLEM, "not installed", fix)
    found = str(json.loads(output)["terraform_version"])
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    return Check("Terraform", OK, found) if numbers >= TERRAFORM else Check("Terraform", PROBLEM, found, fix)


def _docker() -> Check:
    fix = "Needed to build the image here: start or install Docker. Or give images that GitHub built: IMAGE=…"
    if shutil.which("docker") is None:
        return Check("Docker", WARNING, "not installed", fix)
    found = _version(["docker", "version", "--format", "{{.Server.Version}}"])
    return Check("Docker", OK, found) if found else Check("Docker", WARNING, "installed, but it does not run", fix)


def _optional_tools() -> Iterator[Check]:
    for name, purpose, fix in (
        ("git", "images are tagged by commit", "Install git."),
        ("gh", "make github-… needs it", "Install it if you use them: https://cli.github.com"),
        (
            "session-manager-plugin",
            "make exec needs it",
            "Install it if you use that: see make exec.",
        ),
    ):
        if shutil.which(name):
            output = _version([name, "--version"]) or ""
            yield Check(name, OK, output.splitlines()[0] if output else "installed")
        else:
            yield Check(name, WARNING, f"not installed; {purpose}", fix)


# ---------------------------------------------------------------------- project.yaml


def _placeholders(project: Project) -> Iterator[Check]:
    found = [name for name, value in _PLACEHOLDERS.items() if project.settings.get(name) == value]
    if str(project.settings["github_repository"]).startswith(_PLACEHOLDER_OWNER):
        found.append("github_repository")
    if found:
        yield Check(
            "placeholders",
            WARNING,
            f"still as the template has them: {', '.join(found)}",
            "Edit project.yaml.",
        )
    else:
        yield Check("placeholders", OK, "none is left")


def _name_budget(project: Project) -> Check:
    """infra/config refuses a name that is too long; here is how much is left for temporary environments."""
    left = LOAD_BALANCER_NAME - len(project.names["service"]) - 1
    name = f"names {project.environment}"
    if left < 4:  # the shortest name of a preview: pr-1
        return Check(
            name,
            WARNING,
            f"{project.names['service']} leaves no room for temporary environments",
            "Choose shorter names if you want them.",
        )
    return Check(name, OK, f"{project.names['service']}; WORKSPACE may have {left} characters")


# ---------------------------------------------------------------------- GitHub


def _github(project: Project) -> Check:
    repository = str(project.settings["github_repository"])
    if shutil.which("gh") is None:
        return Check("GitHub", WARNING, "not checked: gh is not installed", "https://cli.github.com")
    try:
        actual = github.repository.subject_prefix(repository)
        branch = github.repository.default_branch(repository)
    except OpsError as error:
        return Check("GitHub", WARNING, error.message, error.next_step)
    stated = str(project.settings["github_oidc_subject_prefix"])
    if actual != stated:
        return Check(
            "GitHub",
            PROBLEM,
            f"tokens of {repository} begin with {actual}, project.yaml says {stated}: no job could sign in",
            "make github-subject",
        )
    if branch != github.delivery.MAIN:
        return Check(
            "GitHub",
            WARNING,
            f"the default branch of {repository} is {branch}; CD and the roles know {github.delivery.MAIN} alone",
            f"gh api repos/{repository}/branches/{branch}/rename --field new_name={github.delivery.MAIN}",
        )
    return Check("GitHub", OK, f"{repository}, subjects begin with {actual}")


# ---------------------------------------------------------------------- AWS


def _region(account: Account) -> Finding:
    client = account.aws.client("ec2")
    found = client.describe_regions(RegionNames=[account.base.region], AllRegions=True)["Regions"]
    if not found or found[0].get("OptInStatus") == "not-opted-in":
        return (
            PROBLEM,
            f"{account.base.region} is not enabled",
            "Enable it in the account's settings, or choose another.",
        )
    zones = client.describe_availability_zones(
        Filters=[
            {"Name": "state", "Values": ["available"]},
            {"Name": "zone-type", "Values": ["availability-zone"]},
        ]
    )["AvailabilityZones"]
    lacking = [
        f"{project.environment} wants {project.environment_settings['network']['zones']}"
        for project in account.projects
        if project.environment_settings["network"]["zones"] > len(zones)
    ]
    if lacking:
        return PROBLEM, f"{account.base.region} has {len(zones)} zones; {', '.join(lacking)}", "Lower network.zones."
    return OK, f"{account.base.region}, {len(zones)} zones"


def _bootstrap(account: Account) -> Finding:
    if bootstrap.state_file(account.base).exists():
        return PROBLEM, "was interrupted", "make bootstrap goes on where it stopped."
    try:
        layers.require_bootstrap(account.aws, account.base)
    except OpsError as error:
        return WARNING, error.message, "make bootstrap"
    if not layers.exists(account.aws, Terraform(account.base, ACCOUNT)):
        return PROBLEM, "the bucket is there, the account layer's state is not", "make bootstrap"
    return OK, f"state is in {account.base.names['state_bucket']}"


def _oidc_provider(account: Account) -> Finding:
    host = "token.actions.githubusercontent.com"
    arn = f"arn:{account.base.partition}:iam::{account.base.account}:oidc-provider/{host}"
    makes = account.base.settings.get("account_settings", "create") == "create"
    try:
        tags = account.aws.client("iam").list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"]
    except ClientError as error:
        if code(error) != "NoSuchEntity":
            raise
        if makes:
            return OK, "make bootstrap makes it"
        return PROBLEM, "GitHub's provider is not in the account", "account_settings: create in project.yaml"
    if makes and {"Key": "application", "Value": account.base.app} not in tags:
        return (
            PROBLEM,
            "another project made GitHub's provider, and an account has one",
            "account_settings: existing in project.yaml",
        )
    return OK, "GitHub's is in the account"


def _domain(account: Account) -> Finding:
    domain = str(account.base.settings["domain_name"])
    if not domain:
        return WARNING, "none: the service is reached by HTTP without encryption", "Set domain_name."
    wanted = list(dict.fromkeys(project.zone for project in account.projects))
    missing = [name for name in wanted if not _has_zone(account.aws, name)]
    if missing:
        return (
            PROBLEM,
            f"there is no public Route 53 zone {' and no '.join(missing)}",
            f"Create it, or empty domain_name: {domain}",
        )
    return OK, f"the zone {' and '.join(wanted)} is there" if wanted else "no environment lives here"


def _has_zone(aws: Aws, name: str) -> bool:
    zones = aws.client("route53").list_hosted_zones_by_name(DNSName=name, MaxItems="10")["HostedZones"]
    return any(zone["Name"] == f"{name}." and not zone["Config"].get("PrivateZone") for zone in zones)


def _incident(project: Project, aws: Aws) -> Finding:
    if not incident.wanted(project):
        return OK, "not wanted: incident_management is none"
    if incident.is_set(aws, project):
        return OK, project.names["incident_url_parameter"]
    return WARNING, "not set: alarms reach nobody", f"make incident-url ENV={project.environment}"


def _quota(aws: Aws, quota: tuple[str, str]) -> float:
    client = aws.client("service-quotas")
    try:
        return float(client.get_service_quota(ServiceCode=quota[0], QuotaCode=quota[1])["Quota"]["Value"])
    except ClientError as error:
        if code(error) != "NoSuchResourceException":
            raise
    return float(client.get_aws_default_service_quota(ServiceCode=quota[0], QuotaCode=quota[1])["Quota"]["Value"])


def _compared(quota: tuple[str, str], limit: float, used: float, wanted: float, unit: str) -> Finding:
    detail = f"{used:g} in use, {wanted:g} more wanted, {limit:g} allowed ({unit})"
    if used + wanted <= limit:
        return OK, detail
    request = f"Ask for more: aws service-quotas request-service-quota-increase --service-code {quota[0]}"
    request += f" --quota-code {quota[1]} --desired-value {used + wanted:g}"
    return PROBLEM, detail, request


def _not_there(projects: list[Project], aws: Aws) -> list[Project]:
    """Environments that have no network yet."""
    vpcs = aws.client("ec2").describe_vpcs()["Vpcs"]
    names = {tag["Value"] for vpc in vpcs for tag in vpc.get("Tags", []) if tag["Key"] == "Name"}
    return [project for project in projects if project.names[NETWORK.name] not in names]


def _quota_vpcs(account: Account) -> Finding:
    used = len(account.aws.client("ec2").describe_vpcs()["Vpcs"])
    wanted = len(_not_there(account.projects, account.aws))
    return _compared(_VPCS, _quota(account.aws, _VPCS), used, wanted, "VPCs in the region")


def _quota_addresses(account: Account) -> Finding:
    if account.base.settings["internet_egress"] != "nat-gateway":
        return OK, "none is wanted: internet_egress is none"
    used = len(account.aws.client("ec2").describe_addresses()["Addresses"])
    wanted = sum(
        project.environment_settings["network"]["nat_gateways"] for project in _not_there(account.projects, account.aws)
    )
    return _compared(_ADDRESSES, _quota(account.aws, _ADDRESSES), used, wanted, "in the region")


def _quota_fargate(account: Account) -> Finding:
    """VCPU of all tasks at their maximum, twice in a deployment; what other projects use is not known."""
    settings = [project.environment_settings[SERVICE.name] for project in account.projects]
    wanted = sum(item["cpu"] / 1024 * item["max_tasks"] for item in settings)
    largest = max((item["cpu"] / 1024 * item["max_tasks"] for item in settings), default=0)
    limit = _quota(account.aws, _FARGATE)
    return _compared(
        _FARGATE,
        limit,
        0,
        wanted + largest,
        "vCPU, all environments at max_tasks",
    )


def _quota_lambda(account: Account) -> Finding:
    if not account.base.database:
        return OK, "no function is wanted"
    limits = account.aws.client("lambda").get_account_settings()["AccountLimit"]
    free = limits["UnreservedConcurrentExecutions"]
    if free < 1:
        return (
            PROBLEM,
            "all of it is reserved by other functions",
            "Release some, or ask for more (service lambda, quota L-B99A9384).",
        )
    return OK, f"{free} of {limits['ConcurrentExecutions']} free"


# What is looked at once there are credentials, in this order. An environment's incident URL follows for each.
_IN_THE_ACCOUNT: dict[str, Callable[[Account], Finding]] = {
    "region": _region,
    "bootstrap": _bootstrap,
    "OIDC provider": _oidc_provider,
    "domain": _domain,
    "quota VPCs": _quota_vpcs,
    "quota elastic IPs": _quota_addresses,
    "quota Fargate vCPU": _quota_fargate,
    "quota Lambda concurrency": _quota_lambda,
}


def _in_the_account(account: Account, suffix: str) -> Iterator[Check]:
    """Each check of the table. One that AWS refuses is a warning, and the others go on."""
    looks: dict[str, Callable[[], Finding]] = {
        f"{name}{suffix}": functools.partial(look, account) for name, look in _IN_THE_ACCOUNT.items()
    }
    for project in account.projects:
        looks[f"incident URL {project.environment}"] = functools.partial(_incident, project, account.aws)
    for name, look in looks.items():
        try:
            yield Check(name, *look())
        except (BotoCoreError, ClientError) as error:
            explained = aws_module.explain(error)
            yield Check(name, WARNING, f"could not be checked: {explained.message}", explained.next_step)
        except OpsError as error:
            yield Check(name, PROBLEM, error.message, error.next_step)


# ---------------------------------------------------------------------- for people

_COLOURS: dict[str, Any] = {OK: "green", WARNING: "yellow", PROBLEM: "red"}


def text(checks: list[Check]) -> str:
    """A row for each check, with its fix below, and a count."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        first, *rest = check.detail.splitlines() or [""]
        status = click.style(check.status.ljust(8), fg=_COLOURS[check.status])
        lines.append(f"{status} {check.name.ljust(width)}  {first}")
        indent = " " * (width + 11)
        lines += [f"{indent}{line}" for line in rest]
        if check.fix:
            lines.append(f"{indent}→ {check.fix}")
    counts = {status: sum(check.status == status for check in checks) for status in (OK, WARNING, PROBLEM)}
    lines.append("")
    lines.append(
        ", ".join(f"{count} {status}{'s' if count != 1 and status != OK else ''}" for status, count in counts.items())
    )
    return "\n".join(lines)
