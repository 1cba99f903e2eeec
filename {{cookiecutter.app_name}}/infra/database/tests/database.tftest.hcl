mock_provider "aws" {
  mock_data "aws_vpc" {
    defaults = { id = "vpc-1" }
  }
  mock_data "aws_subnets" {
    defaults = { ids = ["subnet-a", "subnet-b"] }
  }
  mock_data "aws_security_group" {
    defaults = { id = "sg-secrets-endpoint" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:mocked" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:mocked" }
  }
  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:eu-west-1:123456789012:rule/mocked" }
  }
  mock_resource "aws_rds_cluster" {
    defaults = {
      endpoint            = "shop.cluster-1.eu-west-1.rds.amazonaws.com"
      cluster_resource_id = "cluster-ABC"
      master_user_secret = [{
        kms_key_id    = "key"
        secret_arn    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-1"
        secret_status = "active"
      }]
    }
  }
}

variables {
  project_file         = "../config/tests/complete.yaml"
  environment          = "dev"
  role_manager_package = "./tests/database.tftest.hcl" # any file: the mocked provider does not open it
}

run "dev" {
  assert {
    condition     = data.aws_vpc.this.tags == tomap({ Name = "shop-dev", application = "shop", environment = "dev" })
    error_message = "the network is the environment's own, and not another's that has its name"
  }
  assert {
    condition     = !aws_rds_cluster.this.deletion_protection && aws_rds_cluster.this.skip_final_snapshot && aws_rds_cluster.this.final_snapshot_identifier == null && aws_rds_cluster.this.delete_automated_backups
    error_message = "an unprotected database goes when it is destroyed"
  }
  assert {
    condition = (
      aws_rds_cluster.this.serverlessv2_scaling_configuration[0].min_capacity == 0 &&
      aws_rds_cluster.this.serverlessv2_scaling_configuration[0].max_capacity == 2 &&
      aws_rds_cluster.this.serverlessv2_scaling_configuration[0].seconds_until_auto_pause == 1800 &&
      length(aws_rds_cluster_instance.this) == 1
    )
    error_message = "the capacity is what project.yaml says, and scales to zero"
  }
  assert {
    condition     = aws_rds_cluster.this.cluster_identifier == "shop-dev" && aws_rds_cluster.this.database_name == "shop" && aws_rds_cluster.this.backup_retention_period == 7
    error_message = "names and backups are what infra/config says"
  }
  assert {
    condition     = aws_rds_cluster.this.storage_encrypted && aws_rds_cluster.this.kms_key_id == module.key.arn && aws_rds_cluster.this.master_user_secret_kms_key_id == module.key.arn && aws_rds_cluster_instance.this[0].performance_insights_kms_key_id == module.key.arn && alltrue([for group in aws_cloudwatch_log_group.database : group.kms_key_id == module.key.arn]) && aws_cloudwatch_log_group.role_manager.kms_key_id == module.key.arn
    error_message = "everything is encrypted with the database's key"
  }
  assert {
    condition     = aws_rds_cluster.this.iam_database_authentication_enabled && aws_rds_cluster.this.manage_master_user_password && aws_rds_cluster.this.master_password == null
    error_message = "roles log in with tokens, and nobody knows the master's password"
  }
  assert {
    condition     = aws_rds_cluster.this.engine_lifecycle_support == "open-source-rds-extended-support-disabled" && aws_rds_cluster_parameter_group.this.family == "aurora-postgresql${aws_rds_cluster.this.engine_version}"
    error_message = "the parameters are those of the version, which does not become a paid one by age"
  }
  assert {
    # What PostgreSQL 17 has anyway; of rds.force_ssl the defaults differ between versions, and RDS's apply_method is said.
    condition = length(setintersection(
      toset([for parameter in aws_rds_cluster_parameter_group.this.parameter : "${parameter.name} ${parameter.value} ${parameter.apply_method}"]),
      [
        "log_connections 0 immediate", "log_disconnections 0 immediate", "log_error_verbosity default immediate", "log_min_duration_statement -1 immediate",
        "log_min_error_statement error immediate", "log_parameter_max_length -1 immediate", "log_parameter_max_length_on_error 0 immediate",
        "log_statement none immediate", "rds.force_ssl 1 immediate",
      ],
    )) == 0
    error_message = "a parameter that is the engine's default would be planned again and again"
  }
  assert {
    condition     = coalesce(aws_lambda_function.role_manager.kms_key_arn, "none") == "none"
    error_message = "the plan role reads the function's variables, none of which is a secret"
  }
  assert {
    condition     = one([for parameter in aws_rds_cluster_parameter_group.this.parameter : parameter.value if parameter.name == "rds.force_ssl"]) == "1"
    error_message = "connections without TLS are refused"
  }
  assert {
    condition = alltrue([
      for name, value in { log_statement = "ddl", log_min_error_statement = "panic", log_error_verbosity = "terse", log_parameter_max_length = "0" } :
      one([for parameter in aws_rds_cluster_parameter_group.this.parameter : parameter.value if parameter.name == name]) == value
    ])
    error_message = "no values of rows reach the log"
  }
  assert {
    condition     = toset([for group in aws_cloudwatch_log_group.database : group.name]) == toset(["/aws/rds/cluster/shop-dev/postgresql", "/aws/rds/cluster/shop-dev/iam-db-auth-error"]) && aws_rds_cluster.this.enabled_cloudwatch_logs_exports == toset(["postgresql", "iam-db-auth-error"])
    error_message = "every log that is exported has its log group before RDS makes one"
  }

  # Who reaches whom.
  assert {
    condition     = aws_rds_cluster.this.vpc_security_group_ids == toset([aws_security_group.database.id]) && !aws_rds_cluster_instance.this[0].publicly_accessible && aws_db_subnet_group.this.subnet_ids == toset(["subnet-a", "subnet-b"])
    error_message = "the database is in the database subnets, in its own group"
  }
  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.database_from_role_manager.security_group_id == aws_security_group.database.id &&
      aws_vpc_security_group_ingress_rule.database_from_role_manager.referenced_security_group_id == aws_security_group.role_manager.id &&
      aws_vpc_security_group_egress_rule.role_manager_to_database.security_group_id == aws_security_group.role_manager.id &&
      aws_vpc_security_group_egress_rule.role_manager_to_database.referenced_security_group_id == aws_security_group.database.id &&
      aws_vpc_security_group_ingress_rule.secrets_endpoint_from_role_manager.security_group_id == "sg-secrets-endpoint" &&
      aws_vpc_security_group_ingress_rule.secrets_endpoint_from_role_manager.referenced_security_group_id == aws_security_group.role_manager.id &&
      aws_vpc_security_group_egress_rule.role_manager_to_secrets_endpoint.security_group_id == aws_security_group.role_manager.id &&
      aws_vpc_security_group_egress_rule.role_manager_to_secrets_endpoint.referenced_security_group_id == "sg-secrets-endpoint"
    )
    error_message = "the role manager reaches the database and Secrets Manager"
  }
  assert {
    condition = alltrue([
      for rule in [
        aws_vpc_security_group_ingress_rule.database_from_role_manager, aws_vpc_security_group_egress_rule.role_manager_to_database,
        aws_vpc_security_group_ingress_rule.secrets_endpoint_from_role_manager, aws_vpc_security_group_egress_rule.role_manager_to_secrets_endpoint,
      ] : rule.ip_protocol == "tcp" && rule.from_port == rule.to_port && contains([443, 5432], rule.from_port) && rule.cidr_ipv4 == null && rule.cidr_ipv6 == null
    ]) && length(aws_security_group.database.egress) == 0 && length(aws_security_group.database.ingress) == 0 && length(aws_security_group.role_manager.egress) == 0 && length(aws_security_group.role_manager.ingress) == 0
    error_message = "one port between two groups, and no addresses"
  }

  # The role manager.
  assert {
    condition = aws_lambda_function.role_manager.environment[0].variables == tomap({
      DB_HOST           = "shop.cluster-1.eu-west-1.rds.amazonaws.com"
      DB_PORT           = "5432"
      DB_NAME           = "shop"
      MASTER_SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-1"
      DESIRED_STATE     = jsonencode(module.config.database_roles)
    })
    error_message = "the role manager knows the database, where the password is, and what the roles should be"
  }
  assert {
    condition     = jsondecode(aws_lambda_function.role_manager.environment[0].variables.DESIRED_STATE).roles.app == { profile = "read-write", login = "iam", connection_limit = -1, statement_timeout_seconds = 30 }
    error_message = "the desired state has the defaults filled in"
  }
  assert {
    condition     = aws_lambda_function.role_manager.function_name == "shop-dev-role-manager" && aws_lambda_function.role_manager.runtime == "python3.13" && aws_lambda_function.role_manager.handler == "role_manager.handler.handler" && aws_lambda_function.role_manager.architectures == tolist(["arm64"])
    error_message = "the function runs the package for the chosen processor"
  }
  assert {
    condition     = aws_lambda_function.role_manager.vpc_config[0].subnet_ids == toset(["subnet-a", "subnet-b"]) && aws_lambda_function.role_manager.vpc_config[0].security_group_ids == toset([aws_security_group.role_manager.id])
    error_message = "the function runs in the subnets without a route out"
  }
  assert {
    condition     = aws_lambda_function.role_manager.logging_config[0].log_format == "JSON" && aws_lambda_function.role_manager.logging_config[0].log_group == "/aws/lambda/shop-dev-role-manager"
    error_message = "the function logs JSON to its own log group"
  }

  # What it may do.
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.role_manager.policy).Statement : statement.Resource if statement.Sid == "LogInToCheck"]) == ["arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/app", "arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/migrator"]
    error_message = "it logs in as the roles that log in with a token, and no other"
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.role_manager.policy).Statement : statement.Resource if statement.Sid == "MasterPassword"]) == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-1"
    error_message = "it reads one secret"
  }
  assert {
    condition     = toset([for statement in jsondecode(aws_iam_role_policy.role_manager.policy).Statement : statement.Sid if statement.Resource == "*"]) == toset(["ConnectToVpc", "CodeDoesNot"]) && one([for statement in jsondecode(aws_iam_role_policy.role_manager.policy).Statement : statement if statement.Sid == "CodeDoesNot"]).Effect == "Deny"
    error_message = "only what connects the function to the VPC has no narrower resource, and its code may not do that"
  }
  assert {
    condition     = aws_iam_role.role_manager.permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-dev-boundary" && aws_iam_role.monitoring.permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-dev-boundary"
    error_message = "roles carry the project's permissions boundary"
  }

  # When it runs.
  assert {
    condition = (
      jsondecode(aws_lambda_invocation.apply.input) == { action = "apply" } && jsondecode(aws_lambda_invocation.check.input) == { action = "check" } &&
      aws_lambda_invocation.apply.triggers == aws_lambda_invocation.check.triggers && aws_lambda_invocation.apply.triggers == tomap({
        code          = filebase64sha256(var.role_manager_package)
        desired_state = aws_lambda_function.role_manager.environment[0].variables.DESIRED_STATE
        database      = "cluster-ABC"
      })
    )
    error_message = "it runs when its code, the desired roles or the database change"
  }
  assert {
    condition     = aws_cloudwatch_event_rule.check.schedule_expression == "cron(0 6 * * ? *)" && jsondecode(aws_cloudwatch_event_target.check.input) == { action = "check" } && aws_cloudwatch_event_target.check.arn == aws_lambda_function.role_manager.arn && aws_lambda_permission.check.source_arn == aws_cloudwatch_event_rule.check.arn && aws_lambda_function_event_invoke_config.role_manager.maximum_retry_attempts == 0
    error_message = "once a day it looks for drift"
  }
}

