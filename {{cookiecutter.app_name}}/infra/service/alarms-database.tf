# Alarms on the environment's database and its role manager. They are here because their topic is. A paused database
# reports nothing, and that is well.

locals {
  database_capacity = {
    min = try(local.settings.database.min_capacity, 0)
    max = try(local.settings.database.max_capacity, 0)
  }

  # The default of max_connections follows from the memory of max_capacity: AWS's table gives 189 at 1 ACU, 823 at 4,
  # 1,669 at 8, 3,360 at 16 and 5,000 from 24 on, and 2,000 at most with a min_capacity of 0 or 0.5. Between the
  # rows it is a straight line.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html#aurora-serverless-v2.max-connections
  database_connections_allowed = min(
    floor(211.4 * local.database_capacity.max - 21.9),
    local.database_capacity.min <= 0.5 ? 2000 : 5000,
  )

  database_alarms = {
    database-capacity = {
      reason     = "The database works at more than ${local.settings.alarms.database_capacity_percent} % of max_capacity (${local.database_capacity.max} ACU): beyond it queries wait."
      action     = "Find the queries that got more or slower (Performance Insights), or raise database.max_capacity in project.yaml."
      namespace  = "AWS/RDS"
      metric     = "ACUUtilization"
      dimensions = tomap({ DBClusterIdentifier = local.names.database_cluster })
      statistic  = "Maximum"
      threshold  = local.settings.alarms.database_capacity_percent
      kind       = "sustained"
    }
    database-connections = {
      reason     = "More than ${local.settings.alarms.database_connections_percent} % of the ${local.database_connections_allowed} connections that max_capacity allows are open; the next ones are refused."
      action     = "Tasks times the size of their pool must fit. Look for connections that are not given back."
      namespace  = "AWS/RDS"
      metric     = "DatabaseConnections"
      dimensions = tomap({ DBClusterIdentifier = local.names.database_cluster })
      statistic  = "Maximum"
      threshold  = floor(local.database_connections_allowed * local.settings.alarms.database_connections_percent / 100)
      kind       = "sustained"
    }
    database-transaction-ids = {
      reason     = "The oldest transaction is ${local.settings.alarms.database_transaction_ids} transactions old; at 2.1e9 PostgreSQL stops accepting writes."
      action     = "Autovacuum is held up: end old transactions and prepared ones, drop unused replication slots, then VACUUM."
      namespace  = "AWS/RDS"
      metric     = "MaximumUsedTransactionIDs"
      dimensions = tomap({ DBClusterIdentifier = local.names.database_cluster })
      statistic  = "Maximum"
      threshold  = local.settings.alarms.database_transaction_ids
      kind       = "sustained"
    }
    role-manager-errors = {
      reason     = "The role manager failed, left objects that it may not change on its own, or its daily check found drift."
      action     = "make roles ACTION=plan lists what differs and what would mend it: ~ is done by ACTION=apply, ! by a person, in its words."
      namespace  = "AWS/Lambda"
      metric     = "Errors"
      dimensions = tomap({ FunctionName = local.names.role_manager })
      statistic  = "Sum"
      threshold  = 0
      kind       = "event"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "database" {
  for_each = { for name, alarm in local.database_alarms : name => alarm if local.database_watched }

  alarm_name          = "${local.names.service}-${each.key}"
  alarm_description   = "${each.value.reason} ${each.value.action}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = local.alarm_minutes[each.value.kind].of
  datapoints_to_alarm = local.alarm_minutes[each.value.kind].bad
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
