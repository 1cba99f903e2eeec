# Alarms on the service. Thresholds are in project.yaml; every description says why it matters and what to do.

locals {
  # The two that callers notice; they also roll back deployments and feature flags.
  rollback_alarms = {
    errors  = aws_cloudwatch_metric_alarm.errors
    latency = aws_cloudwatch_metric_alarm.latency
  }

  # Fewer requests a minute than this are no evidence: one failure among five would be 20 %.
  errors_minimum_requests = 10

  service_dimensions       = { ClusterName = local.names.service, ServiceName = local.names.service }
  load_balancer_dimensions = { LoadBalancer = aws_lb.service.arn_suffix }
  target_group_dimensions  = { LoadBalancer = aws_lb.service.arn_suffix, TargetGroup = aws_lb_target_group.service.arn_suffix }

  service_alarms = {
    unhealthy-hosts = {
      reason     = "A task has failed the load balancer's health check for five minutes; the others carry its load."
      action     = "Read its log (make logs) and the service's events (make status); ECS replaces it by itself."
      namespace  = "AWS/ApplicationELB"
      metric     = "UnHealthyHostCount"
      dimensions = local.target_group_dimensions
      statistic  = "Maximum"
      comparison = "GreaterThanOrEqualToThreshold"
      threshold  = 1
      kind       = "sustained"
      missing    = "notBreaching"
    }
    cpu = {
      reason     = "Above ${local.settings.alarms.cpu_percent} % there is no room for a burst; autoscaling should have added tasks long before."
      action     = "Is max_tasks reached (make status)? Raise it or service.cpu in project.yaml, or find what got slower."
      namespace  = "AWS/ECS"
      metric     = "CPUUtilization"
      dimensions = local.service_dimensions
      statistic  = "Average"
      comparison = "GreaterThanThreshold"
      threshold  = local.settings.alarms.cpu_percent
      kind       = "sustained"
      missing    = "notBreaching"
    }
    memory = {
      reason     = "A task that runs out of memory is killed, with the requests it was answering."
      action     = "Look for growth since the last deployment; roll back, or raise service.memory in project.yaml."
      namespace  = "AWS/ECS"
      metric     = "MemoryUtilization"
      dimensions = local.service_dimensions
      statistic  = "Average"
      comparison = "GreaterThanThreshold"
      threshold  = local.settings.alarms.memory_percent
      kind       = "sustained"
      missing    = "notBreaching"
    }
    running-tasks = {
      reason     = "Fewer tasks run than min_tasks (${local.settings.service.min_tasks}): they stop or cannot start."
      action     = "make status shows why the last tasks stopped."
      namespace  = "ECS/ContainerInsights"
      metric     = "RunningTaskCount"
      dimensions = local.service_dimensions
      statistic  = "Minimum"
      comparison = "LessThanThreshold"
      threshold  = local.settings.service.min_tasks
      kind       = "sustained"
      # No number is no task, or nobody who counts.
      missing = "breaching"
    }
    failed-deployments = {
      reason     = "A deployment failed and ECS went back to the version before: what you deployed does not run."
      action     = "make status shows the reason; make logs what the new tasks said."
      namespace  = "AWS/Events"
      metric     = "TriggeredRules"
      dimensions = { RuleName = local.names.failed_deployments }
      statistic  = "Sum"
      comparison = "GreaterThanOrEqualToThreshold"
      threshold  = 1
      kind       = "event"
      missing    = "notBreaching"
    }
  }

  # An alarm goes off when all of the last five minutes were bad; on an event, for an hour, so that somebody sees it.
  alarm_minutes = {
    sustained = { of = 5, bad = 5 }
    event     = { of = 60, bad = 1 }
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${local.names.service}-errors"
  alarm_description   = "More than ${local.settings.alarms.error_percent} % of the answers are 5XX in three of five minutes: callers see it. Was something deployed or a flag changed (make status)? Roll it back; else read make logs."
  comparison_operator = "GreaterThanThreshold"
  threshold           = local.settings.alarms.error_percent
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  # RequestCount leaves out what the load balancer answered for want of a task, so those are added. SUM over a list passes
  # over a counter that has counted nothing yet and so does not exist; a + b would have no value then.
  metric_query {
    id          = "percent"
    label       = "5XX answers, percent"
    expression  = "IF(SUM([requests, balancer]) >= ${local.errors_minimum_requests}, 100 * SUM([service, balancer]) / SUM([requests, balancer]), 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = {
      requests = "RequestCount"
      service  = "HTTPCode_Target_5XX_Count"
      balancer = "HTTPCode_ELB_5XX_Count"
    }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        dimensions  = local.load_balancer_dimensions
        stat        = "Sum"
        period      = 60
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "latency" {
  alarm_name          = "${local.names.service}-latency"
  alarm_description   = "The slowest 1 % of the answers took longer than ${local.settings.alarms.latency_p99_seconds} s in three of five minutes. Was something deployed or a flag changed (make status)? Roll it back; else look at the database and at CPU."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "TargetResponseTime"
  dimensions          = local.load_balancer_dimensions
  extended_statistic  = "p99"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = local.settings.alarms.latency_p99_seconds
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  # The 99th percentile of a handful of requests is its slowest one.
  evaluate_low_sample_count_percentiles = "ignore"
}

resource "aws_cloudwatch_metric_alarm" "service" {
  for_each = local.service_alarms

  alarm_name          = "${local.names.service}-${each.key}"
  alarm_description   = "${each.value.reason} ${each.value.action}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = local.alarm_minutes[each.value.kind].of
  datapoints_to_alarm = local.alarm_minutes[each.value.kind].bad
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
