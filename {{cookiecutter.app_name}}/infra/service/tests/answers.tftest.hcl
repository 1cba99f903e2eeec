# Components turned off, the other answers, and the other partitions.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  image_digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  environment  = "prod"
}

run "nothing_optional" {
  variables {
    project_file = "../config/tests/minimal.yaml"
  }

  assert {
    condition = (
      length(data.aws_rds_cluster.database) == 0 && length(aws_ecs_task_definition.migrate) == 0 && length(aws_iam_role.migrate) == 0 &&
      length(aws_vpc_security_group_egress_rule.service_to_database) == 0 && length(aws_vpc_security_group_ingress_rule.database_from_service) == 0 &&
      length(aws_cloudwatch_metric_alarm.database) == 0 && output.migrate_task_family == null
    )
    error_message = "nothing of a database"
  }
  assert {
    condition     = length(aws_appconfig_application.flags) == 0 && length(aws_appconfig_deployment.first) == 0 && length(aws_iam_role.flags_rollback) == 0
    error_message = "nothing of feature flags"
  }
  assert {
    condition = toset(jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment[*].name) == toset([
      "APP_NAME", "AWS_REGION", "ENVIRONMENT", "LOG_LEVEL", "PORT", "RELEASE",
    ])
    error_message = "the service's environment names no database and no flags"
  }
  assert {
    condition = (
      !contains(keys(jsondecode(aws_ecs_task_definition.service.container_definitions)[0]), "secrets") && length(data.aws_kms_alias.secrets) == 0 &&
      length(jsondecode(aws_iam_role_policy.execution.policy).Statement) == 3
    )
    error_message = "without secrets nothing of them, and no right to any"
  }
  assert {
    condition = (
      length(aws_scheduler_schedule_group.jobs) + length(aws_sqs_queue.jobs_dead_letters) + length(aws_sqs_queue_policy.jobs_dead_letters) +
      length(aws_iam_role.jobs) + length(aws_iam_role_policy.jobs) + length(aws_cloudwatch_metric_alarm.jobs_dead_letters) == 0
    )
    error_message = "without jobs nothing of them"
  }
  assert {
    condition = (
      length(aws_sqs_queue.worker) + length(aws_sqs_queue.dead_letters) + length(aws_ecs_service.worker) + length(aws_iam_role.worker) +
      length(aws_cloudwatch_metric_alarm.worker) + length([for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement if strcontains(jsonencode(statement), "sqs")]) == 0
    )
    error_message = "without workers nothing of them, and no right to any queue"
  }
  assert {
    condition = (
      length(aws_s3_bucket.files) + length(module.files_key) + length(aws_s3_bucket_policy.files) + length(aws_s3_bucket_metric.files) +
      length(aws_guardduty_malware_protection_plan.files) + length(aws_iam_role.files_scan) + length(aws_cloudwatch_metric_alarm.file_errors) == 0 &&
      length([for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement if strcontains(jsonencode(statement), "s3:")]) == 0 &&
      length(jsondecode(aws_s3_bucket_policy.logs.policy).Statement) == 2
    )
    error_message = "without storage nothing of it, and no right to any bucket"
  }
  assert {
    condition     = toset(keys(local.platform_variables)) == toset(module.config.platform_variables)
    error_message = "infra/config refuses exactly the names that the platform sets"
  }
  assert {
    condition     = length(data.aws_ssm_parameters_by_path.environment) == 0 && length(aws_sns_topic_subscription.incident) == 0
    error_message = "no incident management, no secret read"
  }
  assert {
    condition = (
      one(aws_lb_listener.http.default_action).type == "forward" && length(aws_lb_listener.https) == 0 &&
      length(aws_acm_certificate.service) == 0 && length(aws_vpc_security_group_ingress_rule.https) == 0 &&
      output.url == "http://shop-1.eu-west-1.elb.amazonaws.com"
    )
    error_message = "without a domain HTTP only, at the load balancer's own name"
  }
  assert {
    condition     = aws_iam_role.task.permissions_boundary == "arn:aws-us-gov:iam::123456789012:policy/tiny/github-actions/tiny-prod-boundary"
    error_message = "ARNs are of the partition aws-us-gov"
  }
}

