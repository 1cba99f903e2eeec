# The numbers that the alarms watch, on one page.

locals {
  widgets = concat(
    [
      {
        title = "Requests and 5XX answers"
        stat  = "Sum"
        metrics = [for metric in ["RequestCount", "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"] :
          ["AWS/ApplicationELB", metric, "LoadBalancer", aws_lb.service.arn_suffix]
        ]
      },
      {
        title   = "Seconds to answer, slowest 1 %"
        stat    = "p99"
        metrics = [["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", aws_lb.service.arn_suffix]]
      },
      {
        title = "CPU and memory, percent"
        stat  = "Average"
        metrics = [for metric in ["CPUUtilization", "MemoryUtilization"] :
          ["AWS/ECS", metric, "ClusterName", local.names.service, "ServiceName", local.names.service]
        ]
      },
      {
        title   = "Running tasks"
        stat    = "Minimum"
        metrics = [["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", local.names.service, "ServiceName", local.names.service]]
      },
    ],
    local.database ? [
      {
        title   = "Database capacity, percent of max_capacity"
        stat    = "Maximum"
        metrics = [["AWS/RDS", "ACUUtilization", "DBClusterIdentifier", local.names.database_cluster]]
      },
      {
        title   = "Database connections"
        stat    = "Maximum"
        metrics = [["AWS/RDS", "DatabaseConnections", "DBClusterIdentifier", local.names.database_cluster]]
      },
      {
        # Written by app/database.py; its log says why.
        title   = "Times the service could not ask its database"
        stat    = "Sum"
        metrics = [[local.project.app_name, "DatabaseErrors", "Environment", var.environment]]
      },
    ] : [],
  )
}

resource "aws_cloudwatch_dashboard" "service" {
  dashboard_name = local.names.service

  dashboard_body = jsonencode({
    widgets = [
      for index, widget in local.widgets : {
        type   = "metric"
        x      = index % 2 * 12
        y      = floor(index / 2) * 6
        width  = 12
        height = 6
        properties = {
          title   = widget.title
          region  = local.region
          stat    = widget.stat
          period  = 60
          metrics = widget.metrics
        }
      }
    ]
  })
}
