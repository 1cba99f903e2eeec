# AppConfig. Terraform makes the first version of the flags; after that `make flag` changes them, and a change that sets
# off an alarm is rolled back by AppConfig.

resource "aws_appconfig_application" "flags" {
  count = local.feature_flags ? 1 : 0

  name        = local.names.flags_application
  description = "Feature flags of ${local.names.service}"
}

resource "aws_appconfig_environment" "flags" {
  count = local.feature_flags ? 1 : 0

  application_id = aws_appconfig_application.flags[0].id
  name           = local.names.flags_environment
  description    = "Rolled back on the alarms that callers notice"

  dynamic "monitor" {
    for_each = local.rollback_alarms

    content {
      alarm_arn      = monitor.value.arn
      alarm_role_arn = aws_iam_role.flags_rollback[0].arn
    }
  }

  depends_on = [aws_iam_role_policy.flags_rollback]
}

resource "aws_appconfig_configuration_profile" "flags" {
  count = local.feature_flags ? 1 : 0

  application_id = aws_appconfig_application.flags[0].id
  name           = local.names.flags_profile
  description    = "Feature flags"
  type           = "AWS.AppConfig.FeatureFlags"
  location_uri   = "hosted"
}

resource "aws_appconfig_hosted_configuration_version" "first" {
  count = local.feature_flags ? 1 : 0

  application_id           = aws_appconfig_application.flags[0].id
  configuration_profile_id = aws_appconfig_configuration_profile.flags[0].configuration_profile_id
  description              = "First version, from app/flags.json"
  content_type             = "application/json"
  # A repository made without flags has no such file; it begins with none.
  content = try(file("${path.module}/../../app/flags.json"), jsonencode({ version = "1", flags = {}, values = {} }))

  lifecycle {
    # Later versions are made by `make flag`.
    ignore_changes = [content]
  }
}

# Not in a temporary environment: AWS has 20 strategies in a region, and each pull request's would take two.
# https://docs.aws.amazon.com/appconfig/latest/userguide/appconfig-creating-deployment-strategy-create.html
resource "aws_appconfig_deployment_strategy" "gradual" {
  count = local.feature_flags && !module.config.temporary ? 1 : 0

  name                           = local.names.service
  description                    = "A fifth of the tasks every two minutes, then watched for ten"
  growth_type                    = "LINEAR"
  growth_factor                  = 20
  deployment_duration_in_minutes = 10
  # Longer than the alarms need to see a mistake: five minutes.
  final_bake_time_in_minutes = 10
  replicate_to               = "NONE"
}

resource "aws_appconfig_deployment_strategy" "immediate" {
  count = local.feature_flags ? 1 : 0

  name                           = "${local.names.service}-immediate"
  description                    = "All tasks at once: the first version, and a feature that has to go off now"
  growth_type                    = "LINEAR"
  growth_factor                  = 100
  deployment_duration_in_minutes = 0
  final_bake_time_in_minutes     = 0
  replicate_to                   = "NONE"
}

resource "aws_appconfig_deployment" "first" {
  count = local.feature_flags ? 1 : 0

  application_id           = aws_appconfig_application.flags[0].id
  environment_id           = aws_appconfig_environment.flags[0].environment_id
  configuration_profile_id = aws_appconfig_configuration_profile.flags[0].configuration_profile_id
  configuration_version    = aws_appconfig_hosted_configuration_version.first[0].version_number
  deployment_strategy_id   = aws_appconfig_deployment_strategy.immediate[0].id
  description              = "First version"
}

resource "aws_iam_role" "flags_rollback" {
  count = local.feature_flags ? 1 : 0

  name                 = local.names.flags_rollback_role
  path                 = local.names.role_path
  description          = "AppConfig looks at the alarms of ${local.names.service}"
  permissions_boundary = local.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "appconfig.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "flags_rollback" {
  count = local.feature_flags ? 1 : 0

  name = "see-alarms"
  role = aws_iam_role.flags_rollback[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "SeeAlarms"
      Effect   = "Allow"
      Action   = "cloudwatch:DescribeAlarms"
      Resource = "${local.arn.cloudwatch}:alarm:*"
    }]
  })
}
