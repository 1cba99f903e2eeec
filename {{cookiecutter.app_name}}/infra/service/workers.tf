# Workers: processes of the service's image that take messages from a queue each. project.yaml says which; without any,
# nothing here is made. They run where the service runs, with its variables, secrets and login to the database.

locals {
  workers = module.config.workers

  # Messages, waiting and in hand, for each task: above it tasks are added. Measure your own and change it.
  messages_per_task = 10

  queue_policies = {
    for queue in flatten([for worker in local.workers : [worker.name, worker.dead_letters]]) : queue => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Sid       = "OnlyTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "${local.arn.sqs}:${queue}"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }]
    })
  }

  # Without it every queue of the account, a preview's too, may have its messages put here, and nobody is asked for a right.
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
  no_dead_letters = jsonencode({ redrivePermission = "denyAll" })

  # SQS asks KMS for its callers. Whether China's services call themselves amazonaws.com.cn here is not documented.
  via_sqs = { StringLike = { "kms:ViaService" = "sqs.${local.region}.amazonaws.com*" } }

  send_messages = [
    {
      Sid      = "SendToWorkers"
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = [for worker in local.workers : "${local.arn.sqs}:${worker.name}"]
    },
    {
      # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
      Sid       = "EncryptMessages"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"] # SQS looks at what it encrypted
      Resource  = module.key.arn
      Condition = local.via_sqs
    },
  ]
}

resource "aws_sqs_queue" "worker" {
  for_each = local.workers

  name                       = each.value.name
  kms_master_key_id          = module.key.arn
  policy                     = local.queue_policies[each.value.name]
  visibility_timeout_seconds = each.value.visibility_seconds
  message_retention_seconds  = 4 * 24 * 60 * 60

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.key].arn
    maxReceiveCount     = each.value.max_receives
  })
  redrive_allow_policy = local.no_dead_letters
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = local.workers

  name              = each.value.dead_letters
  kms_master_key_id = module.key.arn
  policy            = local.queue_policies[each.value.dead_letters]
  # The longest that there is: a message keeps the time of its first queue.
  message_retention_seconds = 14 * 24 * 60 * 60

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.arn.sqs}:${each.value.name}"]
  })
}

# Its code: this queue, and what the service's may ask for as well.
resource "aws_iam_role" "worker" {
  for_each = local.workers

  name                 = each.value.name
  path                 = local.names.role_path
  description          = "Worker ${each.key} of ${local.names.service}"
  assume_role_policy   = local.trust_tasks
  permissions_boundary = local.permissions_boundary
}

resource "aws_iam_role_policy" "worker" {
  for_each = local.workers

  name = "work"
  role = aws_iam_role.worker[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid    = "TakeMessages"
          Effect = "Allow"
          Action = [
            "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
            "sqs:ChangeMessageVisibility", # work that takes long, or is given back
          ]
          Resource = "${local.arn.sqs}:${each.value.name}"
        },
        {
          Sid       = "DecryptMessages"
          Effect    = "Allow"
          Action    = "kms:Decrypt"
          Resource  = module.key.arn
          Condition = local.via_sqs
        },
      ],
      local.database ? [local.database_login.service] : [],
      local.read_flags,
    )
  })
}