run "prod" {
  state_key = "prod" # computed values of the run before would stay

  variables {
    environment = "prod"
  }

  assert {
    condition     = aws_rds_cluster.this.deletion_protection && !aws_rds_cluster.this.skip_final_snapshot && aws_rds_cluster.this.final_snapshot_identifier == "shop-prod-final-00000000" && !aws_rds_cluster.this.delete_automated_backups && !aws_rds_cluster.this.apply_immediately
    error_message = "a protected database is kept, and changes wait for the maintenance window"
  }
  assert {
    condition     = aws_rds_cluster.this.serverlessv2_scaling_configuration[0].min_capacity == 0.5 && contains([0, null], aws_rds_cluster.this.serverlessv2_scaling_configuration[0].seconds_until_auto_pause) && aws_rds_cluster.this.backup_retention_period == 35
    error_message = "a database that does not scale to zero has no pause"
  }
  assert {
    condition     = aws_rds_cluster_instance.this[*].promotion_tier == [0, 1, 15] && aws_rds_cluster_instance.this[*].identifier == ["shop-prod-1", "shop-prod-2", "shop-prod-3"]
    error_message = "the second instance grows with the first, to take over from it"
  }
}

run "unprotected_to_be_deleted" {
  variables {
    project_file = "../config/tests/unprotected.yaml"
    environment  = "prod"
  }

  assert {
    condition     = !aws_rds_cluster.this.deletion_protection && !aws_rds_cluster.this.skip_final_snapshot && !aws_rds_cluster.this.delete_automated_backups
    error_message = "final_snapshot keeps the data when the protection is taken away to delete the database"
  }
}

