# A bucket for files that callers upload and download by URLs which the service signs. Only the service's role gets at what
# is in it: the bucket's policy refuses everybody else, administrators too. project.yaml says whether it is there.

locals {
  files     = module.config.files
  storage   = local.files != null
  scanned   = try(local.files.malware_scan, false)
  files_arn = "${local.arn.s3}:${local.names.files_bucket}"
  # By name: the policy is made while the roles are.
  task_role_arn = "${local.arn.iam}:role${local.names.role_path}${local.names.task_role}"
  scan_role_arn = "${local.arn.iam}:role${local.names.role_path}${local.names.files_scan_role}"

  # S3 asks KMS for its callers, about the bucket as a whole: it has a bucket key.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
  via_s3 = {
    StringEquals = { "kms:EncryptionContext:aws:s3:arn" = local.files_arn }
    # Whether China's services call themselves amazonaws.com.cn here is not documented.
    StringLike = { "kms:ViaService" = "s3.${local.region}.amazonaws.com*" }
  }

  use_files = [
    {
      Sid      = "Files"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = "${local.files_arn}/*"
    },
    {
      # Without it S3 says of a file that is not there that access is denied.
      Sid      = "WhetherAFileIsThere"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = local.files_arn
    },
    {
      Sid       = "EncryptFiles"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"] # the first for what is given out
      Resource  = one(module.files_key[*].arn)
      Condition = local.via_s3
    },
  ]
}

module "files_key" {
  source = "../modules/key"
  count  = local.storage ? 1 : 0

  config      = module.config
  alias       = local.names.files_key
  description = "Files of ${local.names.service}"
  protected   = local.protected
  log_groups  = []
  statements  = []
}

resource "aws_s3_bucket" "files" {
  #checkov:skip=CKV_AWS_144:Versions protect from mistakes; a copy in another region is for those who know what its loss would cost
  #checkov:skip=CKV2_AWS_62:Nothing acts on an upload; GuardDuty, where it scans, has an event rule of its own
  count = local.storage ? 1 : 0

  bucket        = local.names.files_bucket
  force_destroy = !local.protected
}

