# Layer 1: what the project needs once in each of its accounts, made by an administrator with `make bootstrap`.
#   state.tf     bucket, key and locks of Terraform's state
#   guards.tf    account-wide protections
#   github.tf    who GitHub's jobs are here: OIDC provider, roles and whom they trust
#   owners.tf    what belongs to which environment, by name and by tag
#   boundary.tf  the most that any role of an environment can do
#   read.tf      what the plan role may read, and each role's state
#   build.tf     what may be pushed: releases by the build role, previews by theirs
#   apply.tf     what the apply role of each environment may change, and the preview role

module "config" {
  source = "../config"

  account      = var.account_id
  project_file = var.project_file
}

provider "aws" {
  region              = module.config.project.aws_region
  allowed_account_ids = [module.config.project.aws_account_id]

  default_tags {
    tags = module.config.tags
  }
}

locals {
  project    = module.config.project
  names      = module.config.names
  app        = local.project.app_name
  account_id = local.project.aws_account_id
  region     = local.project.aws_region

  # Environments that live in this account.
  environment_names = module.config.accounts[local.account_id].environments
  # Whether the images are here: they are the project's account's.
  has_images = local.account_id == module.config.registry.account_id

  # Environments that have scheduled jobs.
  with_jobs = [for name in local.environment_names : name if length(module.environment[name].jobs) > 0]

  # A bucket for files, and whether GuardDuty scans it; not those of temporary environments.
  storage = module.config.files != null
  scanned = try(module.config.files.malware_scan, false)

  # ARN up to the resource, as in "${local.arn.iam}:role/name".
  arn = merge(
    {
      for service in [
        "acm", "appconfig", "application-autoscaling", "cloudwatch", "dynamodb", "ec2", "ecs", "elasticloadbalancing",
        "events", "guardduty", "kms", "lambda", "logs", "rds", "rds-db", "scheduler", "secretsmanager", "sns", "sqs", "ssm", "wafv2",
      ] : service => "arn:${module.config.partition}:${service}:${local.region}:${local.account_id}"
    },
    {
      iam     = "arn:${module.config.partition}:iam::${local.account_id}"
      s3      = "arn:${module.config.partition}:s3::"
      route53 = "arn:${module.config.partition}:route53::"
    },
  )
}
