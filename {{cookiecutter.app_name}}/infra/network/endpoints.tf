# AWS services that are reached without the internet. Each interface endpoint costs about 7 USD a month and zone, so
# it is here only when nothing else leads to the service:
#   internet_egress none         every service that Fargate, ECS Exec and the chosen components call
#   internet_egress nat-gateway  the NAT gateway carries those calls, encrypted as always
#   a database, in both cases    Secrets Manager: the role manager's subnets have no other way, ever. Its name then leads
#                                here from everywhere in the VPC, so the service is admitted too

locals {
  # Each with who uses it and what may be asked through it. A service that needs one more AWS service adds a row.
  service_endpoints = local.project.internet_egress == "none" ? merge(
    {
      "ecr.api" = { # Fargate asks for the image's layers
        actions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"]
      }
      "ecr.dkr" = { # Fargate pulls the image
        actions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"]
      }
      "logs" = { # the service's log, and what was typed in an ECS Exec session
        actions = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      }
      "ssmmessages" = { # ECS Exec: the session itself
        actions = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
      }
      "kms" = { # ECS Exec: the session's key
        actions = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
      }
    },
    length(module.config.secrets) > 0 ? {
      "ssm" = { # Fargate reads the service's secrets
        actions = ["ssm:GetParameters"]
      }
    } : {},
    length(module.config.workers) > 0 ? {
      "sqs" = { # the service sends to its workers, and they take
        actions = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
      }
    } : {},
    local.project.feature_flags == "appconfig" ? {
      "appconfigdata" = { # the service's feature flags
        actions = ["appconfig:GetLatestConfiguration", "appconfig:StartConfigurationSession"]
      }
    } : {},
  ) : {}

  secrets_endpoint = local.project.database != "none" ? {
    "secretsmanager" = { # the role manager: the database's master password; the service: its own secrets
      actions = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    }
  } : {}

  endpoints = merge(local.service_endpoints, local.secrets_endpoint)
  # One interface serves every zone, for the price of traffic between zones, until its own zone fails.
  endpoint_zones = slice(local.zones, 0, min(try(local.settings.network.endpoint_zones, local.settings.network.zones), length(local.zones)))

  security_group_ids = merge(
    { for name in keys(local.service_endpoints) : name => aws_security_group.endpoints.id },
    { for name in keys(local.secrets_endpoint) : name => one(aws_security_group.secrets_endpoint[*].id) },
  )
}

# Whether a service has endpoint policies, and in China also how its name begins: AWS knows.
data "aws_vpc_endpoint_service" "this" {
  for_each = local.endpoints

  service_name = module.config.partition == "aws-cn" ? null : "com.amazonaws.${local.region}.${each.key}"
  service_type = "Interface"

  dynamic "filter" {
    for_each = module.config.partition == "aws-cn" ? ["service-name"] : []

    content {
      name   = filter.value
      values = ["com.amazonaws.${local.region}.${each.key}", "cn.com.amazonaws.${local.region}.${each.key}"]
    }
  }
}

# Without rules: each service's layer adds the one that admits its own group, and takes it away again. It is here without
# endpoints too: a service that still refers to it would keep AWS from deleting it when internet_egress changes.
resource "aws_security_group" "endpoints" {
  name        = local.names.endpoints_security_group
  description = "VPC endpoints: admits the services that call AWS"
  vpc_id      = aws_vpc.this.id

  tags = {
    Name = local.names.endpoints_security_group
  }
}

# Without rules: infra/database adds the one that admits the role manager, infra/service that of its tasks.
resource "aws_security_group" "secrets_endpoint" {
  count = length(local.secrets_endpoint) > 0 ? 1 : 0

  name        = local.names.secrets_endpoint_security_group
  description = "Secrets Manager endpoint: admits the role manager"
  vpc_id      = aws_vpc.this.id

  tags = {
    Name = local.names.secrets_endpoint_security_group
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.endpoints

  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = data.aws_vpc_endpoint_service.this[each.key].service_name
  private_dns_enabled = true
  subnet_ids          = [for zone in local.endpoint_zones : aws_subnet.private[zone].id]
  security_group_ids  = [local.security_group_ids[each.key]]

  # For those who belong to this account only: stolen keys of another account cannot carry data out. Where AWS names services
  # without telling more of them, as in GovCloud once, there is no telling.
  policy = coalesce(data.aws_vpc_endpoint_service.this[each.key].vpc_endpoint_policy_supported, false) ? jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OwnAccount"
      Effect    = "Allow"
      Principal = "*"
      Action    = each.value.actions
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account } }
    }]
  }) : null

  tags = {
    Name = "${local.names.network}-${each.key}"
  }
}

locals {
  s3_statements = [
    {
      # https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
      Sid       = "LayersOfImages"
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:GetObject"
      Resource  = "${local.arn}:s3:::prod-${local.region}-starport-layer-bucket/*"
    },
    module.config.files == null ? {
      Sid       = "OwnBuckets"
      Effect    = "Allow"
      Principal = "*"
      Action    = ["s3:*"]
      Resource  = ["*"]
      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account, "aws:ResourceAccount" = local.account } }
      } : {
      # The bucket of this environment, and those of the temporary ones beside it. Another of your own is another row.
      Sid       = "Files"
      Effect    = "Allow"
      Principal = "*"
      Action    = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
      Resource = flatten([
        for bucket in [local.names.files_bucket, "${local.names.service}-*-files-${local.account}"] :
        [for form in ["", "/*"] : "${local.arn}:s3:::${bucket}${form}"]
      ])
      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account, "aws:ResourceAccount" = local.account } }
    },
  ]
  # The buckets of others are part of the internet that the service may reach.
  s3_internet_statements = [
    {
      Sid       = "EveryBucket"
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:*"
      Resource  = "*"
    },
  ]
}

# Costs nothing. ECR keeps the layers of images in S3.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${local.region}.s3"
  route_table_ids   = [for table in aws_route_table.private : table.id]

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.s3_statements, local.project.internet_egress == "none" ? [] : local.s3_internet_statements)
  })

  tags = {
    Name = "${local.names.network}-s3"
  }
}
