# Protections that an account has once. Left to the project that made them where account_settings is "existing".

locals {
  makes_account_settings = local.project.account_settings == "create"
}

resource "aws_s3_account_public_access_block" "this" {
  count = local.makes_account_settings ? 1 : 0

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_ebs_encryption_by_default" "this" {
  count = local.makes_account_settings ? 1 : 0

  enabled = true
}

# ECS has account defaults too, but each cluster here states its own settings and so needs none of them.
