# A customer-managed KMS key that turns every year, with its alias. Who may use it is decided by IAM in this account,
# by the log groups named here, and by the statements that the caller adds.

locals {
  account = var.config.project.aws_account_id
  region  = var.config.project.aws_region

  account_statement = {
    Sid       = "AccountDecidesByIam"
    Effect    = "Allow"
    Principal = { AWS = "arn:${var.config.partition}:iam::${local.account}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
  log_groups_statement = {
    Sid       = "LogGroups"
    Effect    = "Allow"
    Principal = { Service = "logs.${local.region}.${var.config.dns_suffix}" }
    Action    = ["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    Resource  = "*"
    Condition = {
      ArnLike = {
        "kms:EncryptionContext:aws:logs:arn" = [
          for name in var.log_groups : "arn:${var.config.partition}:logs:${local.region}:${local.account}:log-group:${name}"
        ]
      }
    }
  }
}

resource "aws_kms_key" "this" {
  description         = var.description
  enable_key_rotation = true
  # 30 days are the longest that AWS offers to change one's mind, 7 the shortest.
  deletion_window_in_days = var.protected ? 30 : 7

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.account_statement], length(var.log_groups) > 0 ? [local.log_groups_statement] : [], var.statements)
  })
}

resource "aws_kms_alias" "this" {
  name          = var.alias
  target_key_id = aws_kms_key.this.key_id
}
