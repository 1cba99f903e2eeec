"""RDS: serverless v2 clusters, performance insights, the managed master secret."""

import json
import secrets
from typing import Any

from moto.rds.models import DBCluster, DBInstance, MasterUserSecret, RDSBackend

from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps


@gap("aws_rds_cluster", "`engine_lifecycle_support` and performance insights are dropped")
@gap("aws_rds_cluster", "an empty `scaling_configuration` of serverless v1 appears in every answer")
@wraps(DBCluster, "__init__")
def create_cluster(original: Any, cluster: DBCluster, *args: Any, **kwargs: Any) -> None:
    original(cluster, *args, **kwargs)
    cluster.engine_lifecycle_support = kwargs.get("engine_lifecycle_support")  # type: ignore[attr-defined]
    _insights(cluster, kwargs)


_scaling_configuration_info: Any = vars(DBCluster)["scaling_configuration_info"].fget
DBCluster.scaling_configuration_info = property(  # type: ignore[assignment]
    lambda cluster: _scaling_configuration_info(cluster) if cluster.scaling_configuration else None
)


@gap(
    "aws_rds_cluster_instance",
    "the default CA has a made-up name: the provider modifies and reboots",
)
@gap("aws_rds_cluster_instance", "performance insights and their key are dropped")
@wraps(DBInstance, "__init__")
def create_instance(original: Any, instance: DBInstance, *args: Any, **kwargs: Any) -> None:
    original(instance, *args, **kwargs)
    _insights(instance, kwargs)
    if "ca_certificate_identifier" not in kwargs:
        instance.ca_certificate_identifier = "rds-ca-rsa2048-g1"


@wraps(RDSBackend, "modify_db_instance")
def modify_instance(original: Any, backend: RDSBackend, identifier: str, kwargs: dict[str, Any]) -> Any:
    instance = original(backend, identifier, kwargs)
    _insights(instance, kwargs)
    return instance


def _insights(resource: Any, kwargs: dict[str, Any]) -> None:
    enabled = kwargs.get("enable_performance_insights")
    if enabled is not None:
        resource.performance_insights_enabled = enabled
    for name in (
        "performance_insights_kms_key_id",
        "performance_insights_retention_period",
        "database_insights_mode",
    ):
        if kwargs.get(name) is not None:
            setattr(resource, name, kwargs[name])


@gap("aws_rds_cluster", "the managed master secret names another user than the cluster's")
@wraps(MasterUserSecret, "_generate_secret_string")
def secret_string(_original: Any, secret: MasterUserSecret) -> str:
    return json.dumps({"username": secret.resource.master_username, "password": secrets.token_urlsafe(24)})


@gap("aws_rds_cluster", "the endpoint has the wrong domain in China's partition")
def _endpoint(cluster: DBCluster, kind: str) -> str:
    suffix = "amazonaws.com.cn" if cluster.region.startswith("cn-") else "amazonaws.com"
    name = f"{cluster.db_cluster_identifier}.{kind}-{cluster.url_identifier}"
    return f"{name}.{cluster.region}.rds.{suffix}"


DBCluster.endpoint = property(lambda cluster: _endpoint(cluster, "cluster"))  # type: ignore[assignment]
DBCluster.reader_endpoint = property(lambda cluster: _endpoint(cluster, "cluster-ro"))  # type: ignore[assignment]