resource "aws_s3_bucket_public_access_block" "files" {
  count = local.storage ? 1 : 0

  bucket                  = aws_s3_bucket.files[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "files" {
  count = local.storage ? 1 : 0

  bucket = aws_s3_bucket.files[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "files" {
  count = local.storage ? 1 : 0

  bucket = aws_s3_bucket.files[0].id

  rule {
    # One call of KMS for many files.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = module.files_key[0].arn
    }
  }
}

resource "aws_s3_bucket_versioning" "files" {
  count = local.storage ? 1 : 0

  bucket = aws_s3_bucket.files[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "files" {
  count = local.storage ? 1 : 0

  bucket = aws_s3_bucket.files[0].id

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = local.files.old_version_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  dynamic "rule" {
    for_each = local.files.expire_days > 0 ? [local.files.expire_days] : []

    content {
      id     = "old-files"
      status = "Enabled"

      filter {}

      expiration {
        days = rule.value
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.files]
}

resource "aws_s3_bucket_cors_configuration" "files" {
  count = length(try(local.files.cors_origins, [])) > 0 ? 1 : 0

  bucket = aws_s3_bucket.files[0].id

  cors_rule {
    allowed_origins = local.files.cors_origins
    allowed_methods = ["GET", "HEAD", "POST"]
    allowed_headers = ["*"]
    expose_headers  = ["ETag"]
    max_age_seconds = 3600
  }
}

# Who asked for which file, and what S3 answered.
resource "aws_s3_bucket_logging" "files" {
  count = local.storage ? 1 : 0

  bucket        = aws_s3_bucket.files[0].id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "${local.file_log_prefix}/"

  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_s3_bucket_policy" "files" {
  count = local.storage ? 1 : 0

  bucket = aws_s3_bucket.files[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "TlsOnly"
          Effect    = "Deny"
          Principal = "*"
          Action    = "s3:*"
          Resource  = [local.files_arn, "${local.files_arn}/*"]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
        {
          # Whatever others may do elsewhere. What empties the bucket with its environment comes after this policy is gone.
          Sid       = "OnlyTheServiceGetsAtFiles"
          Effect    = "Deny"
          Principal = "*"
          Action    = "s3:*"
          Resource  = "${local.files_arn}/*"
          Condition = { ArnNotEquals = { "aws:PrincipalArn" = concat([local.task_role_arn], local.scanned ? [local.scan_role_arn] : []) } }
        },
      ],
      [for statement in [
        {
          # Not scanned yet, not to be scanned, or with malware in it.
          # https://docs.aws.amazon.com/guardduty/latest/ug/tag-based-access-s3-malware-protection.html
          Sid       = "OnlyCleanFilesAreRead"
          Effect    = "Deny"
          Principal = "*"
          Action    = ["s3:GetObject", "s3:GetObjectVersion"]
          Resource  = "${local.files_arn}/*"
          Condition = {
            StringNotEquals = { "s3:ExistingObjectTag/GuardDutyMalwareScanStatus" = "NO_THREATS_FOUND" }
            ArnNotEquals    = { "aws:PrincipalArn" = local.scan_role_arn }
          }
        },
        {
          Sid       = "OnlyTheScanSaysWhatIsClean"
          Effect    = "Deny"
          Principal = "*"
          Action    = ["s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"]
          Resource  = "${local.files_arn}/*"
          Condition = { ArnNotEquals = { "aws:PrincipalArn" = local.scan_role_arn } }
        },
      ] : statement if local.scanned],
    )
  })

  depends_on = [aws_s3_bucket_public_access_block.files]
}

# Callers talk to S3 and not to the service, which therefore does not notice when S3 refuses them.
resource "aws_s3_bucket_metric" "files" {
  count = local.storage ? 1 : 0

  bucket = aws_s3_bucket.files[0].id
  name   = "EntireBucket"
}

resource "aws_cloudwatch_metric_alarm" "file_errors" {
  count = local.storage ? 1 : 0

  alarm_name          = "${local.names.service}-files-errors"
  alarm_description   = "S3 refused more than ${local.settings.alarms.file_error_percent} % of the requests for files in three of five minutes: uploads or downloads fail. Was something deployed, or the bucket's policy or its key changed? docs/runbooks/files.md says how to read why."
  comparison_operator = "GreaterThanThreshold"
  threshold           = local.settings.alarms.file_error_percent
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "percent"
    label       = "Refused and failed requests, percent"
    expression  = "IF(asked >= ${local.errors_minimum_requests}, 100 * SUM([refused, failed]) / asked, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = {
      asked   = "AllRequests"
      refused = "4xxErrors"
      failed  = "5xxErrors"
    }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = "AWS/S3"
        metric_name = metric_query.value
        dimensions  = { BucketName = local.names.files_bucket, FilterId = aws_s3_bucket_metric.files[0].name }
        stat        = "Sum"
        period      = 60
      }
    }
  }
}

# GuardDuty looks at each file as soon as it is there, and says in a tag what it found.
resource "aws_guardduty_malware_protection_plan" "files" {
  count = local.scanned ? 1 : 0

  role = aws_iam_role.files_scan[0].arn

  protected_resource {
    s3_bucket {
      bucket_name = aws_s3_bucket.files[0].id
    }
  }

  actions {
    tagging {
      status = "ENABLED"
    }
  }

  # GuardDuty tries the role when the plan is made.
  depends_on = [aws_iam_role_policy.files_scan, aws_s3_bucket_policy.files, aws_s3_bucket_server_side_encryption_configuration.files]
}