run "china_with_nat_gateways" {
  variables {
    project_file = "./tests/china.yaml"
  }

  override_data {
    target = data.aws_ssm_parameters_by_path.environment[0]
    values = { names = ["/shop/prod/image", "/shop/prod/incident-url"] }
  }
  override_data {
    target = data.aws_ssm_parameter.incident[0]
    values = { value = "https://alert.victorops.com/integrations/cloudwatch/20131130/alert/KEY/ROUTING" }
  }

  assert {
    condition = (
      length(data.aws_security_group.endpoints) == 0 && length(aws_vpc_security_group_egress_rule.service_to_endpoints) == 0 &&
      one(aws_vpc_security_group_egress_rule.service_to_internet).cidr_ipv4 == "0.0.0.0/0" &&
      one(aws_vpc_security_group_egress_rule.service_to_internet).from_port == 443 && one(aws_vpc_security_group_egress_rule.service_to_internet).to_port == 443
    )
    error_message = "with NAT gateways HTTPS to the internet, and no endpoints"
  }
  assert {
    condition     = one(aws_ecs_task_definition.service.runtime_platform).cpu_architecture == "X86_64" && one(aws_ecs_task_definition.migrate[0].runtime_platform).cpu_architecture == "X86_64"
    error_message = "tasks run on the architecture that was chosen"
  }
  assert {
    condition = !strcontains(join(" ", concat(
      [for role in [aws_iam_role.execution, aws_iam_role.task, aws_iam_role.migrate[0]] : "${role.permissions_boundary} ${role.assume_role_policy}"],
      [for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.task, aws_iam_role_policy.migrate[0]] : replace(replace(policy.policy, local.repository_arn, ""), module.key.arn, "")],
      [aws_cloudwatch_event_rule.failed_deployments.event_pattern],
    )), "arn:aws:")
    error_message = "no ARN of another partition"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.database["database-connections"].threshold == 151
    error_message = "1 ACU allows 189 connections; 80 % of that"
  }
  assert {
    condition     = [for variable in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment : variable.value if variable.name == "DB_USER"] == ["writer"]
    error_message = "the service logs in as the role that reads and writes, whatever its name"
  }
  assert {
    condition = (
      one(aws_sns_topic_subscription.incident).protocol == "https" && one(aws_sns_topic_subscription.incident).endpoint_auto_confirms &&
      nonsensitive(one(aws_sns_topic_subscription.incident).endpoint) == "https://alert.victorops.com/integrations/cloudwatch/20131130/alert/KEY/ROUTING" &&
      jsondecode(one(aws_sns_topic_subscription.incident).filter_policy) == { AlarmName = [{ exists = true }] } &&
      one(aws_sns_topic_subscription.incident).filter_policy_scope == "MessageBody"
    )
    error_message = "Splunk On-Call is subscribed with the URL of the parameter and gets alarms only"
  }
}

run "government_with_flags_and_email" {
  variables {
    project_file = "./tests/government.yaml"
  }

  override_data {
    target = data.aws_ssm_parameters_by_path.environment[0]
    values = { names = ["/shop/prod/incident-url"] }
  }
  override_data {
    target = data.aws_ssm_parameter.incident[0]
    values = { value = "on-call@example.com" }
  }

  assert {
    condition = (
      one(aws_sns_topic_subscription.incident).protocol == "email" && !one(aws_sns_topic_subscription.incident).endpoint_auto_confirms &&
      one(aws_sns_topic_subscription.incident).filter_policy == null
    )
    error_message = "a person gets an e-mail of everything"
  }
  assert {
    condition     = length(aws_appconfig_environment.flags) == 1 && length(aws_ecs_task_definition.migrate) == 0
    error_message = "flags need no database"
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.flags_rollback[0].policy).Statement[0].Resource == "arn:aws-us-gov:cloudwatch:us-gov-west-1:123456789012:alarm:*"
    error_message = "ARNs are of the partition aws-us-gov"
  }
}

run "an_address_where_a_url_belongs_is_refused" {
  command = plan

  variables {
    project_file = "./tests/complete.yaml"
  }

  override_data {
    target = data.aws_ssm_parameters_by_path.environment[0]
    values = { names = ["/shop/prod/incident-url"] }
  }
  override_data {
    target = data.aws_ssm_parameter.incident[0]
    values = { value = "on-call@example.com" }
  }

  expect_failures = [aws_sns_topic_subscription.incident]
}

run "a_tag_where_a_digest_belongs_is_refused" {
  command = plan

  variables {
    project_file = "../config/tests/minimal.yaml"
    image_digest = "latest"
  }

  expect_failures = [var.image_digest]
}

run "an_unknown_environment_is_refused" {
  command = plan

  module {
    source = "../config"
  }

  variables {
    project_file = "../config/tests/minimal.yaml"
    environment  = "qa"
  }

  expect_failures = [output.environment]
}