resource "aws_ecs_task_definition" "worker" {
  for_each = local.workers

  family                   = each.value.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.settings.service.cpu
  memory                   = local.settings.service.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.worker[each.key].arn
  # As the service's: a rollback needs the revision before.
  skip_destroy = true

  container_definitions = jsonencode([merge(local.container, {
    command = each.value.command
    environment = [
      for name, value in merge(local.variables, local.database ? { DB_USER = local.database_user.service } : {}) :
      { name = name, value = value }
    ]
    mountPoints = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    logConfiguration = merge(local.log_configuration, {
      options = merge(local.log_configuration.options, { awslogs-stream-prefix = each.value.name })
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

resource "aws_ecs_service" "worker" {
  for_each = local.workers

  name                          = each.value.name
  cluster                       = aws_ecs_cluster.service.id
  task_definition               = aws_ecs_task_definition.worker[each.key].arn
  launch_type                   = "FARGATE"
  platform_version              = "LATEST"
  desired_count                 = each.value.min_tasks
  availability_zone_rebalancing = "ENABLED"
  enable_ecs_managed_tags       = true
  propagate_tags                = "SERVICE"
  # ops follows it with the service's.
  wait_for_steady_state = false

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = data.aws_subnets.private.ids
    security_groups  = local.task_security_groups
    assign_public_ip = false
  }

  lifecycle {
    # Autoscaling owns it.
    ignore_changes = [desired_count]
  }

  # Ways out and rights, as the service waits for them.
  depends_on = [aws_ecs_service.service, aws_iam_role_policy.worker]
}

resource "aws_appautoscaling_target" "worker" {
  for_each = local.workers

  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.service.name}/${aws_ecs_service.worker[each.key].name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = each.value.min_tasks
  max_capacity       = each.value.max_tasks
}

# Down to min_tasks, slowly: what a task has in hand counts, so the last one stays until it is done.
resource "aws_appautoscaling_policy" "worker" {
  for_each = local.workers

  name               = "${each.value.name}-backlog"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.worker[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.worker[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.worker[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = local.messages_per_task
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    customized_metric_specification {
      dynamic "metrics" {
        for_each = local.backlog_metrics[each.key]

        content {
          id          = metrics.key
          return_data = false

          metric_stat {
            stat = metrics.value.stat

            metric {
              namespace   = metrics.value.namespace
              metric_name = metrics.value.metric

              dynamic "dimensions" {
                for_each = metrics.value.dimensions

                content {
                  name  = dimensions.key
                  value = dimensions.value
                }
              }
            }
          }
        }
      }

      metrics {
        id          = "one"
        expression  = local.one
        return_data = false
      }

      metrics {
        id          = "backlog"
        label       = "Messages for each task"
        expression  = "SUM([waiting, in_hand]) / MAX([running, one])"
        return_data = true
      }
    }
  }
}

# A number of tasks times anything is 0 where it is 0: the first task comes when a message waits and nobody works.
resource "aws_appautoscaling_policy" "worker_first" {
  for_each = local.sleeping_workers

  name               = "${each.value.name}-first"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.worker[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.worker[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.worker[each.key].scalable_dimension

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    metric_aggregation_type = "Maximum"
    # Longer than a task takes to start and to be counted.
    cooldown = 180

    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = 1
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "worker_first" {
  for_each = local.sleeping_workers

  alarm_name          = "${each.value.name}-first"
  alarm_description   = "Messages wait for ${each.key} and no task works: it starts the first one, and is nothing to worry about."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.worker_first[each.key].arn]

  metric_query {
    id          = "unattended"
    label       = "Messages while no task runs"
    expression  = "IF(SUM([running, one]) < 2, waiting, 0)"
    return_data = true
  }

  metric_query {
    id          = "one"
    expression  = local.one
    return_data = false
  }

  dynamic "metric_query" {
    for_each = { for id, metric in local.backlog_metrics[each.key] : id => metric if id != "in_hand" }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
        stat        = metric_query.value.stat
        period      = 60
      }
    }
  }
}

locals {
  # A number of tasks that nobody has counted yet does not exist. SUM and MAX over a list pass over it, where there is another.
  one = "waiting * 0 + 1"

  sleeping_workers = { for name, worker in local.workers : name => worker if worker.min_tasks == 0 }

  backlog_metrics = {
    for name, worker in local.workers : name => {
      waiting = { namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", stat = "Maximum", dimensions = { QueueName = worker.name } }
      in_hand = { namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesNotVisible", stat = "Maximum", dimensions = { QueueName = worker.name } }
      running = { namespace = "ECS/ContainerInsights", metric = "RunningTaskCount", stat = "Average", dimensions = { ClusterName = local.names.service, ServiceName = worker.name } }
    }
  }

  queue_alarms = merge([
    for name, worker in local.workers : {
      "${worker.name}-age" = {
        queue     = worker.name
        metric    = "ApproximateAgeOfOldestMessage"
        threshold = local.settings.alarms.message_age_seconds
        minutes   = 5
        text      = "The oldest message of ${name} has waited for more than ${local.settings.alarms.message_age_seconds} s: work comes faster than it is done, or is not done at all. make queue NAME=${name} shows the queue, make logs why its tasks fail; is max_tasks reached? docs/runbooks/queues.md"
      }
      "${worker.name}-dead-letters" = {
        queue     = worker.dead_letters
        metric    = "ApproximateNumberOfMessagesVisible"
        threshold = 0
        minutes   = 1
        text      = "Messages of ${name} failed ${worker.max_receives} times and were put aside: what they ask for is not done. make queue NAME=${name} shows them, make logs why; then redrive or purge them. docs/runbooks/queues.md"
      }
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "worker" {
  for_each = local.queue_alarms

  alarm_name          = each.key
  alarm_description   = each.value.text
  namespace           = "AWS/SQS"
  metric_name         = each.value.metric
  dimensions          = { QueueName = each.value.queue }
  statistic           = "Maximum"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = each.value.minutes
  datapoints_to_alarm = each.value.minutes
  # A queue that nobody uses reports nothing.
  treat_missing_data = "notBreaching"
  alarm_actions      = [aws_sns_topic.alarms.arn]
  ok_actions         = [aws_sns_topic.alarms.arn]
}
