# The most that a role made by an apply role can do, whatever policy it is given: the sum of what the environment's
# service, migrations, role manager and the delivery of logs and metrics need. One for each environment, and one for the
# temporary environments beside it, whose code nobody has reviewed. Apply roles can make no role without theirs, and
# change none.

locals {
  bounds = merge([
    for name in local.environment_names : {
      for kind, boundary in {
        environment = module.environment[name].names.permissions_boundary
        temporary   = module.environment[name].names.temporary_boundary
      } : boundary => { environment = name, temporary = kind == "temporary" }
    }
  ]...)

  secrets_paths = {
    for boundary, bound in local.bounds :
    boundary => bound.temporary ? "/${local.app}/${bound.environment}/previews/secrets" : module.environment[bound.environment].names.secrets_path
  }

  # In few letters, of which a policy has 6,144.
  # https://docs.aws.amazon.com/guardduty/latest/ug/malware-protection-s3-iam-policy-prerequisite.html
  scan_actions = ["s3:*BucketNotification", "s3:GetObject*", "s3:PutObject*Tagging"] # the page lists also what no rehearsal calls

  role_manager_only = {
    for name, environment in module.environment : name => {
      ArnEquals = { "aws:PrincipalArn" = "${local.arn.iam}:role${environment.names.role_path}${environment.names.role_manager}" }
    }
  }

  boundary_statements = {
    for boundary, bound in local.bounds : boundary => concat(
      local.walls[bound.environment],
      [
        {
          Sid    = "OwnLogs"
          Effect = "Allow"
          Action = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"] # sessions of ECS Exec look for theirs
          # A temporary environment's are a level deeper: nobody has reviewed what writes into them.
          Resource = [
            for group in bound.temporary ? ["*/service:*", "*/sessions:*"] : ["*"] :
            "${local.arn.logs}:log-group:/${local.app}/${bound.environment}/${group}"
          ]
        },
        {
          Sid      = "OwnKeys"
          Effect   = "Allow"
          Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource = "${local.arn.kms}:key/*"
          Condition = merge(
            local.of_environment[bound.environment],
            bound.temporary ? { StringLike = { "aws:ResourceTag/temporary" = "*" } } : {},
          )
        },
        {
          # IAM cannot tell the database of one environment from that of another here: its ARN has no name and no tags.
          # Their networks keep them apart.
          Sid      = "DatabaseLogins"
          Effect   = "Allow"
          Action   = "rds-db:connect"
          Resource = "${local.arn.rds-db}:dbuser:*/*"
        },
        {
          # Configurations have no tags of their own; whether AWS takes their application's is not documented.
          Sid       = "Flags"
          Effect    = "Allow"
          Action    = ["appconfig:GetLatestConfiguration", "appconfig:StartConfigurationSession"]
          Resource  = "${local.arn.appconfig}:application/*"
          Condition = { StringEqualsIfExists = local.of_environment[bound.environment].StringEquals }
        },
        {
          Sid      = "Images"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] # as AmazonECSTaskExecutionRolePolicy
          Resource = "${module.config.registry.arn}/${bound.temporary ? local.names.preview_repository : local.names.build_repository}"
        },
        {
          Sid    = "ActionsWithoutResources"
          Effect = "Allow"
          Action = [
            "cloudwatch:DescribeAlarms",                                         # the rollback of flags
            "ecr:GetAuthorizationToken",                                         # Fargate
            "logs:DescribeLogGroups",                                            # flow logs, sessions of ECS Exec
            "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", # these sessions
            "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",     # which no rehearsal opens
          ]
          Resource  = "*"
          Condition = { StringEquals = { "aws:RequestedRegion" = distinct([local.region, module.config.registry.region]) } }
        },
      ],
      [for statement in [
        {
          Sid      = "Secrets"
          Effect   = "Allow"
          Action   = "ssm:GetParameters"
          Resource = "${local.arn.ssm}:parameter${local.secrets_paths[boundary]}/*"
        },
      ] : statement if length(module.config.secrets) > 0],
      [for statement in [
        {
          # Of previews only what was stored for them, with a key that is not theirs.
          Sid      = "DecryptSecrets"
          Effect   = "Allow"
          Action   = "kms:Decrypt"
          Resource = "${local.arn.kms}:key/*"
          Condition = merge(local.of_environment[bound.environment], {
            StringLike = { "kms:EncryptionContext:PARAMETER_ARN" = "${local.arn.ssm}:parameter${local.secrets_paths[boundary]}/*" }
          })
        },
      ] : statement if bound.temporary && length(module.config.secrets) > 0],
      [for statement in [
        {
          Sid       = "StartJobs"
          Effect    = "Allow"
          Action    = "ecs:RunTask"
          Resource  = "${local.arn.ecs}:task-definition/${module.environment[bound.environment].names.job}-*"
          Condition = { ArnEquals = { "ecs:cluster" = "${local.arn.ecs}:cluster/${module.environment[bound.environment].names.service}" } }
        },
        {
          Sid    = "GiveJobsTheServicesRoles"
          Effect = "Allow"
          Action = "iam:PassRole"
          Resource = [
            for key in ["execution_role", "task_role"] :
            "${local.arn.iam}:role${module.environment[bound.environment].names.role_path}${module.environment[bound.environment].names[key]}"
          ]
          Condition = { StringLike = { "iam:PassedToService" = "ecs-tasks.amazonaws.com*" } }
        },
        {
          Sid      = "JobsThatCouldNotBeStarted"
          Effect   = "Allow"
          Action   = "sqs:SendMessage"
          Resource = "${local.arn.sqs}:${module.environment[bound.environment].names.jobs_dead_letters}"
        },
      ] : statement if !bound.temporary && contains(local.with_jobs, bound.environment)],
      [for statement in [
        {
          Sid    = "Queues"
          Effect = "Allow"
          Action = [
            "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
            "sqs:ChangeMessageVisibility", # work that takes long, or is given back
          ]
          Resource = "${local.arn.sqs}:${local.app}-${bound.environment}${bound.temporary ? "-*" : ""}-worker-*"
        },
      ] : statement if length(module.config.workers) > 0],
      [for statement in [
        {
          # Of the environment's own role for scans too: the bucket's policy says who gets at files.
          Sid    = "Files"
          Effect = "Allow"
          Action = concat(["s3:GetObject", "s3:ListBucket", "s3:PutObject"], local.scanned && !bound.temporary ? local.scan_actions : [])
          Resource = [
            for form in ["", "/*"] :
            "${local.arn.s3}:${bound.temporary ? "${local.app}-${bound.environment}-*-files-${local.account_id}" : module.environment[bound.environment].names.files_bucket}${form}"
          ]
        },
      ] : statement if local.storage],
      [for statement in [
        {
          Sid      = "MalwareScan"
          Effect   = "Allow"
          Action   = ["events:*Rule", "events:*Targets*"] # of this rule; GuardDuty's page lists six
          Resource = "${local.arn.events}:rule/DO-NOT-DELETE-AmazonGuardDutyMalwareProtectionS3*"
        },
      ] : statement if local.scanned && !bound.temporary],
      [for statement in [
        {
          Sid    = "LogsOfTheDatabase"
          Effect = "Allow"
          Action = [
            "logs:CreateLogStream", "logs:PutLogEvents",
            "logs:CreateLogGroup", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutRetentionPolicy", # as AmazonRDSEnhancedMonitoringRole
          ]
          Resource = flatten([
            for group in ["RDSOSMetrics", module.environment[bound.environment].names.role_manager_log_group] :
            [for form in ["", ":*"] : "${local.arn.logs}:log-group:${group}${form}"]
          ])
        },
        {
          Sid      = "MasterPassword"
          Effect   = "Allow"
          Action   = "secretsmanager:GetSecretValue"
          Resource = "${local.arn.secretsmanager}:secret:rds!cluster-*"
          Condition = { StringEquals = {
            "aws:ResourceTag/aws:rds:primaryDBClusterArn" = "${local.arn.rds}:cluster:${module.environment[bound.environment].names.database_cluster}"
          } }
        },
        {
          # Lambda connects the role manager with these, in its own environment's subnets.
          # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
          Sid       = "FindSubnets"
          Effect    = "Allow"
          Action    = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"] # the second as Lambda's page lists it
          Resource  = "*"
          Condition = local.role_manager_only[bound.environment]
        },
        {
          Sid    = "Interfaces"
          Effect = "Allow"
          Action = [
            "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", # as that page lists them
          ]
          Resource  = "${local.arn.ec2}:network-interface/*"
          Condition = local.role_manager_only[bound.environment]
        },
        {
          Sid       = "InOwnSubnets"
          Effect    = "Allow"
          Action    = "ec2:CreateNetworkInterface"
          Resource  = ["${local.arn.ec2}:security-group/*", "${local.arn.ec2}:subnet/*"]
          Condition = merge(local.of_environment[bound.environment], local.role_manager_only[bound.environment])
        },
        {
          Sid       = "FunctionsCodeDoesNot" # only Lambda itself does
          Effect    = "Deny"
          Action    = "ec2:*"
          Resource  = "*"
          Condition = { Null = { "lambda:SourceFunctionArn" = "false" } }
        },
      ] : statement if !bound.temporary && local.project.database != "none"],
    )
  }
}

resource "aws_iam_policy" "boundary" {
  for_each = local.bounds

  name        = each.key
  path        = local.names.github_path
  description = "The most that a role of ${local.app} made in ${each.value.environment} can do"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.boundary_statements[each.key] })
}