run "government" {
  variables {
    project_file = "../config/tests/government.yaml"
    environment  = "prod"
  }

  assert {
    condition     = startswith(aws_iam_role.role_manager.permissions_boundary, "arn:aws-us-gov:") && alltrue([for arn in one([for statement in jsondecode(aws_iam_role_policy.role_manager.policy).Statement : statement.Resource if statement.Sid == "LogInToCheck"]) : startswith(arn, "arn:aws-us-gov:rds-db:us-gov-west-1:")]) && aws_lambda_function.role_manager.architectures == tolist(["x86_64"])
    error_message = "ARNs are of the partition"
  }
}

run "longest_names_in_china" {
  variables {
    project_file = "../config/tests/longest.yaml"
    environment  = "production"
  }

  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/CHAP_Limits.html and the limits of IAM, Lambda and EventBridge
  assert {
    condition     = alltrue([for instance in aws_rds_cluster_instance.this : length(instance.identifier) <= 63]) && length(aws_rds_cluster_parameter_group.this.name) <= 255 && length(aws_iam_role.monitoring.name) <= 64 && length(aws_lambda_function.role_manager.function_name) <= 64 && length(aws_cloudwatch_event_rule.check.name) <= 64 && length(aws_rds_cluster.this.database_name) <= 63
    error_message = "names fit AWS's limits"
  }
  assert {
    condition     = startswith(aws_iam_role.monitoring.permissions_boundary, "arn:aws-cn:") && jsondecode(aws_iam_role_policy.monitoring.policy).Statement[0].Resource[0] == "arn:aws-cn:logs:cn-northwest-1:123456789012:log-group:RDSOSMetrics"
    error_message = "ARNs are of the partition"
  }
  assert {
    condition     = length(aws_rds_cluster_instance.this) == 15 && aws_rds_cluster.this.serverlessv2_scaling_configuration[0].seconds_until_auto_pause == 300
    error_message = "the largest settings are taken"
  }
}

run "package_is_missing" {
  command = plan
  variables {
    role_manager_package = "./no-such-file.zip"
  }
  expect_failures = [aws_lambda_function.role_manager]
}

run "roles_that_do_not_fit" {
  command = plan
  variables {
    project_file = "../config/tests/many-roles.yaml"
    environment  = "prod"
  }
  expect_failures = [aws_lambda_function.role_manager]
}

run "network_is_missing" {
  command = plan
  override_data {
    target = data.aws_subnets.database
    values = { ids = [] }
  }
  expect_failures = [aws_rds_cluster.this]
}

run "database_was_turned_off" {
  command = plan
  variables {
    project_file = "../config/tests/unused-database.yaml"
    environment  = "prod"
  }
  expect_failures = [aws_rds_cluster.this]
}
