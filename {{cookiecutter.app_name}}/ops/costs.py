"""Writes docs/costs.md: what each environment costs a month, idle and under a small load.

`make costs` runs this after an edit of project.yaml or prices.toml; the template ran it when the
repository was made. What is counted (endpoints, keys, alarms, firewall rules) is counted in the
Terraform code, so that the document follows it. Standard library, and PyYAML to read project.yaml.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = "docs/costs.md"

HOURS = 730
"""Hours of a month, as AWS's calculator has them."""
DAYS = 365 / 12

# Container Insights reports so many metrics for a cluster, a service and a task definition.
# https://aws.amazon.com/cloudwatch/pricing/, "Container Insights for Amazon ECS"
INSIGHTS_METRICS = 8 + 11 + 6
INSIGHTS_METRICS_OF_WORKER = 11 + 6

# A worker's task asks for messages every five seconds (app/worker.py), and an alarm starts the first one of those with
# min_tasks 0: it looks at two metrics.
RECEIVES_AN_HOUR = 12 * 60
FIRST_TASK_METRICS = 2

# Files under load: kept, sent up and down again, and how many. S3 reports so many metrics of requests for them.
FILES_GB = 10
FILES_THOUSANDS = 10
FILES_METRICS = 10

# Below a tenth of a dollar together, or never reached: not in the tables.
# Cents, by the setting that brings them; "" for those that are always there.
NOT_COUNTED = (
    ("database", "the role manager's runs"),
    ("", "SNS messages"),
    ("jobs", "EventBridge Scheduler's calls"),
    ("storage", "requests for files and their log"),
    ("feature_flags", "AppConfig requests"),
    ("", "SSM parameters"),
    ("", "the state bucket and its locks"),
    ("", "dashboards (three are free)"),
    ("database", "backups up to the size of the database"),
    ("", "traffic between zones"),
)


# As infra/config fills it in.
WORKER = {"min_tasks": 1}


class Load(NamedTuple):
    """Use of one environment in a month."""

    name: str
    requests: float
    """Requests that reach the load balancer."""
    kilobytes: float
    """Size of an answer."""
    log_gb: float
    """Logs of service, load balancer, network and database."""
    aws_gb: float
    """Traffic between the service and AWS services: images, logs."""
    internet_gb: float
    """Traffic between the service and the internet, where NAT gateways lead there."""
    database_acu: float
    """Capacity that the database's busy instances work with."""
    database_gb: float
    io_per_request: float

    @property
    def out_gb(self) -> float:
        """Traffic to the callers, in GB."""
        return self.requests * self.kilobytes / 1e6


IDLE = Load("Idle", 0, 0, 0.1, 0.1, 0, 0, 1, 0)
SMALL = Load("Small load", 2_628_000, 10, 5, 5, 5, 1, 10, 2)


class Item(NamedTuple):
    """One line of the bill."""

    name: str
    why: str
    idle: float
    """USD a month without use."""
    small: float
    """USD a month under the small load."""


class Counts(NamedTuple):
    """What the Terraform code makes, as far as it costs."""

    endpoints: int
    """Interface endpoints of an environment's network."""
    keys: Mapping[str, int]
    """KMS keys of each layer."""
    alarm_metrics: int
    """Metrics that an environment's alarms look at."""
    firewall_rules: int
    worker_alarm_metrics: int
    """Metrics that the alarms of one worker look at."""
    file_alarm_metrics: int
    """Metrics that the alarm on files looks at."""


class CountError(Exception):
    """The Terraform code is no longer written as this program reads it; the message names what is not found."""


def count(pattern: str, *files: Path) -> int:
    """How often a pattern is in files that exist. Raises CountError when it is in none of them."""
    texts = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    found = sum(len(re.findall(pattern, text, re.MULTILINE)) for text in texts)
    if texts and not found:
        raise CountError(f"ops/costs.py: nothing like {pattern} in {', '.join(file.name for file in files)}")
    return found


