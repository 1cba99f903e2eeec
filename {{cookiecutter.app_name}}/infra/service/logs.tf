# One key for this layer: logs, alarms, sessions, messages of workers.

locals {
  log_retention_days = module.config.temporary ? 7 : local.settings.service.log_retention_days
}

module "key" {
  source = "../modules/key"

  config      = module.config
  alias       = local.names.service_key
  description = "Logs, alarms and sessions of ${local.names.service}"
  protected   = local.protected
  log_groups = [
    local.names.service_log_group,
    local.names.sessions_log_group,
    local.names.cluster_log_group,
    local.names.firewall_log_group,
  ]

  # Without this an alarm is dropped in silence. No condition on the caller: EventBridge names none to SNS, and it is
  # the topic's policy that says who may publish.
  statements = [{
    Sid       = "AlarmsToTheTopic"
    Effect    = "Allow"
    Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
    Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
    Resource  = "*"
  }]
}

resource "aws_cloudwatch_log_group" "service" {
  name              = local.names.service_log_group
  retention_in_days = local.log_retention_days
  kms_key_id        = module.key.arn
}

resource "aws_cloudwatch_log_group" "sessions" {
  name              = local.names.sessions_log_group
  retention_in_days = local.log_retention_days
  kms_key_id        = module.key.arn
}

# Container Insights writes its metrics as log lines; the metrics are kept for 15 months without them.
resource "aws_cloudwatch_log_group" "cluster" {
  #checkov:skip=CKV_AWS_338:Raw form of metrics that CloudWatch keeps by itself
  name              = local.names.cluster_log_group
  retention_in_days = 1
  kms_key_id        = module.key.arn
}

resource "aws_cloudwatch_log_group" "firewall" {
  count = local.firewall ? 1 : 0

  name              = local.names.firewall_log_group
  retention_in_days = local.log_retention_days
  kms_key_id        = module.key.arn
}
