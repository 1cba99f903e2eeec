# Where alarms go: one topic, and the incident management's subscription to it.

resource "aws_sns_topic" "alarms" {
  name              = local.names.alarms_topic
  kms_master_key_id = module.key.arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsPublish"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account_id }
          ArnLike      = { "aws:SourceArn" = "${local.arn.cloudwatch}:alarm:${local.names.service}-*" }
        }
      },
      {
        # EventBridge names no source to SNS: with a condition the message would be dropped in silence.
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
        Sid       = "FailedDeploymentsPublish"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
      },
    ]
  })
}

# A failed deployment is told twice: at once in words, and as an alarm, the only form that incident management takes.
resource "aws_cloudwatch_event_rule" "failed_deployments" {
  name        = local.names.failed_deployments
  description = "A deployment of ${local.names.service} failed"

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Deployment State Change"]
    resources   = ["${local.arn.ecs}:service/${local.names.service}/${local.names.service}"]
    detail      = { eventName = ["SERVICE_DEPLOYMENT_FAILED"] }
  })
}

resource "aws_cloudwatch_event_target" "failed_deployments" {
  rule      = aws_cloudwatch_event_rule.failed_deployments.name
  target_id = "alarms-topic"
  arn       = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      deployment = "$.detail.deploymentId"
      reason     = "$.detail.reason"
      time       = "$.time"
    }
    input_template = "\"${local.names.service}: deployment <deployment> failed at <time>: <reason> The version before serves again. make status ENV=${var.environment} shows more.\""
  }

  depends_on = [aws_sns_topic_policy.alarms]
}

# The subscription's endpoint is a credential: whoever knows the URL can raise incidents. It is typed once
# (`make incident-url`) into an encrypted parameter and in no file. Terraform keeps it in its state, as everything it
# sets: the state is encrypted with a customer key, and plans show "(sensitive value)". Without the parameter there is
# no subscription yet, so that a first deployment succeeds: only the names of the parameters are asked for first.
data "aws_ssm_parameters_by_path" "environment" {
  count = local.incident ? 1 : 0

  path            = dirname(local.names.incident_url_parameter)
  with_decryption = false
}

data "aws_ssm_parameter" "incident" {
  count = local.incident_known ? 1 : 0

  name = local.names.incident_url_parameter
}

locals {
  incident_known = contains(flatten(data.aws_ssm_parameters_by_path.environment[*].names), local.names.incident_url_parameter)

  # What the answers of project.yaml mean for SNS. PagerDuty and Splunk On-Call confirm by themselves; a person has to
  # follow the link in the first e-mail.
  incident_protocol = {
    pagerduty      = "https"
    splunk-on-call = "https"
    email          = "email"
    none           = null
  }[local.project.incident_management]
}

resource "aws_sns_topic_subscription" "incident" {
  count = local.incident_known ? 1 : 0

  topic_arn              = aws_sns_topic.alarms.arn
  protocol               = local.incident_protocol
  endpoint               = data.aws_ssm_parameter.incident[0].value
  endpoint_auto_confirms = local.incident_protocol == "https"

  # They understand alarms and nothing else.
  filter_policy_scope = local.incident_protocol == "https" ? "MessageBody" : null
  filter_policy       = local.incident_protocol == "https" ? jsonencode({ AlarmName = [{ exists = true }] }) : null

  lifecycle {
    precondition {
      condition = nonsensitive(can(regex(
        local.incident_protocol == "https" ? "^https://[^ ]+$" : "^[^@ ]+@[^@ ]+$",
        data.aws_ssm_parameter.incident[0].value,
      )))
      error_message = "Parameter ${local.names.incident_url_parameter}: incident_management ${local.project.incident_management} needs ${local.incident_protocol == "https" ? "a URL that begins with https://" : "an e-mail address"}. `make incident-url ENV=${var.environment}` asks for it again."
    }
  }

  depends_on = [aws_sns_topic_policy.alarms]
}
