# What Terraform refreshes, its state and its locks: all of the project's for the plan role, their own for the others.
# No secret values: not secretsmanager:GetSecretValue, no parameter's value for the plan role, and no function's code or
# variables but the role manager's.

locals {
  state_bucket_arn = "${local.arn.s3}:${local.names.state_bucket}"
  locks_table_arn  = "${local.arn.dynamodb}:table/${local.names.locks_table}"

  # AWS lets these be narrowed no further, or they name what has no secret in it.
  read = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Describe"
        Effect = "Allow"
        Action = concat([
          "acm:DescribeCertificate", "acm:ListTagsForCertificate",
          "appconfig:GetApplication", "appconfig:GetConfigurationProfile", "appconfig:GetDeployment",
          "appconfig:GetDeploymentStrategy", "appconfig:GetEnvironment", "appconfig:GetHostedConfigurationVersion", "appconfig:List*",
          "application-autoscaling:Describe*", "application-autoscaling:ListTagsForResource",
          "cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:ListTagsForResource",
          # Not ec2:Describe*: that reads the start-up scripts of other people's instances.
          "ec2:DescribeAccountAttributes", "ec2:GetSecurityGroupsForVpc", # by a load balancer that is made, in its maker's name
          "ec2:DescribeAddresses*", "ec2:DescribeAvailabilityZones", "ec2:DescribeFlowLogs", "ec2:DescribeInternetGateways",
          "ec2:DescribeManagedPrefixLists", "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls", "ec2:DescribeNetworkInterfaces",
          "ec2:DescribePrefixLists", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroup*", "ec2:DescribeSubnets",
          "ec2:DescribeVpc*", "ec2:GetEbsEncryptionByDefault", "ec2:GetManagedPrefixListEntries",
          "ecs:Describe*", "ecs:List*",
          "elasticloadbalancing:Describe*", "elasticloadbalancing:GetLoadBalancerWebACL",
          "events:DescribeRule", "events:List*",
          "kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListAliases", "kms:ListResourceTags",
          "logs:DescribeLogGroups", "logs:ListTagsForResource",
          "rds:Describe*", "rds:ListTagsForResource",
          "route53:GetChange", "route53:GetHostedZone", "route53:ListHostedZones*", "route53:ListResourceRecordSets", "route53:ListTagsForResource",
          "s3:GetAccountPublicAccessBlock",
          "sns:GetSubscriptionAttributes", "sns:GetTopicAttributes", "sns:ListTagsForResource",
          "ssm:DescribeParameters",
          "wafv2:GetLoggingConfiguration", "wafv2:GetWebACL*", "wafv2:ListTagsForResource",
          ],
          length(local.with_jobs) > 0 ? ["scheduler:GetSchedule*", "scheduler:ListTagsForResource"] : [],
          local.scanned ? [
            "guardduty:GetMalwareProtectionPlan",
            "guardduty:ListTagsForResource", # its tags, as newer providers may read them
          ] : [],
        )
        Resource = "*"
      },
      {
        Sid    = "ProjectsRepositories"
        Effect = "Allow"
        Action = concat(
          ["ecr:DescribeImages", "ecr:DescribeRepositories"],
          local.has_images ? ["ecr:GetLifecyclePolicy", "ecr:ListTagsForResource"] : [],
          local.has_images && length(module.config.accounts) > 1 ? ["ecr:GetRepositoryPolicy"] : [],
        )
        Resource = [
          for name in [local.names.build_repository, local.names.preview_repository] : "${module.config.registry.arn}/${name}"
        ]
      },
      {
        Sid    = "ProjectsRoles"
        Effect = "Allow"
        Action = [
          "iam:GetPolicy*", "iam:GetRole*", "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies",
          "iam:ListPolicyTags", "iam:ListPolicyVersions", "iam:ListRoleTags", # whose are they, before a change
        ]
        Resource = ["${local.arn.iam}:policy/${local.app}/*", "${local.arn.iam}:role/${local.app}/*"]
      },
      {
        Sid    = "OidcProvider"
        Effect = "Allow"
        Action = [
          "iam:GetOpenIDConnectProvider",
          "iam:ListOpenIDConnectProviderTags", # make doctor
        ]
        Resource = local.oidc_arn
      },
      {
        Sid    = "StateBucketAndTable"
        Effect = "Allow"
        Action = concat(
          local.read_bucket,
          local.project.terraform_state_locks == "dynamodb" ? ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:GetItem", "dynamodb:ListTagsOfResource"] : [],
        )
        Resource = concat(
          [local.state_bucket_arn, "${local.arn.s3}:${local.names.state_log_bucket}"],
          local.project.terraform_state_locks == "dynamodb" ? [local.locks_table_arn] : [],
        )
      },
      {
        Sid      = "StateKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = aws_kms_key.state.arn
      },
      {
        # What every layer looks for: is the account made, and the repository?
        Sid      = "SharedState"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [for layer in concat(["account"], local.shared_layers) : "${local.state_bucket_arn}/${layer}.tfstate*"]
      },
    ]
  }
  # Whose state is beside the account's.
  shared_layers = local.has_images ? ["build-repository"] : []
  # A bucket's settings and the names in it, not what it holds.
  read_bucket = concat([
    "s3:GetAccelerate*", "s3:GetBucket*", "s3:GetEncryption*", "s3:GetLifecycle*", "s3:GetReplication*", "s3:ListBucket",
    "s3:ListBucketVersions", "s3:ListTagsForResource",    # to empty it; its tags, as version 6 of the provider reads them
  ], local.storage ? ["s3:GetMetricsConfiguration"] : []) # of the files' bucket

  # Whose resources each role reads. Previews live with what is dev's.
  readers = merge(
    { plan = keys(local.owners) },
    { for key in local.environment_names : key => [key] },
    { for key in local.previews : key => [key, "dev"] },
  )
  # States that each one locks: a plan of the build repository is part of `make up`. What only plans takes no locks.
  locks = {
    for reader, owned in local.readers : reader => concat(local.owners[reader].states, [for layer in local.shared_layers : "${layer}.tfstate"])
    if reader != "plan"
  }

  read_own = {
    for reader, owned in local.readers : reader => concat(
      local.project.database == "none" ? [] : [{
        Sid    = "OwnFunctions"
        Effect = "Allow"
        Action = [
          "lambda:GetFunction*", "lambda:GetPolicy", "lambda:ListVersionsByFunction",
          "lambda:ListTags", # newer providers do not take them from GetFunction
        ]
        Resource = [
          for name in distinct([for key in owned : local.owners[key].environment]) :
          "${local.arn.lambda}:function:${module.environment[name].names.role_manager}"
        ]
      }],
      [
        {
          Sid      = "OwnBuckets"
          Effect   = "Allow"
          Action   = local.read_bucket
          Resource = [for bucket in flatten([for key in owned : local.owners[key].buckets]) : "${local.arn.s3}:${bucket}"]
        },
        {
          Sid    = "State"
          Effect = "Allow"
          Action = "s3:GetObject"
          Resource = [
            for state in reader == "plan" ? ["*.tfstate"] : concat(local.owners[reader].states, local.owners[reader].reads) :
            "${local.state_bucket_arn}/${state}*"
          ]
        },
      ],
      [for states in reader == "plan" ? [] : [local.locks[reader]] : {
        Sid      = "LockFiles"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:PutObject"]
        Resource = [for state in states : "${local.state_bucket_arn}/${state}.tflock"]
      }],
      length(module.config.workers) + length(local.with_jobs) == 0 ? [] : [{
        Sid    = "OwnQueues"
        Effect = "Allow"
        Action = ["sqs:GetQueueAttributes", "sqs:ListQueueTags"]
        Resource = distinct(flatten([
          for key in owned : [for name in local.owners[key].names : "${local.arn.sqs}:${name}" if strcontains(name, "*")]
        ]))
      }],
      # Terraform looks here whether there is a URL of the incident management, which previews have not. A path's value is all
      # that is in it, and recursively all below it, whatever is denied there.
      # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
      contains(local.previews, reader) ? [] : [{
        # Of the whole path: AWS decides on the path itself, which has no / at its end.
        Sid       = "ParametersByPath"
        Effect    = "Allow"
        Action    = "ssm:GetParametersByPath"
        Resource  = distinct(flatten([for key in owned : [for form in ["", "/*"] : "${local.arn.ssm}:parameter/${local.owners[key].path}${form}"]]))
        Condition = { StringNotEquals = { "ssm:Recursive" = "true" } }
      }],
      [
        {
          # Who plans reads three: what Terraform subscribes, and so has in its state; and, to see before a gate whether a
          # delivery is older than what is there, the commit and the images that were delivered. A preview reads its own.
          Sid    = "OwnParameters"
          Effect = "Allow"
          Action = ["ssm:GetParameter", "ssm:GetParameterHistory"]
          Resource = distinct(flatten([
            for key in owned : [
              for name in reader == "plan" ? ["commit", "image", "incident-url"] : key == reader ? ["*"] : ["image"] :
              "${local.arn.ssm}:parameter/${local.owners[key].path}/${name}"
            ]
          ]))
        },
      ],
      local.project.terraform_state_locks != "dynamodb" || reader == "plan" ? [] : [{
        # An item is a state's lock, or with -md5 behind it the sum of its newest version.
        Sid      = "LockItems"
        Effect   = "Allow"
        Action   = ["dynamodb:DeleteItem", "dynamodb:PutItem"]
        Resource = local.locks_table_arn
        Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = concat(
          [for state in try(local.locks[reader], []) : "${local.names.state_bucket}/${state}"],
          [for state in try(local.owners[reader].states, []) : "${local.names.state_bucket}/${state}-md5"],
        ) } }
      }],
    )
  }
}

resource "aws_iam_policy" "read" {
  name        = "${local.app}-github-read"
  path        = local.names.github_path
  description = "What Terraform reads to plan, and the state that environments share"
  policy      = jsonencode(local.read)
}

resource "aws_iam_role_policy_attachment" "read" {
  for_each = merge({ plan = aws_iam_role.plan.name }, { for key, role in aws_iam_role.apply : "apply-${key}" => role.name })

  role       = each.value
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_role_policy" "plan" {
  name = "plan"
  role = aws_iam_role.plan.name
  # Where no environment lives, as in an account for tools, there is nothing of one to read.
  policy = jsonencode({ Version = "2012-10-17", Statement = concat([for statement in local.read_own["plan"] : statement if length(flatten([statement.Resource])) > 0], [
    {
      # .github/workflows/security.yml scans the image that runs; its attestation is verified before it is deployed.
      Sid      = "ImagesToScan"
      Effect   = "Allow"
      Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = "${module.config.registry.arn}/${local.names.build_repository}"
    },
    {
      Sid      = "LogInToTheRegistry"
      Effect   = "Allow"
      Action   = "ecr:GetAuthorizationToken"
      Resource = "*"
    },
  ]) })
}
