mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
}

variables {
  config = {
    partition  = "aws-cn"
    dns_suffix = "amazonaws.com.cn"
    project    = { aws_account_id = "123456789012", aws_region = "cn-north-1" }
  }
  alias       = "alias/shop-dev-database"
  description = "Encrypts"
  protected   = true
}

run "protected" {
  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 30 && aws_kms_key.this.enable_key_rotation && aws_kms_alias.this.target_key_id == aws_kms_key.this.key_id
    error_message = "a protected key turns every year and can be had back for 30 days"
  }
  assert {
    condition     = length(jsondecode(aws_kms_key.this.policy).Statement) == 1 && jsondecode(aws_kms_key.this.policy).Statement[0].Principal.AWS == "arn:aws-cn:iam::123456789012:root"
    error_message = "without log groups and statements IAM alone decides"
  }
}

run "log_groups_and_further_statements" {
  variables {
    protected  = false
    log_groups = ["/shop/dev/*"]
    statements = [{
      Sid       = "Alarms"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
      Resource  = "*"
    }]
  }

  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 7
    error_message = "an unprotected key is gone after a week"
  }
  assert {
    condition = (
      jsondecode(aws_kms_key.this.policy).Statement[1].Principal.Service == "logs.cn-north-1.amazonaws.com.cn" &&
      jsondecode(aws_kms_key.this.policy).Statement[1].Condition.ArnLike["kms:EncryptionContext:aws:logs:arn"] == ["arn:aws-cn:logs:cn-north-1:123456789012:log-group:/shop/dev/*"]
    )
    error_message = "CloudWatch Logs may use the key for the named log groups only"
  }
  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[2].Sid == "Alarms"
    error_message = "the caller's statements come last"
  }
}