def counts(settings: Mapping[str, Any], infra: Path) -> Counts:
    """Count in the Terraform code what these settings make of it. Raises CountError."""
    database = settings["database"] != "none"
    # A row of the table of endpoints: its name, and after the brace who uses it.
    rows = re.findall(
        r'^ +"([a-z.]+)" = \{ # ',
        (infra / "network/endpoints.tf").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    if not {"ecr.api", "appconfigdata", "secretsmanager"} <= set(rows):
        raise CountError("ops/costs.py: the table of endpoints in infra/network/endpoints.tf is not found")
    endpoints = set(rows)
    if settings["internet_egress"] == "nat-gateway":
        endpoints &= {"secretsmanager"}
    if settings["feature_flags"] == "none":
        endpoints -= {"appconfigdata"}
    if not database:
        endpoints -= {"secretsmanager"}
    if not (settings.get("service") or {}).get("secrets"):
        endpoints -= {"ssm"}
    if not settings.get("workers"):
        endpoints -= {"sqs"}

    key = r'source += "\.\./modules/key"|resource "aws_kms_key"'
    layers = [
        "account",
        "network",
        "build-repository",
        "service",
        *(["database"] if database else []),
    ]
    storage = infra / "service/storage.tf"
    unused = () if settings.get("storage", "none") != "none" else (storage,)
    alarms = [
        infra / "service/alarms.tf",
        *([infra / "service/alarms-database.tf"] if database else []),
    ]
    return Counts(
        endpoints=len(endpoints),
        keys={layer: count(key, *sorted(set((infra / layer).glob("*.tf")) - set(unused))) for layer in layers},
        # By name in a table or an alarm; the errors alarm names its three by their ids.
        alarm_metrics=count(r'\b(metric(_name)?|requests|service|balancer) += "', *alarms),
        firewall_rules=count(r"^  rule \{", infra / "service/web-application-firewall.tf"),
        worker_alarm_metrics=count(r'^ +metric += "', infra / "service/workers.tf"),
        file_alarm_metrics=count(r'^ +(asked|refused|failed) += "', storage),
    )


def environment_items(settings: Mapping[str, Any], name: str, counted: Counts, usd: Mapping[str, Any]) -> list[Item]:
    """The bill of one environment, line by line."""
    environment = settings["environments"][name]
    network, service = environment["network"], environment["service"]
    items: list[Item] = []

    def add(title: str, why: str, floor: float, use: Mapping[Load, float] | None = None) -> None:
        """Add a line: what it costs without use, and what each load adds."""
        use = use or {}
        items.append(Item(title, why, floor + use.get(IDLE, 0), floor + use.get(SMALL, 0)))

    task = HOURS * (
        service["cpu"] / 1024 * usd["task_cpu_hour"][settings["cpu_architecture"]]
        + service["memory"] / 1024 * usd["task_gb_hour"][settings["cpu_architecture"]]
    )
    add(
        "Service",
        f"{number(service['min_tasks'], 'task')} of {service['cpu'] / 1024:g} vCPU and {service['memory']} MiB",
        task * service["min_tasks"],
    )

    workers = [WORKER | dict(worker) for worker in (settings.get("workers") or {}).values()]
    if workers:
        tasks = [(worker["min_tasks"], max(worker["min_tasks"], 1)) for worker in workers]
        working = task + HOURS * RECEIVES_AN_HOUR / 1e6 * usd["queue_million_requests"]
        idle = sum(least for least, _ in tasks)
        add(
            "Workers",
            f"{number(len(workers), 'worker')}: {number(idle, 'task')}, at least one for each under load, and their queues",
            working * idle,
            {SMALL: working * (sum(busy for _, busy in tasks) - idle)},
        )

    if settings["database"] != "none":
        database = environment["database"]
        add(*database_capacity(database, usd))
        add(
            "Database: storage and requests",
            f"{IDLE.database_gb:g} GB, {SMALL.database_gb:g} GB under load; the master's secret",
            usd["secret_month"],
            {
                load: load.database_gb * usd["database_storage_gb_month"]
                + load.requests * load.io_per_request / 1e6 * usd["database_million_io"]
                for load in (IDLE, SMALL)
            },
        )

    jobs = jobs_of(settings, name)
    if jobs:
        per_run = {
            job: usd["task_cpu_hour"][settings["cpu_architecture"]]
            * job_settings.get("cpu", service["cpu"])
            / 1024
            / 60
            + usd["task_gb_hour"][settings["cpu_architecture"]]
            * job_settings.get("memory", service["memory"])
            / 1024
            / 60
            for job, job_settings in jobs.items()
        }
        runs = {job: runs_a_month(job_settings["schedule"]) for job, job_settings in jobs.items()}
        add(
            "Scheduled jobs",
            f"{number(len(jobs), 'job')}, {number(round(sum(runs.values())), 'run')} of a minute",
            sum(per_run[job] * runs[job] for job in jobs),
        )

    stored, scanned = settings.get("storage", "none") != "none", bool((settings.get("files") or {}).get("malware_scan"))
    if stored:
        scan = FILES_GB * usd["malware_scan_gb"] + FILES_THOUSANDS * usd["malware_scan_thousand_files"]
        add(
            "Files",
            f"{FILES_GB} GB under load, sent up and down in a month{', each scanned' if scanned else ''}; metrics of their requests",
            0,
            {
                SMALL: FILES_GB * (usd["s3_gb_month"] + usd["traffic_out_gb"])
                + FILES_METRICS * usd["custom_metric_month"]
                + (scan if scanned else 0)
            },
        )

    zones = network["zones"]
    add(
        "Load balancer",
        f"with a public address in each of {zones} zones",
        HOURS * (usd["load_balancer_hour"] + zones * usd["public_address_hour"]),
        # A unit is 25 new connections a second or 1 GB an hour.
        {
            load: HOURS * usd["load_balancer_unit_hour"] * max(load.requests / HOURS / 3600 / 25, load.out_gb / HOURS)
            for load in (SMALL,)
        },
    )
    if service["web_application_firewall"]:
        add(
            "Web application firewall",
            number(counted.firewall_rules, "rule"),
            usd["web_acl_month"] + counted.firewall_rules * usd["web_acl_rule_month"],
            {SMALL: SMALL.requests / 1e6 * usd["web_acl_million_requests"]},
        )

    if counted.endpoints:
        endpoint_zones = network.get("endpoint_zones", zones)
        add(
            "VPC endpoints",
            f"{number(counted.endpoints, 'endpoint')} in {number(endpoint_zones, 'zone')}",
            HOURS * usd["endpoint_zone_hour"] * counted.endpoints * endpoint_zones,
            {load: load.aws_gb * usd["endpoint_gb"] for load in (IDLE, SMALL)}
            if settings["internet_egress"] == "none"
            else {},
        )
    if settings["internet_egress"] == "nat-gateway":
        gateways = network["nat_gateways"]
        add(
            "NAT gateways",
            f"{number(gateways, 'gateway')}, each with a public address",
            HOURS * gateways * (usd["nat_gateway_hour"] + usd["public_address_hour"]),
            {load: (load.aws_gb + load.internet_gb) * usd["nat_gateway_gb"] for load in (IDLE, SMALL)},
        )
    add(
        "Traffic to callers",
        f"{SMALL.out_gb:.0f} GB under load",
        0,
        {
            SMALL: (SMALL.out_gb + (SMALL.internet_gb if settings["internet_egress"] != "none" else 0))
            * usd["traffic_out_gb"]
        },
    )

    months = min(service["log_retention_days"] / DAYS, 12)
    add(
        "Logs",
        f"{SMALL.log_gb:g} GB under load, kept for {service['log_retention_days']} days",
        0,
        {load: load.log_gb * (usd["log_gb"] + months * usd["log_gb_month"]) for load in (IDLE, SMALL)},
    )
    insights = INSIGHTS_METRICS + len(workers) * INSIGHTS_METRICS_OF_WORKER
    watched = counted.alarm_metrics + sum(
        counted.worker_alarm_metrics + (0 if worker["min_tasks"] else FIRST_TASK_METRICS) for worker in workers
    )
    watched += counted.file_alarm_metrics + scanned if stored else 0
    watched += len(jobs) + 1 if jobs else 0  # one for each job, and one for those that could not be started
    add(
        "Metrics and alarms",
        f"{insights} metrics of Container Insights, {watched} metrics in alarms",
        insights * usd["custom_metric_month"] + watched * usd["alarm_metric_month"],
    )
    keys = sum(number_of for layer, number_of in counted.keys.items() if layer in ("network", "database", "service"))
    add("Encryption keys", number(keys, "key"), keys * usd["key_month"])
    return items


def jobs_of(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The scheduled jobs of an environment."""
    jobs = settings.get("jobs") or {}
    return {job: found for job, found in jobs.items() if name in found.get("environments", settings["environments"])}


def runs_a_month(schedule: str) -> float:
    """How often a schedule begins; of a cron as if it did every day."""
    if match := re.match(r"rate\((\d+) (minute|hour|day)", schedule):
        return DAYS * 1440 / (int(match[1]) * {"minute": 1, "hour": 60, "day": 1440}[match[2]])
    times = 1
    for field, size in zip(re.findall(r"[^ ()]+", schedule)[1:3], (60, 24), strict=True):
        found: set[int] = set()
        for part in field.split(","):
            span, _, step = part.partition("/")
            low, _, high = span.replace("*", f"0-{size - 1}").partition("-")
            found |= set(range(int(low), int(high or (size - 1 if step else low)) + 1, int(step or 1)))
        times *= len(found)
    return DAYS * times


def database_capacity(database: Mapping[str, Any], usd: Mapping[str, Any]) -> tuple[str, str, float, dict[Load, float]]:
    """Title, reason, floor and use of the capacity. Each instance runs and is paid; the first two have one size."""
    instances, least = database["instances"], database["min_capacity"]
    busy = min(instances, 2)
    small = (busy * max(least, SMALL.database_acu) + (instances - busy) * max(least, 0.5)) * HOURS
    if least == 0:
        # The role manager's daily check wakes it at the size of one ACU until it pauses again.
        awake = DAYS * (database["pause_after_seconds"] / 3600) * instances
        floor, why = awake * usd["database_acu_hour"], "paused but for the daily check of roles"
    else:
        floor, why = least * instances * HOURS * usd["database_acu_hour"], f"{least:g} ACU for each"
    return (
        "Database: capacity",
        f"{number(instances, 'instance')}: {why}; {SMALL.database_acu:g} ACU and never paused under load",
        floor,
        {SMALL: small * usd["database_acu_hour"] - floor},
    )


def project_items(settings: Mapping[str, Any], counted: Counts, usd: Mapping[str, Any]) -> list[Item]:
    """What all environments share; of the account layer each of their accounts has its own."""
    accounts = {settings["aws_account_id"]} | {
        block.get("aws_account_id") or settings["aws_account_id"] for block in settings["environments"].values()
    }
    keys = len(accounts) * counted.keys["account"] + counted.keys["build-repository"]
    images = 2 * usd["image_gb_month"]
    return [
        Item(
            "Encryption keys",
            f"{number(keys, 'key')}: state{f' of {len(accounts)} accounts' if len(accounts) > 1 else ''}, images",
            keys * usd["key_month"],
            keys * usd["key_month"],
        ),
        Item("Images", "2 GB", images, images),
    ]


def number(amount: int, noun: str) -> str:
    """An amount with its noun: "1 zone", "3 zones"."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def table(items: list[Item]) -> list[str]:
    """A Markdown table of items with their sum."""
    lines = ["| Component | What | Idle | Small load |", "|---|---|---:|---:|"]
    lines += [f"| {item.name} | {item.why} | {item.idle:,.2f} | {item.small:,.2f} |" for item in items]
    return [*lines, f"| **Together** | | **{total(items)[0]:,.0f}** | **{total(items)[1]:,.0f}** |"]


def total(items: list[Item]) -> tuple[float, float]:
    """Sum of items: idle, small load."""
    return sum(item.idle for item in items), sum(item.small for item in items)


def bills(settings: Mapping[str, Any], infra: Path, usd: Mapping[str, Any]) -> dict[str, list[Item]]:
    """The items of each environment, and under "shared" those of the project. Raises CountError."""
    counted = counts(settings, infra)
    return {name: environment_items(settings, name, counted, usd) for name in settings["environments"]} | {
        "shared": project_items(settings, counted, usd)
    }


def document(settings: Mapping[str, Any], per_name: Mapping[str, list[Item]], dated: str) -> str:
    """docs/costs.md for these settings, their bills, and the date of the prices."""
    sums = {name: total(items) for name, items in per_name.items()}
    together = total([item for items in per_name.values() for item in items])
    per_second = SMALL.requests / HOURS / 3600
    lines = [
        "# What it costs",
        "",
        "<!-- Written by ops/costs.py from project.yaml, ops/prices.toml and the Terraform code: edit those, then",
        "`make costs`. -->",
        "",
        f"USD a month, on demand in us-east-1, prices of {dated} ([prices.toml](../ops/prices.toml)).",
        *(
            [f"This project is in {settings['aws_region']}, where most of it costs up to a third more."]
            if settings["aws_region"] != "us-east-1"
            else []
        ),
        "",
        "| Environment | Idle | Small load |",
        "|---|---:|---:|",
        *(f"| {name} | {idle:,.0f} | {small:,.0f} |" for name, (idle, small) in sums.items()),
        f"| **Together** | **{together[0]:,.0f}** | **{together[1]:,.0f}** |",
        "",
        "- **Idle**: it is up and nobody uses it. This is the floor: what an environment costs for being there.",
        f"- **Small load**: {per_second:.0f} request a second all month, answers of {SMALL.kilobytes:g} kB, "
        f"{SMALL.log_gb:g} GB of logs" + (", a database that never pauses." if settings["database"] != "none" else "."),
        f"- **Not counted**, because it is cents: {not_counted(settings)}.",
        "- A temporary environment pays for its service, load balancer, metrics, key and logs, and uses the rest of",
        "  the environment it stands beside.",
        "",
    ]
    for name, items in per_name.items():
        heading = "All environments together use" if name == "shared" else name
        lines += [f"## {heading}", "", *table(items), ""]
    lines += ["## To pay less", ""]
    lines += levers(settings)
    return "\n".join(lines) + "\n"


def not_counted(settings: Mapping[str, Any]) -> str:
    """What costs cents, of the components that the project has."""
    return ", ".join(
        what for setting, what in NOT_COUNTED if not setting or settings.get(setting, "none") not in ("none", {})
    )


def levers(settings: Mapping[str, Any]) -> list[str]:
    """What in project.yaml changes the floor most."""
    lines = []
    if settings["internet_egress"] == "none":
        lines += [
            "- `endpoint_zones: 1` pays for one interface of each VPC endpoint. It serves all zones until its own",
            "  fails.",
            "- `internet_egress: nat-gateway` replaces all endpoints but one by gateways: with one of them usually",
            "  a little cheaper, but then the service can call anybody.",
        ]
    else:
        lines += ["- `nat_gateways: 1` serves all zones until its own fails."]
    if settings["database"] != "none":
        lines += [
            "- `database.min_capacity: 0` pauses the database when no connection is open. The first request after",
            "  that waits about 15 seconds.",
            "- `database.instances: 1` has no second instance to take over: after a failure AWS makes a new one, in",
            "  some minutes.",
        ]
    return [
        *lines,
        "- `make down ENV=dev` when nobody needs it, and `make up ENV=dev` in the morning.",
    ]


def write(root: Path) -> tuple[Path, dict[str, list[Item]]]:
    """Write docs/costs.md of a repository; return its path and what is in it. Raises CountError."""
    import yaml

    # libyaml's parser, where PyYAML came with it, takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (root / "project.yaml").read_text(encoding="utf-8")
    settings = yaml.load(text, loader)  # noqa: S506 - both loaders are safe
    path = root / DOCUMENT
    prices = tomllib.loads((root / "ops/prices.toml").read_text(encoding="utf-8"))
    per_name = bills(settings, root / "infra", prices["usd"])
    text = document(settings, per_name, prices["dated"])
    path.write_text(text, encoding="utf-8", newline="\n")
    return path, per_name


def main() -> None:
    """Write the document and show its sums."""
    import yaml

    from ops import answers

    try:
        answers.read(ROOT / "project.yaml")  # it refuses a key that is there twice
        path, per_name = write(ROOT)
    except CountError as error:
        sys.exit(str(error))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        sys.exit(f"project.yaml can't be read: {error}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        sys.exit(f"project.yaml: a setting is missing or of the wrong kind ({error}): `make doctor` says which")
    sys.stdout.write(f"{'USD a month':12} {'idle':>8} {'small load':>11}\n")
    for name, items in per_name.items():
        idle, small = total(items)
        sys.stdout.write(f"{name:12} {idle:8,.0f} {small:11,.0f}\n")
    sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
