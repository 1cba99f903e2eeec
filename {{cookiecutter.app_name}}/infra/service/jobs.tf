# Commands that run on a schedule, by setting: a task each, in the service's image, with its network, variables, secrets
# and roles. A temporary environment has none.
#
# Two runs of a job are never at the same time unless project.yaml says overlap. EventBridge Scheduler may deliver late or
# twice, so: a run is over, killed if need be, timeout_minutes after the moment for which it was scheduled (app/job.py),
# infra/config refuses a timeout that is longer than the time between two runs, and ECS starts one task for one ClientToken.
# That takes no lock, no permission and no database.

locals {
  jobs         = module.config.jobs
  job_families = { for name in keys(local.jobs) : name => "${local.names.job}-${name}" }

  # What a job is given beside the service's variables.
  job_variables = {
    for name, job in local.jobs : name => {
      JOB_NAME            = name
      JOB_TIMEOUT_SECONDS = tostring(job.timeout_minutes * 60)
    }
  }
  # EventBridge Scheduler puts the moment in place of this.
  # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
  scheduled_time = "<aws.scheduler.scheduled-time>"

  # How ops and the schedules call themselves in a task's startedBy.
  started_by_schedule = "schedule"
}

resource "aws_ecs_task_definition" "job" {
  for_each = local.jobs

  family                   = local.job_families[each.key]
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  # The schedule names a revision: the old one is there until it names the new one. `make down` removes them all.
  skip_destroy = true

  container_definitions = jsonencode([merge(local.container, {
    command = concat(["python", "-m", "app.job"], each.value.command)
    environment = [
      for name, value in merge(local.variables, local.database ? { DB_USER = local.database_user.service } : {}, local.job_variables[each.key]) :
      { name = name, value = value }
    ]
    mountPoints = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    logConfiguration = merge(local.log_configuration, {
      options = merge(local.log_configuration.options, { awslogs-stream-prefix = "job-${each.key}" })
    })
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = upper(local.project.cpu_architecture)
  }

  volume {
    name = "tmp"
  }
}

# A group of its own, because a role can trust no less than a group of schedules.
resource "aws_scheduler_schedule_group" "jobs" {
  count = length(local.jobs) > 0 ? 1 : 0

  name = local.names.jobs
}

resource "aws_scheduler_schedule" "job" {
  #checkov:skip=CKV_AWS_297:It holds what stands in this file, and no secret
  for_each = local.jobs

  name                         = local.job_families[each.key]
  group_name                   = aws_scheduler_schedule_group.jobs[0].name
  description                  = "${each.key} of ${local.names.service}"
  schedule_expression          = each.value.schedule
  schedule_expression_timezone = each.value.time_zone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:${module.config.partition}:scheduler:::aws-sdk:ecs:runTask"
    role_arn = aws_iam_role.jobs[0].arn

    # jsonencode writes < and > in another form, in which they are no placeholder.
    input = replace(replace(jsonencode({
      ClientToken    = "${substr(sha256(local.job_families[each.key]), 0, 16)}-${local.scheduled_time}"
      Cluster        = aws_ecs_cluster.service.name
      TaskDefinition = aws_ecs_task_definition.job[each.key].arn
      LaunchType     = "FARGATE"
      StartedBy      = local.started_by_schedule
      NetworkConfiguration = { AwsvpcConfiguration = {
        Subnets        = sort(data.aws_subnets.private.ids)
        SecurityGroups = [aws_security_group.service.id]
        AssignPublicIp = "DISABLED"
      } }
      Overrides = { ContainerOverrides = [{
        Name        = local.container_name
        Environment = [{ Name = "JOB_SCHEDULED_AT", Value = local.scheduled_time }]
      }] }
    }), "\\u003c", "<"), "\\u003e", ">")

    # After its timeout a run has no time left.
    retry_policy {
      maximum_event_age_in_seconds = each.value.timeout_minutes * 60
      maximum_retry_attempts       = 20
    }

    dead_letter_config {
      arn = aws_sqs_queue.jobs_dead_letters[0].arn
    }
  }

  depends_on = [aws_iam_role_policy.jobs]
}

# What could not be started, with the reason. AWS's own encryption: it holds what stands in this file, and no secret.
resource "aws_sqs_queue" "jobs_dead_letters" {
  count = length(local.jobs) > 0 ? 1 : 0

  name                      = local.names.jobs_dead_letters
  message_retention_seconds = 14 * 24 * 3600
  sqs_managed_sse_enabled   = true
  redrive_allow_policy      = local.no_dead_letters # EventBridge Scheduler sends them itself
}

resource "aws_sqs_queue_policy" "jobs_dead_letters" {
  count = length(local.jobs) > 0 ? 1 : 0

  queue_url = aws_sqs_queue.jobs_dead_letters[0].url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.jobs_dead_letters[0].arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# EventBridge Scheduler, for the schedules above.
resource "aws_iam_role" "jobs" {
  count = length(local.jobs) > 0 ? 1 : 0

  name                 = local.names.jobs
  path                 = local.names.role_path
  description          = "EventBridge Scheduler starts the jobs of ${local.names.service}"
  permissions_boundary = local.permissions_boundary

  # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = {
        "aws:SourceAccount" = local.account_id
        "aws:SourceArn"     = aws_scheduler_schedule_group.jobs[0].arn
      } }
    }]
  })
}

