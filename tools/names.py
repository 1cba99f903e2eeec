"""The names that AWS sees and how long they may be: what docs/names.md shows, and the tests hold Terraform against."""

from __future__ import annotations

from typing import NamedTuple


class Name(NamedTuple):
    """A name that AWS sees."""

    pattern: str
    """With {app}, {app_underscored}, {environment}, {account} and {region}."""
    limit: int
    """Characters that the service allows."""
    what: str
    """The AWS service and what is named, as its documentation says it."""


# The same keys as `names` in infra/config/names.tf of the rendered repository; a test compares the values.
# Limits: the API reference of each service, November 2026.
NAMES = {
    "github_path": Name("/{app}/github-actions/", 512, "path of IAM roles and policies"),
    "role_path": Name("/{app}/{environment}/", 512, "path of IAM roles"),
    "state_bucket": Name("{app}-tfstate-{account}-{region}", 63, "S3 bucket"),
    "state_log_bucket": Name("{app}-tfstate-logs-{account}-{region}", 63, "S3 bucket"),
    "locks_table": Name("{app}-tfstate-locks", 255, "DynamoDB table"),
    "state_key": Name("alias/{app}-tfstate", 256, "KMS alias"),
    "permissions_boundary": Name("{app}-{environment}-boundary", 128, "IAM policy"),
    "temporary_boundary": Name("{app}-{environment}-temporary-boundary", 128, "IAM policy"),
    "plan_role": Name("{app}-github-plan", 64, "IAM role"),
    "build_role": Name("{app}-github-build", 64, "IAM role"),
    "preview_role": Name("{app}-github-preview", 64, "IAM role"),
    "apply_role": Name("{app}-github-apply-{environment}", 64, "IAM role"),
    "build_repository": Name("{app}", 256, "ECR repository"),
    "preview_repository": Name("{app}/previews", 256, "ECR repository"),
    "build_repository_key": Name("alias/{app}-build-repository", 256, "KMS alias"),
    "network": Name("{app}-{environment}", 256, "value of the tag Name"),
    "default_security_group": Name("{app}-{environment}-default-closed", 256, "value of the tag Name"),
    "network_key": Name("alias/{app}-{environment}-network", 256, "KMS alias"),
    "endpoints_security_group": Name("{app}-{environment}-endpoints", 255, "security group"),
    "secrets_endpoint_security_group": Name("{app}-{environment}-secrets-endpoint", 255, "security group"),
    "flow_log_group": Name("/{app}/{environment}/network", 512, "CloudWatch log group"),
    "flow_log_role": Name("{app}-{environment}-flow-logs", 64, "IAM role"),
    "database_cluster": Name("{app}-{environment}", 63, "RDS cluster"),
    "database_monitoring_role": Name("{app}-{environment}-database-monitoring", 64, "IAM role"),
    "database_log_groups": Name(
        "/aws/rds/cluster/{app}-{environment}", 501, "CloudWatch log group, before /postgresql"
    ),
    "database_name": Name("{app_underscored}", 63, "PostgreSQL database"),
    "database_key": Name("alias/{app}-{environment}-database", 256, "KMS alias"),
    "database_security_group": Name("{app}-{environment}-database", 255, "security group"),
    "role_manager": Name("{app}-{environment}-role-manager", 64, "Lambda function and its IAM role"),
    "role_manager_check": Name("{app}-{environment}-role-manager-check", 64, "EventBridge rule"),
    "role_manager_log_group": Name("/aws/lambda/{app}-{environment}-role-manager", 512, "CloudWatch log group"),
    "role_manager_security_group": Name("{app}-{environment}-role-manager", 255, "security group"),
    "service": Name("{app}-{environment}", 32, "load balancer, target group, ECS cluster and service"),
    "service_key": Name("alias/{app}-{environment}-service", 256, "KMS alias"),
    "service_log_group": Name("/{app}/{environment}/service", 512, "CloudWatch log group"),
    "sessions_log_group": Name("/{app}/{environment}/sessions", 512, "CloudWatch log group"),
    "cluster_log_group": Name(
        "/aws/ecs/containerinsights/{app}-{environment}/performance", 512, "CloudWatch log group"
    ),
    "firewall_log_group": Name("aws-waf-logs-{app}-{environment}", 512, "CloudWatch log group"),
    "service_security_group": Name("{app}-{environment}-service", 255, "security group"),
    "environment_security_group": Name("{app}-{environment}-service", 255, "security group"),
    "load_balancer_security_group": Name("{app}-{environment}-load-balancer", 255, "security group"),
    "log_bucket": Name("{app}-{environment}-logs-{account}", 63, "S3 bucket"),
    "files_bucket": Name("{app}-{environment}-files-{account}", 63, "S3 bucket"),
    "files_key": Name("alias/{app}-{environment}-files", 256, "KMS alias"),
    "files_malware": Name("{app}-{environment}-files-malware", 64, "EventBridge rule"),
    "files_scan_role": Name("{app}-{environment}-files-scan", 64, "IAM role"),
    "alarms_topic": Name("{app}-{environment}-alarms", 256, "SNS topic"),
    "failed_deployments": Name("{app}-{environment}-failed-deployments", 64, "EventBridge rule"),
    "migrate": Name("{app}-{environment}-migrate", 255, "ECS task definition"),
    "jobs": Name("{app}-{environment}-jobs", 64, "IAM role and EventBridge schedule group"),
    "jobs_dead_letters": Name("{app}-{environment}-jobs-dead-letters", 80, "SQS queue"),
    "job": Name(
        "{app}-{environment}-job",
        39,
        "EventBridge schedule and rule, ECS task definition, before - and a job's 24 characters",
    ),
    "task_role": Name("{app}-{environment}-task", 64, "IAM role"),
    "migrate_role": Name("{app}-{environment}-migrate", 64, "IAM role"),
    "execution_role": Name("{app}-{environment}-execution", 64, "IAM role"),
    "flags_application": Name("{app}-{environment}", 64, "AppConfig application"),
    "flags_environment": Name("{environment}", 64, "AppConfig environment"),
    "flags_profile": Name("flags", 128, "AppConfig configuration profile"),
    "flags_rollback_role": Name("{app}-{environment}-flags-rollback", 64, "IAM role"),
    "image_parameter": Name("/{app}/{environment}/image", 1011, "SSM parameter"),
    "commit_parameter": Name("/{app}/{environment}/commit", 1011, "SSM parameter"),
    "worker": Name(
        "{app}-{environment}-worker", 43, "IAM roles, before - and 20 characters of a worker; its queues have 80"
    ),
    "secrets_path": Name(
        "/{app}/{environment}/secrets", 882, "SSM parameters, before / and 128 characters of a secret"
    ),
    "incident_url_parameter": Name("/{app}/{environment}/incident-url", 1011, "SSM parameter"),
}
