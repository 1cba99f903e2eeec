# A Terraform workspace beside prod: a service of its own on prod's network and database, without protections.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  project_file = "./tests/complete.yaml"
  image_digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  workspace    = "pr-12"
}

run "beside_prod" {
  variables {
    environment = "prod"
  }

  override_data {
    target = data.aws_security_groups.environment[0]
    values = { ids = ["sg-prod-service"] }
  }

  assert {
    condition = (
      data.aws_vpc.network.tags == tomap({ Name = "shop-prod", application = "shop", environment = "prod" }) && one(data.aws_rds_cluster.database).cluster_identifier == "shop-prod" &&
      local.repository_arn == "arn:aws:ecr:eu-west-1:123456789012:repository/shop/previews"
    )
    error_message = "it is on prod's network and database, and runs no image that could be a release"
  }
  assert {
    condition = (
      toset(aws_ecs_service.service.network_configuration[0].security_groups) == toset([aws_security_group.service.id, "sg-prod-service"]) &&
      length(data.aws_security_group.database) + length(data.aws_security_group.endpoints) + length(aws_vpc_security_group_ingress_rule.database_from_service) +
      length(aws_vpc_security_group_ingress_rule.endpoints_from_service) == 0
    )
    error_message = "it reaches what prod's service reaches, and changes none of prod's security groups"
  }
  assert {
    condition = alltrue([
      for role in concat([aws_iam_role.execution, aws_iam_role.task], aws_iam_role.migrate, aws_iam_role.flags_rollback) :
      role.permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-prod-temporary-boundary" && role.path == "/shop/prod/"
    ])
    error_message = "its roles may do less than prod's"
  }
  assert {
    condition = alltrue([
      for name in concat(
        [
          aws_lb.service.name, aws_lb_target_group.service.name, aws_ecs_cluster.service.name, aws_ecs_service.service.name,
          aws_ecs_task_definition.service.family, aws_ecs_task_definition.migrate[0].family,
          aws_security_group.load_balancer.name, aws_security_group.service.name, aws_s3_bucket.logs.bucket, aws_s3_bucket.files[0].bucket,
          aws_iam_role.execution.name, aws_iam_role.task.name, aws_iam_role.migrate[0].name, aws_iam_role.flags_rollback[0].name,
          aws_sns_topic.alarms.name, aws_cloudwatch_event_rule.failed_deployments.name, aws_cloudwatch_dashboard.service.dashboard_name,
          aws_appconfig_application.flags[0].name, aws_appconfig_deployment_strategy.immediate[0].name,
          aws_cloudwatch_metric_alarm.errors.alarm_name, aws_cloudwatch_metric_alarm.latency.alarm_name,
        ],
        values(aws_cloudwatch_metric_alarm.service)[*].alarm_name,
        values(aws_sqs_queue.worker)[*].name, values(aws_sqs_queue.dead_letters)[*].name, values(aws_ecs_service.worker)[*].name,
        values(aws_ecs_task_definition.worker)[*].family, values(aws_iam_role.worker)[*].name, values(aws_cloudwatch_metric_alarm.worker)[*].alarm_name,
      ) : startswith(name, "shop-prod-pr-12")
    ])
    error_message = "whatever it makes has a name of its own"
  }
  assert {
    condition     = length(aws_appconfig_deployment_strategy.gradual) == 0
    error_message = "of the few strategies that AWS has it takes one"
  }
  assert {
    condition = alltrue([
      for group in [aws_cloudwatch_log_group.service, aws_cloudwatch_log_group.sessions] :
      startswith(group.name, "/shop/prod/pr-12/") && group.retention_in_days == 7
    ])
    error_message = "its logs are its own and short-lived"
  }
  assert {
    condition     = !aws_lb.service.enable_deletion_protection && aws_s3_bucket.logs.force_destroy
    error_message = "it can be taken down at once, although prod is protected"
  }
  assert {
    condition = (
      aws_s3_bucket.files[0].force_destroy && length(aws_guardduty_malware_protection_plan.files) + length(aws_iam_role.files_scan) + length(aws_cloudwatch_event_rule.files_malware) == 0 &&
      one(one([for rule in aws_s3_bucket_lifecycle_configuration.files[0].rule : rule if rule.id == "old-files"]).expiration).days == 7 &&
      strcontains(aws_s3_bucket_policy.files[0].policy, "arn:aws:iam::123456789012:role/shop/prod/shop-prod-pr-12-task") && !strcontains(aws_s3_bucket_policy.files[0].policy, "shop-prod-task")
    )
    error_message = "its files are its own, last a week, and are not scanned"
  }
  assert {
    condition     = output.url == "https://pr-12.prod.shop.example.com"
    error_message = "it answers below prod's name"
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.database) == 0 && length(data.aws_ssm_parameters_by_path.environment) == 0 && length(aws_sns_topic_subscription.incident) == 0
    error_message = "prod watches the database; nobody is called for a temporary environment"
  }
  assert {
    condition     = length(aws_scheduler_schedule.job) + length(aws_scheduler_schedule_group.jobs) + length(aws_ecs_task_definition.job) + length(aws_sqs_queue.jobs_dead_letters) + length(aws_iam_role.jobs) == 0
    error_message = "nothing is scheduled in it"
  }
  assert {
    condition     = one(aws_ecs_service.service.alarms).alarm_names == toset(["shop-prod-pr-12-errors", "shop-prod-pr-12-latency"])
    error_message = "its deployments are rolled back on its own alarms"
  }
}

run "nothing_to_run_beside" {
  command = plan
  variables {
    environment = "prod"
  }

  override_data {
    target = data.aws_security_groups.environment[0]
    values = { ids = [] }
  }

  expect_failures = [aws_security_group.service]
}

run "a_name_too_long_for_a_load_balancer_is_refused" {
  command = plan

  module {
    source = "../config"
  }

  variables {
    environment = "prod"
    workspace   = "pull-request-of-somebody-1234"
  }

  expect_failures = [output.project]
}
