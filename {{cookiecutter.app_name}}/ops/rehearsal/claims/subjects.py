"""Every subject of the claims, in the order of the report: its proof, where it applies, which layer alone can pass it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ops.project import Project
from ops.rehearsal.claims import (
    account,
    alarms,
    build_repository,
    database,
    every_layer,
    network,
    service,
    ways,
)
from ops.rehearsal.claims.claim import Context, Result


@dataclass(frozen=True)
class Subject:
    """A component of docs/system-architecture.md, or something that concerns several.

    `chosen` tells whether a project has it; `alone` names the layers that pass its proof before others are there; `of` is
    the component of whose row and box it is a part, where it is none itself.
    """

    name: str
    proof: Callable[[Context, Result], None]
    chosen: Callable[[Project], bool] = lambda _: True
    alone: Sequence[str] = ()
    of: str = ""

    @property
    def component(self) -> str:
        """The component in whose box of the picture it counts."""
        return self.of or self.name


def _has_database(project: Project) -> bool:
    return project.database


SUBJECTS = (
    # The fifteen components, by the alphabet as in the document.
    Subject("Access logs", service.access_logs),
    Subject("Alarms SNS topic", alarms.alarms_topic),
    Subject("Application Load Balancer", service.load_balancer),
    Subject("Aurora PostgreSQL database", database.aurora, _has_database, ["database"]),
    Subject("Build repository", build_repository.build_repository),
    Subject("CloudWatch alarms", alarms.alarms),
    Subject("Feature flags", alarms.feature_flags, lambda project: project.settings["feature_flags"] != "none"),
    Subject("Database role manager", database.role_manager, _has_database, ["database"]),
    Subject("Database roles", database.database_roles, _has_database, ["database"], "Database role manager"),
    Subject("GitHub", account.github, alone=["account"]),
    Subject(
        "Incident management service",
        alarms.incident_management,
        lambda project: project.settings["incident_management"] != "none",
    ),
    Subject("Service", service.service),
    Subject("Terraform backend bucket", account.state_bucket),
    Subject(
        "Terraform locks DynamoDB table",
        account.locks,
        lambda project: project.settings["terraform_state_locks"] == "dynamodb",
        ["account"],
    ),
    Subject(
        "VPC endpoints",
        network.endpoints,
        lambda project: project.database or project.settings["internet_egress"] == "none",
    ),
    Subject("VPC network", network.network, alone=["network"]),
    # Across components.
    Subject("Who can reach what", ways.reachability, of="VPC network"),
    Subject("Least privilege", every_layer.least_privilege, alone=["account", "database"], of="GitHub"),
    Subject("Names", every_layer.names, alone=["account", "network", "build-repository", "database"]),
)


def prove(context: Context, only: Iterable[Subject] = SUBJECTS) -> list[Result]:
    """Run proofs; what a proof stumbles over is a claim that does not hold."""
    results = []
    for subject in only:
        result = Result(subject.name, chosen=subject.chosen(context.platform.project))
        if result.chosen:
            try:
                subject.proof(context, result)
            except Exception as error:  # noqa: BLE001 - missing things are findings
                result.claim("can be read", False, f"{type(error).__name__}: {error}")
        results.append(result)
    return results
