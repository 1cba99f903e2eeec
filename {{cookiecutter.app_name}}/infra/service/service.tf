# How many tasks run, and how a new version replaces the old one. A version is rolled back when its tasks do not become
# healthy (circuit breaker) or when callers notice (alarms).

resource "aws_ecs_service" "service" {
  name                              = local.names.service
  cluster                           = aws_ecs_cluster.service.id
  task_definition                   = aws_ecs_task_definition.service.arn
  launch_type                       = "FARGATE"
  platform_version                  = "LATEST"
  desired_count                     = local.settings.service.min_tasks
  availability_zone_rebalancing     = "ENABLED"
  health_check_grace_period_seconds = 60
  enable_execute_command            = true
  enable_ecs_managed_tags           = true
  propagate_tags                    = "SERVICE"
  # ops follows the deployment and says what happens; Terraform would only wait.
  wait_for_steady_state = false

  # New tasks are healthy before old ones stop.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  alarms {
    enable      = true
    rollback    = true
    alarm_names = [for alarm in local.rollback_alarms : alarm.alarm_name]
  }

  network_configuration {
    subnets          = data.aws_subnets.private.ids
    security_groups  = local.task_security_groups
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.service.arn
    container_name   = local.container_name
    container_port   = local.container_port
  }

  lifecycle {
    # Autoscaling owns it.
    ignore_changes = [desired_count]
  }

  # A target group that no listener uses is refused. Without their policies and rules the first tasks would fail.
  depends_on = [
    aws_lb_listener.http,
    aws_lb_listener.https,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.task,
    aws_vpc_security_group_egress_rule.service_to_database,
    aws_vpc_security_group_egress_rule.service_to_endpoints,
    aws_vpc_security_group_egress_rule.service_to_internet,
    aws_vpc_security_group_egress_rule.service_to_s3,
    aws_vpc_security_group_egress_rule.service_to_secrets_endpoint,
    aws_vpc_security_group_ingress_rule.database_from_service,
    aws_vpc_security_group_ingress_rule.endpoints_from_service,
    aws_vpc_security_group_ingress_rule.secrets_endpoint_from_service,
    aws_vpc_security_group_ingress_rule.service_from_load_balancer,
  ]
}

resource "aws_appautoscaling_target" "service" {
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.service.name}/${aws_ecs_service.service.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = local.settings.service.min_tasks
  max_capacity       = local.settings.service.max_tasks
}

# Each policy asks for a number of tasks and the larger one wins: quick to add, slow to take away.
locals {
  scaling = {
    cpu = {
      metric = "ECSServiceAverageCPUUtilization"
      label  = null
      # Percent. Room for a burst until new tasks have started, about a minute.
      target = 60
    }
    requests = {
      metric = "ALBRequestCountPerTarget"
      label  = "${aws_lb.service.arn_suffix}/${aws_lb_target_group.service.arn_suffix}"
      # Requests a minute and task: 40 a second for each quarter of a vCPU. Measure your own service and change it.
      target = local.settings.service.cpu / 256 * 40 * 60
    }
  }
}

resource "aws_appautoscaling_policy" "service" {
  for_each = local.scaling

  name               = "${local.names.service}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.service.service_namespace
  resource_id        = aws_appautoscaling_target.service.resource_id
  scalable_dimension = aws_appautoscaling_target.service.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = each.value.target
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
      resource_label         = each.value.label
    }
  }
}
