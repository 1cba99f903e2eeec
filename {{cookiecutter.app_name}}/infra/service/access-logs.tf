# Who connected and what they asked for: the load balancer's connection and access logs, and those of the bucket for files.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html

locals {
  access_log_prefix     = "access"
  connection_log_prefix = "connections"
  file_log_prefix       = "files"
}

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV_AWS_144:Access logs are evidence for months, not data to restore
  #checkov:skip=CKV_AWS_145:ELB can deliver only to a bucket encrypted with SSE-S3
  #checkov:skip=CKV2_AWS_62:Nothing acts on an access log
  bucket        = local.names.log_bucket
  force_destroy = !local.protected
}

resource "aws_s3_bucket_public_access_block" "logs" {
  bucket                  = aws_s3_bucket.logs.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "logs" {
  bucket = aws_s3_bucket.logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    id     = "old-logs"
    status = "Enabled"

    filter {}

    expiration {
      days = local.log_retention_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.logs]
}

resource "aws_s3_bucket_policy" "logs" {
  bucket = aws_s3_bucket.logs.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.logs.arn, "${aws_s3_bucket.logs.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "LoadBalancerWritesItsLogs"
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource = [
          for prefix in [local.access_log_prefix, local.connection_log_prefix] :
          "${aws_s3_bucket.logs.arn}/${prefix}/AWSLogs/${local.account_id}/*"
        ]
      },
      ],
      [for statement in [
        {
          # https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
          Sid       = "TheBucketForFilesWritesItsLog"
          Effect    = "Allow"
          Principal = { Service = "logging.s3.amazonaws.com" }
          Action    = "s3:PutObject"
          Resource  = "${aws_s3_bucket.logs.arn}/${local.file_log_prefix}/*"
          Condition = {
            ArnLike      = { "aws:SourceArn" = local.files_arn }
            StringEquals = { "aws:SourceAccount" = local.account_id }
          }
        },
      ] : statement if local.storage],
    )
  })

  depends_on = [aws_s3_bucket_public_access_block.logs]
}
