# Layer 4, for each environment: its database, ready for the service when the layer is applied.
#   cluster.tf          Aurora PostgreSQL, its parameters, logs and monitoring
#   security_groups.tf  who may open a connection
#   role_manager.tf     the function that makes the database's roles what project.yaml says, and what it may do
#   role_manager_runs.tf  when it runs: at every change, and once a day to look for drift

module "config" {
  source = "../config"

  environment  = var.environment
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
  project  = module.config.project
  settings = module.config.environment
  names    = module.config.names
  arn      = "arn:${module.config.partition}"
  account  = local.project.aws_account_id
  region   = local.project.aws_region

  permissions_boundary = "${local.arn}:iam::${local.account}:policy${local.names.github_path}${local.names.permissions_boundary}"
}

# Encrypts the storage and its snapshots, the master password, Performance Insights and the logs.
module "key" {
  source = "../modules/key"

  config      = module.config
  alias       = local.names.database_key
  description = "Encrypts the database ${local.names.database_cluster} and its logs"
  protected   = local.settings.protected || local.final_snapshot # a snapshot cannot be read without it
  log_groups  = ["${local.names.database_log_groups}/*", local.names.role_manager_log_group]
}

# By the tags too that nobody else's jobs can give: a second network of this name would stop every deployment.
data "aws_vpc" "this" {
  tags = {
    Name        = local.names.network
    application = local.project.app_name
    environment = var.environment
  }
}

data "aws_subnets" "database" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.this.id]
  }

  tags = {
    tier = "database"
  }
}

data "aws_security_group" "secrets_endpoint" {
  name   = local.names.secrets_endpoint_security_group
  vpc_id = data.aws_vpc.this.id
}
