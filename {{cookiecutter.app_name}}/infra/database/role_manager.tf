locals {
  desired_state = jsonencode(module.config.database_roles)
  # Roles that log in with a token: `check` logs in as each of them.
  iam_roles = [for name, role in try(module.config.database_roles.roles, {}) : name if role.login == "iam"]

  function_arn  = "${local.arn}:lambda:${local.region}:${local.account}:function:${local.names.role_manager}"
  master_secret = one(aws_rds_cluster.this.master_user_secret[*].secret_arn)
}

resource "aws_lambda_function" "role_manager" {
  #checkov:skip=CKV_AWS_50:Tracing would need one more endpoint for a function that runs once a day
  #checkov:skip=CKV_AWS_115:Runs exclude each other by a lock in the database; reserved concurrency cannot be had in an account with the smallest quota
  #checkov:skip=CKV_AWS_116:Terraform and operators wait for the answer; a failed daily check raises the alarm on errors
  #checkov:skip=CKV_AWS_173:No variable is a secret; with the customer key, who plans could not read them and would see a change each time
  #checkov:skip=CKV_AWS_272:The package is built from this repository and its hash is part of the reviewed plan
  function_name = local.names.role_manager
  description   = "Makes the roles of ${local.names.database_cluster} what project.yaml says"
  role          = aws_iam_role.role_manager.arn
  handler       = "role_manager.handler.handler"
  runtime       = "python3.13"
  architectures = [local.project.cpu_architecture]
  memory_size   = 256
  timeout       = 300 # a paused database takes up to half a minute to wake

  filename         = var.role_manager_package
  source_code_hash = local.package_hash

  environment {
    variables = {
      DESIRED_STATE     = local.desired_state
      DB_HOST           = aws_rds_cluster.this.endpoint
      DB_PORT           = tostring(aws_rds_cluster.this.port)
      DB_NAME           = local.names.database_name
      MASTER_SECRET_ARN = local.master_secret
    }
  }

  # Without a route out of the VPC, whatever the service may reach.
  vpc_config {
    subnet_ids         = data.aws_subnets.database.ids
    security_group_ids = [aws_security_group.role_manager.id]
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.role_manager.name
  }

  lifecycle {
    precondition {
      condition     = fileexists(var.role_manager_package)
      error_message = "The role manager's package ${var.role_manager_package} is not there: run `make package`."
    }
    precondition {
      # Lambda has 4096 bytes for all of the environment; the other variables take less than 600.
      condition     = length(local.desired_state) <= 3500
      error_message = "project.yaml: database_roles: ${length(local.desired_state)} characters as JSON; Lambda has room for 3500."
    }
  }

  depends_on = [aws_iam_role_policy.role_manager]
}

locals {
  package_hash = fileexists(var.role_manager_package) ? filebase64sha256(var.role_manager_package) : null
}

resource "aws_cloudwatch_log_group" "role_manager" {
  name              = local.names.role_manager_log_group
  retention_in_days = local.settings.service.log_retention_days
  kms_key_id        = module.key.arn
}

resource "aws_iam_role" "role_manager" {
  name                 = local.names.role_manager
  path                 = local.names.role_path
  description          = "Role manager of ${local.names.database_cluster}"
  permissions_boundary = local.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "role_manager" {
  name = "role-manager"
  role = aws_iam_role.role_manager.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "OwnLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [aws_cloudwatch_log_group.role_manager.arn, "${aws_cloudwatch_log_group.role_manager.arn}:*"]
      },
      {
        Sid      = "MasterPassword"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = local.master_secret
      },
      {
        Sid      = "DecryptPassword"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = module.key.arn
      },
      {
        Sid    = "LogInToCheck"
        Effect = "Allow"
        Action = "rds-db:connect" # decided by the database when somebody logs in, not by a call
        Resource = [
          for name in local.iam_roles : "${local.arn}:rds-db:${local.region}:${local.account}:dbuser:${aws_rds_cluster.this.cluster_resource_id}/${name}"
        ]
      },
      {
        # Lambda connects the function to the VPC with these; they have no narrower resource.
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
        Sid    = "ConnectToVpc"
        Effect = "Allow"
        Action = [
          "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
          "ec2:AssignPrivateIpAddresses", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses", # Lambda's page lists them
        ]
        Resource = "*"
      },
      {
        Sid       = "CodeDoesNot" # only Lambda itself does, never the function's code
        Effect    = "Deny"
        Action    = "ec2:*"
        Resource  = "*"
        Condition = { ArnEquals = { "lambda:SourceFunctionArn" = local.function_arn } }
      },
    ]
  })
}
