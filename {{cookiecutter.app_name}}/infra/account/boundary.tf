# The most that a role made by an apply role can do, whatever policy it is given: the sum of what the service, its
# migrations, the role manager and the delivery of logs and metrics need. The apply roles can make no role without it
# and cannot change it.

resource "aws_iam_policy" "boundary" {
  name        = local.names.permissions_boundary
  description = "The most that any role of ${local.app} made by an apply role can do"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "OwnResources"
        Effect = "Allow"
        Action = [
          "appconfig:GetLatestConfiguration", "appconfig:StartConfigurationSession",
          "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*",
          "lambda:InvokeFunction",
          "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams",
          "logs:GetLogEvents", "logs:PutLogEvents", "logs:PutRetentionPolicy",
          "rds-db:connect",
          "s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject",
          "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue",
          "sns:Publish",
          "ssm:GetParameter", "ssm:GetParameters",
        ]
        Resource = [
          "${local.arn.appconfig}:application/*",
          "${local.arn.kms}:key/*",
          "${local.arn.lambda}:function:${local.app}-*",
          "${local.arn.logs}:log-group:*",
          "${local.arn.rds-db}:dbuser:*/*",
          "${local.arn.s3}:${local.app}-*-logs-${local.account_id}/*",
          "${local.arn.secretsmanager}:secret:rds!cluster-*",
          "${local.arn.secretsmanager}:secret:${local.app}/*",
          "${local.arn.sns}:${local.app}-*",
          "${local.arn.ssm}:parameter/${local.app}/*",
        ]
      },
      {
        Sid      = "OwnImages"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = "${local.arn.ecr}:repository/${local.names.build_repository}"
      },
      {
        Sid    = "ActionsWithoutResources"
        Effect = "Allow"
        Action = [
          "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricData",
          "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
          "ecr:GetAuthorizationToken",
          "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
    ]
  })
}
