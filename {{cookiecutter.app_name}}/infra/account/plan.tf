# The plan role: reads what Terraform refreshes, reads state, takes and releases state locks. No secret values: not
# secretsmanager:GetSecretValue, and of parameters only this project's.

locals {
  state_bucket_arn = "${local.arn.s3}:${local.names.state_bucket}"
  locks_table_arn  = "${local.arn.dynamodb}:table/${local.names.locks_table}"

  read = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = [
          "acm:Describe*", "acm:List*",
          "appconfig:Get*", "appconfig:List*",
          "application-autoscaling:Describe*", "application-autoscaling:List*",
          "cloudwatch:Describe*", "cloudwatch:Get*", "cloudwatch:List*",
          "dynamodb:Describe*", "dynamodb:List*",
          "ec2:Describe*", "ec2:Get*",
          "ecr:Describe*", "ecr:Get*", "ecr:List*",
          "ecs:Describe*", "ecs:List*",
          "elasticloadbalancing:Describe*",
          "events:Describe*", "events:List*",
          "iam:Get*", "iam:List*",
          "kms:Describe*", "kms:GetKey*", "kms:List*",
          "lambda:Get*", "lambda:List*",
          "logs:Describe*", "logs:List*",
          "rds:Describe*", "rds:List*",
          "route53:Get*", "route53:List*",
          "s3:GetAccount*", "s3:GetBucket*", "s3:GetEncryption*", "s3:GetLifecycle*", "s3:GetReplication*", "s3:ListBucket", "s3:GetAccelerate*",
          "secretsmanager:DescribeSecret",
          "sns:Get*", "sns:List*",
          "ssm:DescribeParameters",
          "wafv2:Get*", "wafv2:List*",
        ]
        Resource = "*"
      },
      {
        Sid      = "OwnParameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:ListTagsForResource"]
        Resource = "${local.arn.ssm}:parameter/${local.app}/*"
      },
      {
        Sid      = "State"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${local.state_bucket_arn}/*"
      },
      {
        Sid      = "StateLockFiles"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:PutObject"]
        Resource = "${local.state_bucket_arn}/*.tflock"
      },
      {
        Sid      = "StateLockTable"
        Effect   = "Allow"
        Action   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = local.locks_table_arn
      },
      {
        Sid      = "StateKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = aws_kms_key.state.arn
      },
    ]
  }
}

resource "aws_iam_policy" "read" {
  name        = "${local.app}-github-read"
  description = "What Terraform reads to plan, its state and its locks"
  policy      = jsonencode(local.read)
}

resource "aws_iam_role_policy_attachment" "read" {
  for_each = merge({ plan = aws_iam_role.plan.name }, { for name, role in aws_iam_role.apply : "apply-${name}" => role.name })

  role       = each.value
  policy_arn = aws_iam_policy.read.arn
}
