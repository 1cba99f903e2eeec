# State, keys, logs, buckets and parameters: what an apply role may do with those of its environment, and the preview role with
# those of previews.

locals {
  apply_data = {
    for key, owner in local.owners : key => concat([
      {
        Sid      = "OwnState"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = [for state in owner.states : "${local.state_bucket_arn}/${state}"]
      },
      {
        # A finished temporary environment leaves no state behind.
        Sid      = "StateOfTemporaryEnvironments"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = [for state in owner.states : "${local.state_bucket_arn}/${state}" if startswith(state, "env:")]
      },
      {
        # A key that has an alias is not just being made, whoever's it is that has no tags.
        Sid       = "MakeKeys"
        Effect    = "Allow"
        Action    = ["kms:CreateKey", "kms:TagResource"]
        Resource  = "*"
        Condition = merge(local.made[key], { Null = merge(local.untagged.Null, { "kms:ResourceAliases" = "true" }) })
      },
      {
        # IAM may learn of a new key's tags minutes after it is made.
        # https://docs.aws.amazon.com/kms/latest/developerguide/abac.html
        Sid       = "KeysJustMade"
        Effect    = "Allow"
        Action    = ["kms:CreateAlias", "kms:EnableKeyRotation"] # the alias where it is made at once
        Resource  = "${local.arn.kms}:key/*"
        Condition = local.untagged
      },
      {
        # By RDS and by Secrets Manager for it, in the caller's name. Whether China's say amazonaws.com.cn is not documented.
        Sid      = "KeysJustMadeForTheDatabase"
        Effect   = "Allow"
        Action   = ["kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey"]
        Resource = "${local.arn.kms}:key/*"
        Condition = merge(local.untagged, { StringLike = { "kms:ViaService" = [
          for service in ["rds", "secretsmanager"] : "${service}.${local.region}.amazonaws.com*"
        ] } })
      },
      {
        Sid    = "OwnKeys"
        Effect = "Allow"
        Action = [
          "kms:Decrypt", "kms:DeleteAlias", "kms:ScheduleKeyDeletion",
          "kms:CreateAlias", "kms:CreateGrant", "kms:EnableKeyRotation", "kms:GenerateDataKey",   # when the tags have arrived by then
          "kms:UpdateAlias",                                                                      # when a key is replaced
          "kms:PutKeyPolicy", "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription", # when these change
        ]
        Resource  = "${local.arn.kms}:key/*"
        Condition = local.own[key]
      },
      {
        Sid      = "OwnKeyAliases"
        Effect   = "Allow"
        Action   = "kms:*Alias" # made, deleted, and given to the key that replaces another
        Resource = [for name in owner.names : "${local.arn.kms}:alias/${name}"]
      },
      {
        # IAM sees a group's ARN with or without :* at its end, as the action is.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
        Sid    = "OwnLogGroups"
        Effect = "Allow"
        Action = [
          "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource",
          "logs:AssociateKmsKey", "logs:DeleteRetentionPolicy", "logs:DisassociateKmsKey", "logs:UntagResource", # when these change
          "logs:FilterLogEvents", "logs:GetLogEvents",                                                           # make logs, and why a task ended
        ]
        Resource = concat(
          ["${local.arn.logs}:log-group:/${owner.path}/*"],
          flatten([for name in owner.names : [
            for group in ["/aws/ecs/containerinsights/${name}/*", "/aws/lambda/${name}", "/aws/lambda/${name}:*", "/aws/rds/cluster/${name}/*", "aws-waf-logs-${name}", "aws-waf-logs-${name}:*"] :
            "${local.arn.logs}:log-group:${group}"
          ]]),
        )
      },
      {
        Sid    = "OwnBuckets"
        Effect = "Allow"
        Action = concat([
          "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:DeleteObjectVersion", "s3:PutBucketOwnershipControls",
          "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning",
          "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration",
          "s3:DeleteObject",                    # an object without a version
          "s3:TagResource", "s3:UntagResource", # how version 6 of the provider changes tags
          ],
          local.storage ? [
            "s3:PutBucketLogging", "s3:PutMetricsConfiguration",
            "s3:PutBucketCORS", # with files.cors_origins
          ] : [],
        )
        Resource = flatten([for bucket in owner.buckets : ["${local.arn.s3}:${bucket}", "${local.arn.s3}:${bucket}/*"]])
      },
      {
        Sid    = "OwnParameters"
        Effect = "Allow"
        Action = [
          "ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:PutParameter",
          "ssm:RemoveTagsFromResource", # when tags change
        ]
        Resource = "${local.arn.ssm}:parameter/${owner.path}/*"
      },
      ],
      [for statement in [
        {
          # Jobs know the names of secrets; the values are for the tasks.
          Sid      = "SecretsAreForTasks"
          Effect   = "Deny"
          Action   = ["ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath"]
          Resource = [for path in ["secrets", "previews/secrets"] : "${local.arn.ssm}:parameter/${local.app}/${owner.environment}/${path}*"]
        },
      ] : statement if length(module.config.secrets) > 0],
      [for statement in [
        {
          Sid       = "MakeMalwareScan"
          Effect    = "Allow"
          Action    = ["guardduty:CreateMalwareProtectionPlan", "guardduty:TagResource"]
          Resource  = "*"
          Condition = local.made[key]
        },
        {
          Sid    = "OwnMalwareScan"
          Effect = "Allow"
          Action = [
            "guardduty:DeleteMalwareProtectionPlan",
            "guardduty:TagResource", "guardduty:UntagResource", "guardduty:UpdateMalwareProtectionPlan", # when these change
          ]
          Resource  = "${local.arn.guardduty}:malware-protection-plan/*"
          Condition = local.own[key]
        },
      ] : statement if owner.temporary == null && local.scanned],
    )
  }
}
