"""Everything that would go wrong later, said now, with the way to mend it."""

from __future__ import annotations

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

TERRAFORM = (
    1,
    11,
)  # native S3 locks, https://developer.hashicorp.com/terraform/language/backend/s3
LOAD_BALANCER_NAME = (
    32  # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
)
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
    try:
        connection = aws_module.connect(base)
    except OpsError as error:
        return [*checks, Check("credentials", PROBLEM, error.message, error.next_step)]
    who = aws_module.identity(connection)
    checks.append(Check("credentials", OK, f"account {who.account}, {who.arn}"))
    checks += _guarded(_account_checks(base, projects, connection))
    return checks


def _account_checks(
    base: Project, projects: list[Project], aws: Aws
) -> Iterator[tuple[str, Callable[[], list[Check]]]]:
    yield "region", lambda: _region(base, projects, aws)
    yield "bootstrap", lambda: _bootstrap(base, aws)
    yield "OIDC provider", lambda: _oidc_provider(base, aws)
    yield "domain", lambda: _domain(base, aws)
    yield "quota VPCs", lambda: _quota_vpcs(projects, aws)
    yield "quota elastic IPs", lambda: _quota_addresses(projects, aws)
    yield "quota Fargate vCPU", lambda: _quota_fargate(projects, aws)
    yield "quota Lambda concurrency", lambda: _quota_lambda(base, aws)
    for project in projects:
        yield f"incident URL {project.environment}", lambda project=project: _incident(project, aws)  # type: ignore[misc]


def _guarded(checks: Iterator[tuple[str, Callable[[], list[Check]]]]) -> Iterator[Check]:
    """A check that AWS refuses is a warning, and the others go on."""
    for name, check in checks:
        try:
            yield from check()
        except (BotoCoreError, ClientError) as error:
            explained = aws_module.explain(error)
            yield Check(name, WARNING, f"could not be checked: {explained.message}", explained.next_step)
        except OpsError as error:
            yield Check(name, PROBLEM, error.message, error.next_step)


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
    return Check("GitHub", OK, f"{repository}, subjects begin with {actual}")


# ---------------------------------------------------------------------- AWS


def _region(base: Project, projects: list[Project], aws: Aws) -> list[Check]:
    client = aws.client("ec2")
    found = client.describe_regions(RegionNames=[base.region], AllRegions=True)["Regions"]
    if not found or found[0].get("OptInStatus") == "not-opted-in":
        return [
            Check(
                "region",
                PROBLEM,
                f"{base.region} is not enabled",
                "Enable it in the account's settings, or choose another.",
            )
        ]
    zones = client.describe_availability_zones(
        Filters=[
            {"Name": "state", "Values": ["available"]},
            {"Name": "zone-type", "Values": ["availability-zone"]},
        ]
    )["AvailabilityZones"]
    lacking = [
        f"{project.environment} wants {project.environment_settings['network']['zones']}"
        for project in projects
        if project.environment_settings["network"]["zones"] > len(zones)
    ]
    if lacking:
        return [
            Check(
                "region",
                PROBLEM,
                f"{base.region} has {len(zones)} zones; {', '.join(lacking)}",
                "Lower network.zones.",
            )
        ]
    return [Check("region", OK, f"{base.region}, {len(zones)} zones")]


def _bootstrap(project: Project, aws: Aws) -> list[Check]:
    if bootstrap.state_file(project).exists():
        return [Check("bootstrap", PROBLEM, "was interrupted", "make bootstrap goes on where it stopped.")]
    try:
        layers.require_bootstrap(aws, project)
    except OpsError as error:
        return [Check("bootstrap", WARNING, error.message, "make bootstrap")]
    if not layers.exists(aws, Terraform(project, ACCOUNT)):
        return [
            Check(
                "bootstrap",
                PROBLEM,
                "the bucket is there, the account layer's state is not",
                "make bootstrap",
            )
        ]
    return [Check("bootstrap", OK, f"state is in {project.names['state_bucket']}")]


def _oidc_provider(project: Project, aws: Aws) -> list[Check]:
    host = "token.actions.githubusercontent.com"
    arn = f"arn:{project.partition}:iam::{project.account}:oidc-provider/{host}"
    makes = project.settings.get("account_settings", "create") == "create"
    try:
        tags = aws.client("iam").list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"]
    except ClientError as error:
        if code(error) != "NoSuchEntity":
            raise
        if makes:
            return [Check("OIDC provider", OK, "make bootstrap makes it")]
        return [
            Check(
                "OIDC provider",
                PROBLEM,
                "GitHub's provider is not in the account",
                "account_settings: create in project.yaml",
            )
        ]
    if makes and {"Key": "application", "Value": project.app} not in tags:
        return [
            Check(
                "OIDC provider",
                PROBLEM,
                "another project made GitHub's provider, and an account has one",
                "account_settings: existing in project.yaml",
            )
        ]
    return [Check("OIDC provider", OK, "GitHub's is in the account")]


