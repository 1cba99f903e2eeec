# What the tasks may do. Every role carries the boundary of the account layer, or the apply role could not make it.

locals {
  permissions_boundary = "${local.arn.iam}:policy${local.names.github_path}${local.names.permissions_boundary}"

  # In the project's account, whose repository admits the execution roles of the others.
  repository_arn = "${module.config.registry.arn}/${local.names.build_repository}"

  # ECS takes the role for tasks of this account and region only.
  trust_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnLike      = { "aws:SourceArn" = "${local.arn.ecs}:*" }
      }
    }]
  })

  database_login = {
    for task, user in local.database_user : task => {
      Sid      = "LogInToTheDatabase"
      Effect   = "Allow"
      Action   = "rds-db:connect" # decided by the database when somebody logs in, not by a call
      Resource = "${local.arn.rds-db}:dbuser:${one(data.aws_rds_cluster.database[*].cluster_resource_id)}/${user}"
    } if local.database
  }

  read_flags = local.feature_flags ? [{
    Sid      = "ReadFlags"
    Effect   = "Allow"
    Action   = ["appconfig:GetLatestConfiguration", "appconfig:StartConfigurationSession"]
    Resource = "${one(aws_appconfig_environment.flags[*].arn)}/configuration/${one(aws_appconfig_configuration_profile.flags[*].configuration_profile_id)}"
  }] : []
}

# ECS itself, before the container starts: pull the image, read the secrets, write the log.
resource "aws_iam_role" "execution" {
  name                 = local.names.execution_role
  path                 = local.names.role_path
  description          = "ECS starts the tasks of ${local.names.service}"
  assume_role_policy   = local.trust_tasks
  permissions_boundary = local.permissions_boundary
}

resource "aws_iam_role_policy" "execution" {
  name = "start-tasks"
  role = aws_iam_role.execution.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        # AWS documents "*" as its only resource: the token is for the registry, the next statement for the repository.
        Sid      = "LogInToTheRegistry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "PullTheImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] # as AmazonECSTaskExecutionRolePolicy
        Resource = local.repository_arn
      },
      {
        Sid      = "WriteTheLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [for form in ["", ":*"] : "${local.arn.logs}:log-group:${local.names.service_log_group}${form}"]
      },
      ],
      [for statement in [
        {
          Sid      = "ReadTheSecrets"
          Effect   = "Allow"
          Action   = "ssm:GetParameters"
          Resource = values(local.secrets)
        },
        {
          # Parameter Store says which parameter it decrypts; which ones are read is above, and twice would not fit.
          # https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
          Sid       = "DecryptTheSecrets"
          Effect    = "Allow"
          Action    = "kms:Decrypt"
          Resource  = one(data.aws_kms_alias.secrets[*].target_key_arn)
          Condition = { StringLike = { "kms:EncryptionContext:PARAMETER_ARN" = "${local.arn.ssm}:parameter${local.names.secrets_path}/*" } }
        },
      ] : statement if length(local.secrets) > 0],
    )
  })
}

# The service's code.
resource "aws_iam_role" "task" {
  name                 = local.names.task_role
  path                 = local.names.role_path
  description          = "Code of ${local.names.service}"
  assume_role_policy   = local.trust_tasks
  permissions_boundary = local.permissions_boundary
}

resource "aws_iam_role_policy" "task" {
  name = "serve"
  role = aws_iam_role.task.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          # ECS Exec. AWS documents "*" as the only resource of these.
          # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html#ecs-exec-required-iam-permissions
          Sid    = "OpenSessions"
          Effect = "Allow"
          Action = [
            "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
          ]
          Resource = "*"
        },
        {
          # AWS documents no resource for it.
          Sid      = "FindTheLogOfSessions"
          Effect   = "Allow"
          Action   = "logs:DescribeLogGroups"
          Resource = "*"
        },
        {
          # What is typed in a session.
          Sid      = "LogSessions"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
          Resource = [for form in ["", ":*"] : "${local.arn.logs}:log-group:${local.names.sessions_log_group}${form}"]
        },
        {
          # The channel of a session.
          Sid      = "EncryptSessions"
          Effect   = "Allow"
          Action   = "kms:Decrypt"
          Resource = module.key.arn
        },
      ],
      local.database ? [local.database_login.service] : [],
      local.read_flags,
      [for statement in local.send_messages : statement if length(local.workers) > 0],
      [for statement in local.use_files : statement if local.storage],
    )
  })
}

# The migrations.
resource "aws_iam_role" "migrate" {
  count = local.database ? 1 : 0

  name                 = local.names.migrate_role
  path                 = local.names.role_path
  description          = "Migrations of ${local.names.service}"
  assume_role_policy   = local.trust_tasks
  permissions_boundary = local.permissions_boundary
}

resource "aws_iam_role_policy" "migrate" {
  count = local.database ? 1 : 0

  name   = "migrate"
  role   = aws_iam_role.migrate[0].id
  policy = jsonencode({ Version = "2012-10-17", Statement = [local.database_login.migrate] })
}
