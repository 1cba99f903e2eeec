"""Layers in miniature: Terraform without a provider, whose provisioners have this module make what is looked for.

A provisioner calls the server below, which runs in the process of the tests, where boto3 is loaded already.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from ops.rehearsal.sign_in import administrators_key
from ops.rehearsal.simulator.identities import ADMINISTRATOR

REGION = "us-east-1"


HERE = "123456789012"
# In which account a layer makes what it makes: threads serve.
_working = threading.local()


def _client(service: str) -> Any:
    return client_of(service, getattr(_working, "account", HERE))


@functools.cache
def client_of(service: str, account: str) -> Any:
    """A client with the keys of an account's administrator."""
    key = ADMINISTRATOR[0] if account == HERE else administrators_key(account)
    keys = {"aws_access_key_id": key, "aws_secret_access_key": ADMINISTRATOR[1]}
    return boto3.client(service, region_name=REGION, **keys)


class Handler(BaseHTTPRequestHandler):
    """`POST /` with {action, layer, names, values}; 500 with the reason where it fails."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = re.search(r"-tfstate-(\d{12})-", asked["names"])
        _working.account = found[1] if found else HERE
        try:
            if asked["action"] == "make":
                make(asked["layer"], json.loads(asked["names"]), json.loads(asked["values"]))
            else:
                remove(asked["layer"], json.loads(asked["names"]))
            self.send_response(200)
        except (BotoCoreError, ClientError) as error:
            self.send_response(500, str(error).replace("\n", " "))
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """Serve provisioners; the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# What a provisioner runs: `$STAND_INS_PYTHON -S -E -c <this>`, 50 ms.
CALL = (
    "import json, os, urllib.request as u;"
    "b = json.dumps({k: os.environ[k.upper()] for k in ('action', 'layer', 'names', 'values')}).encode();"
    "u.build_opener(u.ProxyHandler({})).open(os.environ['MINIATURE'], b)"
)


def make(layer: str, names: dict[str, str], values: dict[str, str]) -> None:
    """Make what a layer makes, or bring it to `values`. Raises ClientError for a layer that can't be made."""
    if layer == "broken":
        raise ClientError({"Error": {"Code": "NoCapacity", "Message": "no capacity"}}, "CreateCluster")
    if layer == "account":
        for name in ("state_bucket", "state_log_bucket"):
            if name in names:
                _client("s3").create_bucket(Bucket=names[name])
        kms, dynamodb = _client("kms"), _client("dynamodb")
        # Both are there where the real account layer came first (tests/workflows/conftest.py).
        if names["state_key"] not in {alias["AliasName"] for alias in kms.list_aliases()["Aliases"]}:
            kms.create_alias(AliasName=names["state_key"], TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        if names["locks_table"] not in dynamodb.list_tables()["TableNames"]:
            dynamodb.create_table(
                TableName=names["locks_table"],
                KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
    if layer == "build-repository":
        for key in ("build_repository", "preview_repository"):
            _client("ecr").create_repository(repositoryName=names[key])
    if layer == "database":
        _client("rds").create_db_cluster(
            DBClusterIdentifier=names["database_cluster"],
            Engine="aurora-postgresql",
            MasterUsername="master",
            MasterUserPassword="not-a-secret",
        )
    if layer == "service":
        _service(names, values["image_digest"])


def _service(names: dict[str, str], digest: str) -> None:
    ecs = _client("ecs")
    name = names["service"]
    subnets = [item["SubnetId"] for item in _client("ec2").describe_subnets()["Subnets"]][:2]
    with suppress(ClientError):
        _client("logs").create_log_group(logGroupName=names["service_log_group"])
    definitions = {}
    for family in (name, names["migrate"]):
        container = {
            "name": "app",
            "memory": 512,
            "image": f"{names['build_repository']}@{digest}",
            "environment": [{"name": "RELEASE", "value": digest}],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": names["service_log_group"],
                    "awslogs-stream-prefix": family,
                },
            },
        }
        definitions[family] = ecs.register_task_definition(
            family=family,
            containerDefinitions=[container],
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
        )["taskDefinition"]["taskDefinitionArn"]
    if ecs.describe_clusters(clusters=[name])["clusters"]:
        ecs.update_service(cluster=name, service=name, taskDefinition=definitions[name])
        return
    ecs.create_cluster(clusterName=name)
    balancer = _client("elbv2").create_load_balancer(Name=name, Subnets=subnets)["LoadBalancers"][0]
    group = _client("elbv2").create_target_group(
        Name=name, Protocol="HTTP", Port=8000, VpcId=balancer["VpcId"], TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    ecs.create_service(
        cluster=name,
        serviceName=name,
        taskDefinition=definitions[name],
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets, "securityGroups": []}},
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 8000}],
    )
    _client("elbv2").register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}])


def remove(layer: str, names: dict[str, str]) -> None:
    """Remove what a layer made."""
    if layer == "build-repository":
        # As AWS does, moto refuses while images are in it.
        _client("ecr").delete_repository(repositoryName=names["build_repository"])
        _client("ecr").delete_repository(repositoryName=names["preview_repository"], force=True)
    if layer == "database":
        _client("rds").delete_db_cluster(DBClusterIdentifier=names["database_cluster"], SkipFinalSnapshot=True)
    if layer == "service":
        ecs = _client("ecs")
        ecs.delete_service(cluster=names["service"], service=names["service"], force=True)
        ecs.delete_cluster(cluster=names["service"])
        elb = _client("elbv2")
        for item in elb.describe_load_balancers(Names=[names["service"]])["LoadBalancers"]:
            elb.delete_load_balancer(LoadBalancerArn=item["LoadBalancerArn"])
        for item in elb.describe_target_groups(Names=[names["service"]])["TargetGroups"]:
            elb.delete_target_group(TargetGroupArn=item["TargetGroupArn"])


def _layer(name: str) -> str:
    per_environment = name not in ("account", "build-repository")
    digest = name == "service"
    account = 'variable "account_id" {\n type = string\n default = null\n}' if name == "account" else ""
    command = json.dumps(f'"$STAND_INS_PYTHON" -S -E -c "{CALL}"')
    return f"""
terraform {{
  backend "s3" {{}}
}}
{'variable "environment" { type = string }' if per_environment else ""}
{'variable "image_digest" { type = string }' if digest else ""}
{account}
module "config" {{
  source = "../config"
  {"environment = var.environment" if per_environment else ""}
  {"account = var.account_id" if account else ""}
  {"workspace = terraform.workspace" if digest else ""}
}}
locals {{
  names = jsonencode(module.config.names)
}}
resource "terraform_data" "base" {{
  input = local.names
  provisioner "local-exec" {{
    when        = destroy
    command     = {command}
    environment = {{ ACTION = "remove", LAYER = "{name}", NAMES = self.input, VALUES = "{{}}" }}
  }}
}}
resource "terraform_data" "version" {{
  triggers_replace = [{"var.image_digest" if digest else '"once"'}]
  depends_on       = [terraform_data.base]
  provisioner "local-exec" {{
    command     = {command}
    environment = {{
      ACTION = "make"
      LAYER  = "{name}"
      NAMES  = local.names
      VALUES = jsonencode({{ {"image_digest = var.image_digest" if digest else ""} }})
    }}
  }}
}}
output "url" {{
  value = "http://service.example.com"
}}
"""


LAYERS = {name: _layer(name) for name in ("account", "network", "build-repository", "database", "service")}
