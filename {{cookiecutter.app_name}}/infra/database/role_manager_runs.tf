# Whenever the code, the desired roles or the database change, `terraform apply` makes the roles so and proves it. A run
# that fails fails the apply with what the role manager said, and is tried again by the next one.

locals {
  reasons_to_run = {
    code          = local.package_hash
    desired_state = local.desired_state
    database      = aws_rds_cluster.this.cluster_resource_id
  }
}

resource "aws_lambda_invocation" "apply" {
  function_name = aws_lambda_function.role_manager.function_name
  input         = jsonencode({ action = "apply" })
  triggers      = local.reasons_to_run

  depends_on = [
    aws_rds_cluster_instance.this,
    aws_vpc_security_group_egress_rule.role_manager_to_database,
    aws_vpc_security_group_egress_rule.role_manager_to_secrets_endpoint,
    aws_vpc_security_group_ingress_rule.database_from_role_manager,
    aws_vpc_security_group_ingress_rule.secrets_endpoint_from_role_manager,
  ]
}

resource "aws_lambda_invocation" "check" {
  function_name = aws_lambda_function.role_manager.function_name
  input         = jsonencode({ action = "check" })
  triggers      = local.reasons_to_run

  depends_on = [aws_lambda_invocation.apply]
}

# Somebody may change a role by hand: the check fails, and the alarm on the function's errors says so. It wakes a paused
# database once a day, for about 5 cents.
resource "aws_cloudwatch_event_rule" "check" {
  name                = local.names.role_manager_check
  description         = "Looks every day whether the roles of ${local.names.database_cluster} are still what project.yaml says"
  schedule_expression = "cron(0 6 * * ? *)"
}

resource "aws_cloudwatch_event_target" "check" {
  rule  = aws_cloudwatch_event_rule.check.name
  arn   = aws_lambda_function.role_manager.arn
  input = jsonencode({ action = "check" })
}

resource "aws_lambda_permission" "check" {
  statement_id  = "daily-check"
  function_name = aws_lambda_function.role_manager.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.check.arn
}

# One failed check is one error; a second try would not find other roles.
resource "aws_lambda_function_event_invoke_config" "role_manager" {
  function_name                = aws_lambda_function.role_manager.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 3600
}