resource "aws_iam_role" "files_scan" {
  count = local.scanned ? 1 : 0

  name                 = local.names.files_scan_role
  path                 = local.names.role_path
  description          = "GuardDuty scans the files of ${local.names.service}"
  permissions_boundary = local.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "malware-protection-plan.guardduty.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# https://docs.aws.amazon.com/guardduty/latest/ug/malware-protection-s3-iam-policy-prerequisite.html
resource "aws_iam_role_policy" "files_scan" {
  count = local.scanned ? 1 : 0

  name = "scan"
  role = aws_iam_role.files_scan[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # GuardDuty's own rule, by which it hears of new files.
        Sid       = "HearOfFiles"
        Effect    = "Allow"
        Action    = ["events:DeleteRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets"] # as that page lists them
        Resource  = "${local.arn.events}:rule/DO-NOT-DELETE-AmazonGuardDutyMalwareProtectionS3*"
        Condition = { StringLike = { "events:ManagedBy" = "malware-protection-plan.guardduty.amazonaws.com" } }
      },
      {
        Sid      = "LookAtThatRule"
        Effect   = "Allow"
        Action   = ["events:DescribeRule", "events:ListTargetsByRule"] # likewise
        Resource = "${local.arn.events}:rule/DO-NOT-DELETE-AmazonGuardDutyMalwareProtectionS3*"
      },
      {
        Sid      = "LetTheBucketTell"
        Effect   = "Allow"
        Action   = ["s3:GetBucketNotification", "s3:ListBucket", "s3:PutBucketNotification"] # likewise
        Resource = local.files_arn
      },
      {
        Sid    = "ReadAndTagFiles"
        Effect = "Allow"
        Action = [
          "s3:GetObject", "s3:PutObjectTagging",
          "s3:GetObjectTagging", "s3:GetObjectVersion", "s3:GetObjectVersionTagging", "s3:PutObjectVersionTagging", # likewise
        ]
        Resource = "${local.files_arn}/*"
      },
      {
        # By which it tries whether it may.
        Sid      = "ValidateTheBucket"
        Effect   = "Allow"
        Action   = "s3:PutObject" # likewise
        Resource = "${local.files_arn}/malware-protection-resource-validation-object"
      },
      {
        Sid    = "DecryptFiles"
        Effect = "Allow"
        Action = [
          "kms:Decrypt",
          "kms:GenerateDataKey", # likewise
        ]
        Resource  = module.files_key[0].arn
        Condition = { StringLike = { "kms:ViaService" = "s3.${local.region}.amazonaws.com*" } }
      },
    ]
  })
}

# Told twice, as a failed deployment is: in words, and as an alarm.
resource "aws_cloudwatch_event_rule" "files_malware" {
  count = local.scanned ? 1 : 0

  name        = local.names.files_malware
  description = "GuardDuty found malware in a file of ${local.names.service}"

  # https://docs.aws.amazon.com/guardduty/latest/ug/monitor-with-eventbridge-s3-malware-protection.html
  event_pattern = jsonencode({
    source      = ["aws.guardduty"]
    detail-type = ["GuardDuty Malware Protection Object Scan Result"]
    detail = {
      s3ObjectDetails   = { bucketName = [local.names.files_bucket] }
      scanResultDetails = { scanResultStatus = ["THREATS_FOUND"] }
    }
  })
}

resource "aws_cloudwatch_event_target" "files_malware" {
  count = local.scanned ? 1 : 0

  rule      = aws_cloudwatch_event_rule.files_malware[0].name
  target_id = "alarms-topic"
  arn       = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      file   = "$.detail.s3ObjectDetails.objectKey"
      time   = "$.time"
      threat = "$.detail.scanResultDetails.threats[0].name"
    }
    input_template = "\"${local.names.service}: GuardDuty found <threat> in the file <file> at <time>. Nobody is given it. docs/runbooks/files.md\""
  }

  depends_on = [aws_sns_topic_policy.alarms]
}

resource "aws_cloudwatch_metric_alarm" "files_malware" {
  count = local.scanned ? 1 : 0

  alarm_name          = "${local.names.service}-files-malware"
  alarm_description   = "GuardDuty found malware in an uploaded file. Nobody is given the file, but somebody sent it: docs/runbooks/files.md says how to find out who, and how to delete it."
  namespace           = "AWS/Events"
  metric_name         = "TriggeredRules"
  dimensions          = { RuleName = local.names.files_malware }
  statistic           = "Sum"
  period              = 60
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = local.alarm_minutes.event.of
  datapoints_to_alarm = local.alarm_minutes.event.bad
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