def _domain(project: Project, aws: Aws) -> list[Check]:
    domain = str(project.settings["domain_name"])
    if not domain:
        return [
            Check(
                "domain",
                WARNING,
                "none: the service is reached by HTTP without encryption",
                "Set domain_name.",
            )
        ]
    zones = aws.client("route53").list_hosted_zones_by_name(DNSName=domain, MaxItems="10")["HostedZones"]
    if any(zone["Name"] == f"{domain}." and not zone["Config"].get("PrivateZone") for zone in zones):
        return [Check("domain", OK, f"the zone {domain} is there")]
    return [
        Check(
            "domain",
            PROBLEM,
            f"there is no public Route 53 zone {domain}",
            f"Create it, or empty domain_name: {domain}",
        )
    ]


def _incident(project: Project, aws: Aws) -> list[Check]:
    name = f"incident URL {project.environment}"
    if not incident.wanted(project):
        return [Check(name, OK, "not wanted: incident_management is none")]
    if incident.is_set(aws, project):
        return [Check(name, OK, project.names["incident_url_parameter"])]
    return [
        Check(
            name,
            WARNING,
            "not set: alarms reach nobody",
            f"make incident-url ENV={project.environment}",
        )
    ]


def _quota(aws: Aws, quota: tuple[str, str]) -> float:
    client = aws.client("service-quotas")
    try:
        return float(client.get_service_quota(ServiceCode=quota[0], QuotaCode=quota[1])["Quota"]["Value"])
    except ClientError as error:
        if code(error) != "NoSuchResourceException":
            raise
    return float(client.get_aws_default_service_quota(ServiceCode=quota[0], QuotaCode=quota[1])["Quota"]["Value"])


def _compared(name: str, quota: tuple[str, str], limit: float, used: float, wanted: float, unit: str) -> list[Check]:
    detail = f"{used:g} in use, {wanted:g} more wanted, {limit:g} allowed ({unit})"
    if used + wanted <= limit:
        return [Check(name, OK, detail)]
    request = f"Ask for more: aws service-quotas request-service-quota-increase --service-code {quota[0]}"
    request += f" --quota-code {quota[1]} --desired-value {used + wanted:g}"
    return [Check(name, PROBLEM, detail, request)]


def _not_there(projects: list[Project], aws: Aws) -> list[Project]:
    """Environments that have no network yet."""
    vpcs = aws.client("ec2").describe_vpcs()["Vpcs"]
    names = {tag["Value"] for vpc in vpcs for tag in vpc.get("Tags", []) if tag["Key"] == "Name"}
    return [project for project in projects if project.names[NETWORK.name] not in names]


def _quota_vpcs(projects: list[Project], aws: Aws) -> list[Check]:
    used = len(aws.client("ec2").describe_vpcs()["Vpcs"])
    wanted = len(_not_there(projects, aws))
    return _compared("quota VPCs", _VPCS, _quota(aws, _VPCS), used, wanted, "VPCs in the region")


def _quota_addresses(projects: list[Project], aws: Aws) -> list[Check]:
    if projects[0].settings["internet_egress"] != "nat-gateway":
        return [Check("quota elastic IPs", OK, "none is wanted: internet_egress is none")]
    used = len(aws.client("ec2").describe_addresses()["Addresses"])
    wanted = sum(project.environment_settings["network"]["nat_gateways"] for project in _not_there(projects, aws))
    return _compared("quota elastic IPs", _ADDRESSES, _quota(aws, _ADDRESSES), used, wanted, "in the region")


def _quota_fargate(projects: list[Project], aws: Aws) -> list[Check]:
    """VCPU of all tasks at their maximum, twice in a deployment; what other projects use is not known."""
    settings = [project.environment_settings[SERVICE.name] for project in projects]
    wanted = sum(item["cpu"] / 1024 * item["max_tasks"] for item in settings)
    largest = max(item["cpu"] / 1024 * item["max_tasks"] for item in settings)
    limit = _quota(aws, _FARGATE)
    return _compared(
        "quota Fargate vCPU",
        _FARGATE,
        limit,
        0,
        wanted + largest,
        "vCPU, all environments at max_tasks",
    )


def _quota_lambda(project: Project, aws: Aws) -> list[Check]:
    if not project.database:
        return [Check("quota Lambda concurrency", OK, "no function is wanted")]
    limits = aws.client("lambda").get_account_settings()["AccountLimit"]
    free = limits["UnreservedConcurrentExecutions"]
    if free < 1:
        return [
            Check(
                "quota Lambda concurrency",
                PROBLEM,
                "all of it is reserved by other functions",
                "Release some, or ask for more (service lambda, quota L-B99A9384).",
            )
        ]
    return [Check("quota Lambda concurrency", OK, f"{free} of {limits['ConcurrentExecutions']} free")]


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
