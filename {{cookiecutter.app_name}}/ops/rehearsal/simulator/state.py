"""What IAM has to know of the simulated account: tags, resource policies, keys, roles. Reads moto's backends, changes nothing."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from moto.appconfig.models import appconfig_backends
from moto.awslambda.models import lambda_backends
from moto.backends import get_backend
from moto.core.exceptions import ServiceException
from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.guardduty.models import guardduty_backends
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends
from moto.logs.models import logs_backends
from moto.rds.models import rds_backends
from moto.s3.models import FakeDeleteMarker, s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.ssm.models import ssm_backends
from moto.utilities.utils import get_partition
from werkzeug.exceptions import HTTPException

from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.policy import Policy, read

# Resources whose tags IAM sees later than their own service does.
# https://docs.aws.amazon.com/kms/latest/developerguide/tag-authorization.html: "it might take up to five minutes"
LAGGING = ("kms",)


def parts(arn: str) -> tuple[str, str, str, str]:
    """Split an ARN: service, region, account, resource."""
    _, _, service, region, account, resource = arn.split(":", 5)
    return service, region, account, resource


class MotoState:
    """What the evaluator asks, for one partition.

    Args:
        account: owns what has no account in its ARN and is not found.
        region: of the account.
        tag_lag_seconds: how long tags of resources in LAGGING do not count after they changed.

    """

    def __init__(self, account: str, region: str, tag_lag_seconds: float = 0) -> None:
        self.account = account
        self.region = region
        self.partition = get_partition(region)
        self.tag_lag_seconds = tag_lag_seconds
        self.service_roles: set[tuple[str, str]] = set()
        self._seen: dict[str, list[tuple[float, dict[str, str]]]] = {}
        self._lock = threading.Lock()

    def seen_from(self, account: str) -> MotoState:
        """Return the same, with the names that a call has without an account meant in this one."""
        if account == self.account:
            return self
        other = copy.copy(self)
        other.account = account
        return other

    # Tags.

    def tags(self, arn: str) -> Mapping[str, str]:
        """Return a resource's tags as far as IAM sees them."""
        now = self._tags(arn)
        if not self.tag_lag_seconds or parts(arn)[0] not in LAGGING:
            return now
        with self._lock:
            history = self._seen.get(arn, [])
        old = [tags for at, tags in history if at <= time.monotonic() - self.tag_lag_seconds]
        return old[-1] if old else {}

    def remember_tags(self) -> None:
        """Note which tags lagging resources have by now: after each call that may have changed them."""
        if not self.tag_lag_seconds:
            return
        for account, regions in list(kms_backends.items()):
            for region, backend in list(regions.items()):
                for key in list(backend.keys.values()):
                    arn = f"arn:{get_partition(region)}:kms:{region}:{account}:key/{key.id}"
                    found = dict(backend.tagger.get_tag_dict_for_resource(key.id))
                    with self._lock:
                        history = self._seen.setdefault(arn, [])
                        if not history or history[-1][1] != found:
                            history.append((time.monotonic(), found))

    def _tags(self, arn: str) -> dict[str, str]:
        service, region, account, resource = parts(arn)
        if "*" in resource:
            return {}  # something that is going to be made
        region, account = region or self.region, account or self.account
        # What is not there has no tags: moto says so by HTTP's errors.
        with contextlib.suppress(KeyError, AttributeError, LookupError, HTTPException, ServiceException):
            return self._tags_of(service, region, account, resource, arn)
        return {}

    def _tags_of(self, service: str, region: str, account: str, resource: str, arn: str) -> dict[str, str]:
        name = resource.rpartition("/")[2]
        if service == "ec2":
            return dict(ec2_backends[account][region].tags.get(name, {}))
        if service == "kms":
            tagger = kms_backends[account][region].tagger
            return dict(tagger.get_tag_dict_for_resource(name)) if resource.startswith("key/") else {}
        if service == "iam":
            return self._iam_tags(account, resource)
        if service == "rds":
            with contextlib.suppress(Exception):
                return _pairs(rds_backends[account][region].list_tags_for_resource(arn))
            return {}
        if service == "ecs":
            with contextlib.suppress(Exception):
                return _pairs(ecs_backends[account][region].list_tags_for_resource(arn))
            return {}
        if service == "lambda":
            return dict(lambda_backends[account][region].get_function(resource.split(":")[1]).tags)
        if service == "sns":
            return dict(sns_backends[account][region].topics[arn]._tags)
        if service == "sqs":
            return dict(sqs_backends[account][region].queues[resource].tags)
        if service == "ssm":
            parameters, name = ssm_backends[account][region], resource.partition("/")[2]
            found = next((one for one in (name, f"/{name}") if one in parameters._parameters), None)
            return dict(parameters.list_tags_for_resource("Parameter", found) or {}) if found else {}
        if service == "secretsmanager":
            return self.secret_tags(arn)
        if service == "dynamodb":
            return _pairs(dynamodb_backends[account][region].tables[name].tags)
        if service == "s3":
            return dict(s3_backends[account][self.partition].tagger.get_tag_dict_for_resource(arn.partition("/")[0]))
        if service == "logs":
            return dict(logs_backends[account][region].tagger.get_tag_dict_for_resource(arn.removesuffix(":*")))
        if service == "guardduty":
            return dict(guardduty_backends[account][region].__dict__.get("plans", {})[name]["tags"])
        if service == "appconfig":
            return dict(appconfig_backends[account][region].list_tags_for_resource(arn))
        if service == "acm":
            return {
                str(k): str(v or "") for k, v in get_backend("acm")[account][region]._certificates[arn].tags.items()
            }
        if service == "application-autoscaling":
            targets: Any = get_backend("applicationautoscaling")[account][region]
            return dict(targets.__dict__.get("tags_by_arn", {}).get(arn, {}))
        tagger_of = {"elasticloadbalancing": "elbv2"}
        backends: Any = get_backend
        backend = backends(tagger_of.get(service, service))[account][region]
        tags: Any = getattr(backend, "tagger", None) or getattr(backend, "tagging_service", None)
        if tags is None:
            raise UndecidableError(f"tags of {arn}")
        return {str(k): str(v or "") for k, v in tags.get_tag_dict_for_resource(arn).items()}

    def _iam_tags(self, account: str, resource: str) -> dict[str, str]:
        kind, _, path = resource.partition("/")
        backend = iam_backends[account][self.partition]
        if kind == "role":
            role = self.role(account, path.rpartition("/")[2])
            return _pairs(role.tags) if role else {}
        if kind == "policy":
            policy = backend.managed_policies.get(f"arn:{self.partition}:iam::{account}:{resource}")
            return _pairs(policy.tags) if policy else {}
        return {}

    def secret_tags(self, arn: str) -> dict[str, str]:
        """Return a secret's tags; RDS marks those that it makes.

        https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
        """
        _, region, account, resource = parts(arn)
        secret = self._secret(account, region, resource.partition(":")[2])
        if secret is None:
            return {}
        found = _pairs(secret.tags or [])
        for cluster in list(rds_backends[account][region].clusters.values()):
            managed = getattr(cluster, "master_user_secret", None)
            if managed is not None and managed.secret.arn == secret.arn:
                found |= {"aws:rds:primaryDBClusterArn": cluster.arn, "aws:secretsmanager:owningService": "rds"}
        return found

    def _secret(self, account: str, region: str, name: str) -> Any:
        for secret in list(secretsmanager_backends[account][region].secrets.values()):
            full = secret.arn.partition(":secret:")[2]
            if name in (secret.name, full, full[:-7]):
                return secret
        return None

    # Policies of resources.

    def resource_policy(self, action: str, arn: str) -> Policy | None:
        """Return the policy that a resource has for an action of its service."""
        service, region, account, resource = parts(arn)
        asked = action.partition(":")[0]
        region, account = region or self.region, account or self.owner(arn)
        if asked == "sts" and service == "iam":
            role = self.role(account, resource.rpartition("/")[2])
            return read(f"the trust policy of {resource}", role.assume_role_policy_document) if role else None
        if asked != service:
            return None
        text: str | bytes | None = None
        name = resource.rpartition("/")[2]
        if service == "s3":
            bucket = self._bucket(arn)
            text = bucket.policy if bucket is not None else None
        elif service == "kms" and resource.startswith("key/"):
            key = kms_backends[account][region].keys.get(name)
            text = key.policy if key is not None else None
        elif service == "sns":
            topic = sns_backends[account][region].topics.get(arn)
            text = topic.policy if topic is not None else None
        elif service == "sqs":
            queue = sqs_backends[account][region].queues.get(resource)
            text = queue.policy if queue is not None else None
            text = json.dumps(text) if isinstance(text, dict) else text
        elif service == "ecr":
            repository = ecr_backends[account][region].repositories.get(resource.partition("/")[2])
            text = repository.policy if repository is not None else None
        elif service == "secretsmanager":
            secret = self._secret(account, region, resource.partition(":")[2])
            text = secret.policy if secret is not None else None
        elif service == "lambda" and resource.startswith("function:"):
            with contextlib.suppress(Exception):
                function = lambda_backends[account][region].get_function(resource.split(":")[1])
                text = json.dumps({"Statement": [_function_statement(s) for s in function.policy.statements]})
        if not text:
            return None
        return read(f"the policy of {resource}", text.decode() if isinstance(text, bytes) else text)

    def owner(self, arn: str) -> str:
        """Return the account that a resource belongs to."""
        service, _, account, _ = parts(arn)
        if account:
            return account
        if service == "s3":
            bucket = self._bucket(arn)
            return str(bucket.account_id) if bucket is not None else self.account
        return self.account

    def has_bucket(self, name: str) -> bool:
        """Tell whether there is a bucket of a name."""
        return bool(name) and self._bucket(f"arn:{self.partition}:s3:::{name}") is not None

    def _bucket(self, arn: str) -> Any:
        name = parts(arn)[3].partition("/")[0]
        for regions in list(s3_backends.values()):
            for backend in list(regions.values()):
                if name in backend.buckets:
                    return backend.buckets[name]
        return None

    # Identifiers.

    def role(self, account: str, name: str) -> Any:
        """Return moto's role of a name, or None."""
        for role in list(iam_backends[account][self.partition].roles.values()):
            if role.name == name:
                return role
        return None

    def resolve(self, service: str, variable: str, value: str) -> str:
        """Return what an identifier stands for in an ARN; empty when it names nothing."""
        if (service, variable) == ("kms", "KeyId"):
            return self._key_arn(value) or ("" if "alias/" in value or not value else value)
        if (service, variable) == ("iam", "RoleNameWithPath"):
            role = self.role(self.account, value)
            return f"{role.path.lstrip('/')}{value}" if role is not None else value
        if (service, variable) == ("secretsmanager", "SecretId"):
            name = value.partition(":secret:")[2] or value
            secret = self._secret(self.account, self.region, name)
            return secret.arn if secret is not None else value
        if service == "ecs" and variable.startswith("TaskDefinition"):
            return self._task_definition(variable, value)
        if service == "appconfig":
            return self._appconfig(variable, value)
        if service == "application-autoscaling":
            return self._scalable_target(value)
        if service == "ec2" and value.startswith(("rtbassoc-", "eni-attach-", "eipassoc-")):
            return self._association(variable, value)
        return value

    def _key_arn(self, value: str) -> str | None:
        name = value.partition(":key/")[2] or value
        # Two accounts may have an alias of one name; a key's number is one key's.
        owner = parts(value)[2] if value.startswith("arn:") else self.account
        for account, regions in list(kms_backends.items()):
            for region, backend in list(regions.items()):
                if name in backend.keys:
                    key = backend.keys[name]
                    return f"arn:{get_partition(region)}:kms:{region}:{account}:key/{key.id}"
                if "alias/" in name and account == owner:
                    alias = "alias/" + name.partition("alias/")[2]
                    for key in list(backend.keys.values()):
                        if alias in key.aliases:
                            return f"arn:{get_partition(region)}:kms:{region}:{account}:key/{key.id}"
        return None

    def _task_definition(self, variable: str, value: str) -> str:
        name = value.rpartition("task-definition/")[2]
        family, _, revision = name.partition(":")
        if variable == "TaskDefinitionFamilyName":
            return family
        if not revision:
            revisions = ecs_backends[self.account][self.region].task_definitions.get(family, {})
            revision = str(max(revisions)) if revisions else "*"
        return revision

    def _appconfig(self, variable: str, value: str) -> str:
        for application in list(appconfig_backends[self.account][self.region].applications.values()):
            if variable == "ApplicationId" and value == application.name:
                return str(application.id)
            if variable == "EnvironmentId":
                for environment in application.__dict__.get("environments", {}).values():
                    if value == environment["Name"]:
                        return str(environment["Id"])
            if variable == "ConfigurationProfileId":
                for profile in application.config_profiles.values():
                    if value == profile.name:
                        return str(profile.id)
        return value

    def _scalable_target(self, value: str) -> str:
        """Return the identifier in a target's ARN, of what it scales (`service/cluster/name`); * before there is one."""
        if ":scalable-target/" in value:
            return value.rpartition("/")[2]
        backend: Any = get_backend("applicationautoscaling")[self.account][self.region]
        for by_resource in list(backend.targets.values()):
            if value in by_resource:
                return str(by_resource[value].arn).rpartition("/")[2]
        return "*"

    def _association(self, variable: str, value: str) -> str:
        backend = ec2_backends[self.account][self.region]
        for table in list(backend.route_tables.values()):
            if value in table._associations:
                return str(table.id if variable == "RouteTableId" else table._associations[value] or "")
        for interface in list(backend.enis.values()):
            if value == getattr(interface, "attachment_id", None):
                return str(interface.id) if variable == "NetworkInterfaceId" else ""
        for address in list(backend.addresses):
            if value == address.association_id:
                own = {"AllocationId": address.allocation_id, "NetworkInterfaceId": address.eni and address.eni.id}
                return str(own.get(variable) or "")
        return ""

    # Keys.

    def encryption_key(self, arn: str) -> str | None:
        """Return the customer's key that encrypts a resource."""
        service, region, account, resource = parts(arn)
        region, account = region or self.region, account or self.account
        found: str | None = None
        if service == "s3":
            found = self._s3_key(arn)
        elif service == "dynamodb":
            table = dynamodb_backends[account][region].tables.get(resource.split("/")[1])
            found = (table.sse_specification or {}).get("KMSMasterKeyId") if table is not None else None
        elif service == "secretsmanager":
            secret = self._secret(account, region, resource.partition(":")[2])
            found = secret.kms_key_id if secret is not None else None
        elif service == "ssm":
            name = resource.partition("/")[2]
            for one in (name, f"/{name}"):
                parameters = ssm_backends[account][region]._parameters
                if parameters.get(one):
                    found = parameters[one][-1].keyid
        elif service == "sns":
            topic = sns_backends[account][region].topics.get(arn)
            found = topic.kms_master_key_id if topic is not None else None
        elif service == "sqs":
            queue = sqs_backends[account][region].queues.get(resource)
            found = queue.attributes.get("KmsMasterKeyId") if queue is not None else None
        elif service == "lambda":
            with contextlib.suppress(Exception):
                function = lambda_backends[account][region].get_function(resource.split(":")[1])
                found = function.kms_key_arn if function.environment_vars else None
        elif service == "ecr":
            repository = ecr_backends[account][region].repositories.get(resource.partition("/")[2])
            found = (repository.encryption_configuration or {}).get("kmsKey") if repository is not None else None
        else:
            raise UndecidableError(f"the key that encrypts {arn}")
        # AWS's own keys admit whoever may use the service.
        return None if not found or "alias/aws/" in found else self._key_arn(found)

    def _s3_key(self, arn: str) -> str | None:
        bucket = self._bucket(arn)
        if bucket is None:
            return None
        name = parts(arn)[3].partition("/")[2]
        stored = bucket.keys.get(name)
        if stored is not None and getattr(stored, "encryption", None) not in (None, "aws:kms"):
            return None
        if stored is not None and (key := getattr(stored, "kms_key_id", None)):
            return str(key)
        rule = (bucket.encryption or {}).get("Rule") or ((bucket.encryption or {}).get("Rules") or [None])[0]
        rule = rule[0] if isinstance(rule, list) else rule
        default = (rule or {}).get("ApplyServerSideEncryptionByDefault") or {}
        return default.get("KMSMasterKeyID") if default.get("SSEAlgorithm", "").startswith("aws:kms") else None

    def grant(self, key_arn: str, action: str, principal: str) -> str | None:
        """Return the grant of a key that gives a principal an action."""
        _, region, account, resource = parts(key_arn)
        key = kms_backends[account][region].keys.get(resource.rpartition("/")[2])
        operation = action.partition(":")[2]
        for grant in list(key.grants.values()) if key is not None else []:
            if grant.grantee_principal == principal and operation in grant.operations and not grant.constraints:
                return str(grant.name or grant.id)
        return None

    # What else.

    def keys(self, arn: str) -> Mapping[str, Value | None]:
        """Return condition keys that come from the resource."""
        service, region, account, resource = parts(arn)
        region, account = region or self.region, account or self.account
        name = resource.rpartition("/")[2]
        if service == "iam" and resource.startswith("role/"):
            role = self.role(account, name)
            return {"iam:PermissionsBoundary": role.permissions_boundary_arn if role is not None else None}
        if service == "kms" and resource.startswith("key/"):
            key = kms_backends[account][region].keys.get(name)
            if key is None:
                return {}
            return {
                "kms:KeySpec": key.key_spec,
                "kms:KeyUsage": key.key_usage,
                "kms:KeyOrigin": key.origin,
                "kms:MultiRegion": str(bool(key.multi_region)).lower(),
                "kms:ResourceAliases": tuple(key.aliases) or None,
            }
        if service == "ec2" and "*" not in resource:
            return self._ec2_keys(arn, account, region, resource, name)
        if service == "ecs" and resource.startswith(("service/", "task/")):
            cluster = resource.split("/")[1]
            return {"ecs:cluster": f"arn:{self.partition}:ecs:{region}:{account}:cluster/{cluster}"}
        if service == "s3":
            return {"s3:ResourceAccount": self.owner(arn), **self._object_tags(arn)}
        return {}

    def _object_tags(self, arn: str) -> dict[str, Value | None]:
        bucket, name = self._bucket(arn), parts(arn)[3].partition("/")[2]
        stored = bucket.keys.get(name) if bucket is not None and name else None
        if stored is None or isinstance(stored, FakeDeleteMarker):
            return {}
        tags = s3_backends[bucket.account_id][self.partition].tagger.get_tag_dict_for_resource(stored.arn)
        return {f"s3:ExistingObjectTag/{key}": value for key, value in tags.items()}

    def _ec2_keys(self, arn: str, account: str, region: str, resource: str, name: str) -> dict[str, Value | None]:
        kind = resource.partition("/")[0]
        ids = {
            "vpc": "ec2:VpcID",
            "subnet": "ec2:SubnetID",
            "security-group": "ec2:SecurityGroupID",
            "route-table": "ec2:RouteTableID",
            "elastic-ip": "ec2:AllocationId",
        }
        found: dict[str, Value | None] = {ids[kind]: name} if kind in ids else {}
        backend = ec2_backends[account][region]
        vpc: str | None = None
        if kind == "vpc":
            vpc = name
        elif kind == "subnet":
            vpc = next((zone[name].vpc_id for zone in list(backend.subnets.values()) if name in zone), None)
        elif kind == "security-group":
            vpc = next((group for group, members in list(backend.groups.items()) if name in members), None)
        elif kind == "route-table":
            vpc = backend.route_tables[name].vpc_id if name in backend.route_tables else None
        if vpc:
            found["ec2:Vpc"] = arn.replace(resource, f"vpc/{vpc}")
        return found

    def look(self, question: str, arn: str) -> Any:
        """Answer what only the table of exceptions asks."""
        if question == "bucket key":
            bucket = self._bucket(arn)
            text = json.dumps(bucket.encryption or {}) if bucket is not None else ""
            return re.search(r'"BucketKeyEnabled": (true|"true")', text) is not None
        if question == "flags session":
            sessions = appconfig_backends[self.account][self.region].__dict__.get("sessions", {})
            found = sessions.get(arn)
            if found is None:
                return "*"
            application, environment = found["application"], self._appconfig("EnvironmentId", found["environment"])
            profile = self._appconfig("ConfigurationProfileId", found["profile"])
            return (
                f"arn:{self.partition}:appconfig:{self.region}:{self.account}:application/{application}"
                f"/environment/{environment}/configuration/{profile}"
            )
        if question == "partition key":
            table = dynamodb_backends[self.account][self.region].tables.get(arn.rpartition("/")[2])
            return table.hash_key_attr if table is not None else ""
        if question == "role of function":
            with contextlib.suppress(Exception):
                return lambda_backends[self.account][self.region].get_function(arn).role
            return ""
        if question == "roles of task definition":
            with contextlib.suppress(Exception):  # ECS says that it is not there
                found = ecs_backends[self.account][self.region].describe_task_definition(arn)
                return [role for key in ("execution_role_arn", "task_role_arn") if (role := getattr(found, key, None))]
            return []
        if question == "service-linked role is missing":
            return (self.account, arn) not in self.service_roles
        raise UndecidableError(question)


def _pairs(tags: Any) -> dict[str, str]:
    if isinstance(tags, Mapping):
        if all(isinstance(value, Mapping) for value in tags.values()):  # IAM's, by lower-case key
            return _pairs(list(tags.values()))
        return {str(k): str(v) for k, v in tags.items()}
    found = {}
    for tag in tags or ():
        lower = {str(k).lower(): v for k, v in tag.items()}
        found[str(lower["key"])] = str(lower.get("value", ""))
    return found


def _function_statement(statement: Any) -> dict[str, Any]:
    """Return a statement of a function's policy with the names that IAM knows."""
    raw = statement if isinstance(statement, dict) else vars(statement)
    return {k[:1].upper() + k[1:]: v for k, v in raw.items() if v is not None}