resource "aws_iam_role_policy" "jobs" {
  count = length(local.jobs) > 0 ? 1 : 0

  name = "start-jobs"
  role = aws_iam_role.jobs[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "StartJobs"
        Effect    = "Allow"
        Action    = "ecs:RunTask"
        Resource  = [for family in values(local.job_families) : "${local.arn.ecs}:task-definition/${family}:*"]
        Condition = { ArnEquals = { "ecs:cluster" = "${local.arn.ecs}:cluster/${local.names.service}" } }
      },
      {
        Sid      = "GiveThemTheServicesRoles"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = [aws_iam_role.execution.arn, aws_iam_role.task.arn]
        # Ends in * because whether China's services call themselves amazonaws.com.cn here is not documented.
        Condition = { StringLike = { "iam:PassedToService" = "ecs-tasks.amazonaws.com*" } }
      },
      {
        Sid      = "KeepWhatCouldNotBeStarted"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.jobs_dead_letters[0].arn
      },
    ]
  })
}

# A scheduled run that failed is told twice: at once in words, and as an alarm, the only form that incident management
# takes. Every end that is not exit code 0 is one: a timeout, a task that could not start, one that somebody stopped. Who
# types `make job` sees the end himself.
resource "aws_cloudwatch_event_rule" "job" {
  for_each = local.jobs

  name        = local.job_families[each.key]
  description = "A scheduled run of ${each.key} of ${local.names.service} failed"

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail = {
      clusterArn        = ["${local.arn.ecs}:cluster/${local.names.service}"]
      taskDefinitionArn = [{ prefix = "${local.arn.ecs}:task-definition/${local.job_families[each.key]}:" }]
      startedBy         = [local.started_by_schedule]
      lastStatus        = ["STOPPED"]
      containers        = { exitCode = [{ anything-but = [0] }, { exists = false }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "job" {
  for_each = local.jobs

  rule      = aws_cloudwatch_event_rule.job[each.key].name
  target_id = "alarms-topic"
  arn       = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      task   = "$.detail.taskArn"
      reason = "$.detail.stoppedReason"
      time   = "$.time"
    }
    input_template = "\"${local.names.service}: the job ${each.key} failed at <time>: <reason> (<task>). make jobs ENV=${var.environment} shows its last runs.\""
  }

  depends_on = [aws_sns_topic_policy.alarms]
}

resource "aws_cloudwatch_metric_alarm" "job" {
  for_each = local.jobs

  alarm_name          = local.job_families[each.key]
  alarm_description   = "A scheduled run of the job ${each.key} failed, was too slow or could not start: its work is not done. make jobs ENV=${var.environment} shows the last runs; docs/runbooks/jobs.md says how to go on."
  namespace           = "AWS/Events"
  metric_name         = "TriggeredRules"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.job[each.key].name }
  statistic           = "Sum"
  period              = 60
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = local.alarm_minutes.event.of
  datapoints_to_alarm = local.alarm_minutes.event.bad
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "jobs_dead_letters" {
  count = length(local.jobs) > 0 ? 1 : 0

  alarm_name          = local.names.jobs_dead_letters
  alarm_description   = "EventBridge Scheduler could not start a job and gave up: that run is missing. make jobs ENV=${var.environment} shows which one and why; docs/runbooks/jobs.md says how to go on."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.jobs_dead_letters[0].name }
  statistic           = "Maximum"
  period              = 60
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = 1
  datapoints_to_alarm = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
