"""What the simulator knows beyond moto: where things are on this machine and what runs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import boto3

from ops.rehearsal.reachability import Place, Vpc
from ops.rehearsal.simulator.identities import Identities
from ops.rehearsal.simulator.state import MotoState

CONTAINER = Path(__file__).with_name("container.py")

# VPC endpoint service -> the variable by which an SDK finds that service (AWS SDKs and Tools Reference
# Guide, "Service-specific endpoints").
ENDPOINT_VARIABLES = {
    "appconfigdata": "APPCONFIGDATA",
    "dynamodb": "DYNAMODB",
    "ecr.api": "ECR",
    "kms": "KMS",
    "logs": "CLOUDWATCH_LOGS",
    "monitoring": "CLOUDWATCH",
    "rds": "RDS",
    "s3": "S3",
    "secretsmanager": "SECRETS_MANAGER",
    "sns": "SNS",
    "sqs": "SQS",
    "ssm": "SSM",
    "sts": "STS",
}
# A name that never resolves (RFC 2606): calls to a service without a way to it fail and say so.
NO_WAY = "http://no-vpc-endpoint-and-no-internet.invalid"


@dataclass
class World:
    """One run's place: `directory` for files, `endpoint` of the simulator, `receiver` of deliveries."""

    directory: Path
    account_id: str
    region: str
    render: Path
    endpoint: str
    receiver: str
    closers: list[Callable[[], None]] = field(default_factory=list)
    databases: dict[str, tuple[str, int]] = field(default_factory=dict)
    authorities: dict[str, str] = field(default_factory=dict)
    # What a task's SDK gets at its own path of the credentials' address.
    task_credentials: dict[str, dict[str, str]] = field(default_factory=dict)
    tag_lag_seconds: float = 0
    accounts: tuple[str, ...] = ()  # beside account_id
    image_files: Path | None = None  # the service's files in an image that was built
    lock: threading.Lock = field(default_factory=threading.Lock)

    @functools.cached_property
    def state(self) -> MotoState:
        """What the account has."""
        return MotoState(self.account_id, self.region, self.tag_lag_seconds)

    @functools.cached_property
    def identities(self) -> Identities:
        """Who has keys."""
        return Identities(self.state, self.directory, self.accounts)

    def client(self, service: str, credentials: Mapping[str, str] | None = None, *, account: str | None = None) -> Any:
        """Return a boto3 client of AWS itself in an account, or of a role whose `credentials` these are."""
        access, secret = self.identities.internal_of(account or self.account_id)
        own = credentials or {"access_key": access, "secret_key": secret}
        with self.lock:  # making clients is not safe in several threads
            return boto3.client(
                service,
                region_name=self.region,
                endpoint_url=self.endpoint,
                aws_access_key_id=own["access_key"],
                aws_secret_access_key=own["secret_key"],
                aws_session_token=own.get("token"),
            )

    def delivery(self, topic_arn: str, outcome: str) -> None:
        """Write down what became of a message: AWS says nothing when it drops one."""
        self.note("deliveries", topic=topic_arn, outcome=outcome)

    def note(self, file: str, **record: Any) -> None:
        """Append a record to one of the run's files."""
        path = self.directory / f"{file}.jsonl"
        with self.lock, path.open("a", encoding="utf-8") as stream:
            path.chmod(0o600)
            stream.write(json.dumps(record) + "\n")

    def network(self, subnets: Sequence[str], account: str | None = None) -> Vpc:
        """Return the VPC of some subnets of an account, as it is now."""
        ec2 = self.client("ec2", account=account)
        vpc_id = ec2.describe_subnets(SubnetIds=list(subnets[:1]))["Subnets"][0]["VpcId"]
        return Vpc.read(ec2, vpc_id)

    def sdk_environment(self, vpc: Vpc | None, place: Place | None) -> dict[str, str]:
        """Return the variables that lead AWS calls here, for the services that the place can reach."""
        variables = {"AWS_ENDPOINT_URL": self.endpoint}
        if vpc is None or place is None or vpc.to_internet(place).reach == "yes":
            return variables
        variables["AWS_ENDPOINT_URL"] = NO_WAY
        for service in vpc.services():
            name = ENDPOINT_VARIABLES.get(service)
            if name and vpc.to_service(place, service).reach == "yes":
                variables[f"AWS_ENDPOINT_URL_{name}"] = self.endpoint
        return variables

    def reachable_databases(self, vpc: Vpc, place: Place, account: str | None = None) -> dict[str, tuple[str, int]]:
        """Return the databases' addresses here, by `host:port`, that the place can connect to."""
        rds = self.client("rds", account=account)
        found = {}
        for cluster in rds.describe_db_clusters()["DBClusters"]:
            if (target := database_place(rds, cluster)) is None:
                continue
            if vpc.between(place, target, cluster["Port"]).reach == "yes":
                for name in (cluster["Endpoint"], cluster.get("ReaderEndpoint")):
                    if name in self.databases:
                        found[f"{name}:{cluster['Port']}"] = self.databases[name]
        return found

    def user(self, number: int | None) -> int | None:
        """Return the user that a container may have here: root can change to one who can read Python."""
        needed = (Path(sys.base_prefix), Path(sys.prefix).resolve(), self.directory, self.render)
        readable = all(part.stat().st_mode & 0o001 for path in needed for part in (path, *path.resolve().parents))
        return number if os.geteuid() == 0 and readable else None

    def run(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        specification: Mapping[str, Any],
        output: IO[bytes] | int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start a command as a container would; what it prints goes to one pipe or file."""
        file = self.directory / f"{name}.json"
        file.write_text(json.dumps(specification), encoding="utf-8")
        file.chmod(0o644)
        return subprocess.Popen(  # noqa: S603 - the command of a task definition of this repository
            [sys.executable, "-B", str(CONTAINER), str(file), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        """Stop everything that was started, the newest first."""
        while self.closers:
            self.closers.pop()()


def database_place(rds: Any, cluster: Mapping[str, Any]) -> Place | None:
    """Return an Aurora cluster as a place, or None while it has no subnets."""
    groups = rds.describe_db_subnet_groups(DBSubnetGroupName=cluster["DBSubnetGroup"])["DBSubnetGroups"]
    return Place(
        "database",
        tuple(subnet["SubnetIdentifier"] for subnet in groups[0]["Subnets"]),
        tuple(group["VpcSecurityGroupId"] for group in cluster["VpcSecurityGroups"]),
    )


def free_port() -> int:
    """Return a port that nothing listens on now."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def python_environment() -> dict[str, str]:
    """What a Python process on this machine needs beside its container's environment: nothing secret."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
