# Layer 2, for each environment: its VPC.
#   subnets.tf    public for the load balancer, private for the service, database for what must not leave the VPC
#   routes.tf     which subnets reach the internet, and through what
#   endpoints.tf  the AWS services that are reached without the internet
#   flow_logs.tf  who talked to whom

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
}

# Encrypts the flow logs.
module "key" {
  source = "../modules/key"

  config      = module.config
  alias       = local.names.network_key
  description = "Encrypts the flow logs of ${local.names.network}"
  protected   = local.settings.protected
  log_groups  = [local.names.flow_log_group]
}

resource "aws_vpc" "this" {
  cidr_block           = local.settings.network.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true # the private names of the endpoints need it

  tags = {
    Name = local.names.network
  }

  lifecycle {
    precondition {
      condition     = terraform.workspace == "default"
      error_message = "A temporary environment (workspace ${terraform.workspace}) uses the network of ${local.names.network}: only infra/service is applied in a workspace."
    }
    precondition {
      condition     = length(data.aws_availability_zones.usable.names) >= local.settings.network.zones
      error_message = "project.yaml: environments.${var.environment}.network.zones: ${local.settings.network.zones} is more than this account can use in ${local.region}: ${join(", ", data.aws_availability_zones.usable.names)}."
    }
    precondition {
      condition     = length(flatten(data.aws_security_groups.database[*].ids)) == 0
      error_message = "project.yaml: database is none, but ${local.names.database_cluster} still has its database, whose role manager needs this network. Delete the environment (`make down ENV=${var.environment}`) while project.yaml says aurora-postgresql, then turn the database off."
    }
  }
}

# A database that was turned off in project.yaml and not deleted.
data "aws_security_groups" "database" {
  count = local.project.database == "none" ? 1 : 0

  filter {
    name   = "group-name"
    values = [local.names.database_security_group]
  }
}

# The group that AWS gives to what has no other: nobody in, nothing out.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id

  # infra/account knows the group by this name.
  tags = {
    Name = local.names.default_security_group
  }
}
