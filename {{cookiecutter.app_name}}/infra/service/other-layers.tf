# Found by name; this layer reads no other layer's state.

# By the tags too that nobody else's jobs can give: a second network of this name would stop every deployment.
data "aws_vpc" "network" {
  tags = { Name = local.names.network, application = local.project.app_name, environment = var.environment }
}

data "aws_subnets" "public" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.network.id]
  }

  tags = { tier = "public" }
}

data "aws_subnets" "private" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.network.id]
  }

  tags = { tier = "private" }
}

# With NAT gateways the network has no interface endpoints for the service.
data "aws_security_group" "endpoints" {
  count = local.internet_egress || module.config.temporary ? 0 : 1

  name   = local.names.endpoints_security_group
  vpc_id = data.aws_vpc.network.id
}

# With a database the network has an endpoint of Secrets Manager, to which that service's name leads everybody in the VPC.
data "aws_security_group" "secrets_endpoint" {
  count = local.database && !module.config.temporary ? 1 : 0

  name   = local.names.secrets_endpoint_security_group
  vpc_id = data.aws_vpc.network.id
}

data "aws_ec2_managed_prefix_list" "s3" {
  name = "com.amazonaws.${local.region}.s3"
}

data "aws_rds_cluster" "database" {
  count = local.database ? 1 : 0

  cluster_identifier = local.names.database_cluster
}

data "aws_security_group" "database" {
  count = local.database && !module.config.temporary ? 1 : 0

  name   = local.names.database_security_group
  vpc_id = data.aws_vpc.network.id
}

# The group of the service beside which this temporary environment runs: its tasks carry it too, and so reach what that
# service reaches, without a change of anything that is not their own.
data "aws_security_groups" "environment" {
  count = module.config.temporary ? 1 : 0

  filter {
    name   = "group-name"
    values = [local.names.environment_security_group]
  }

  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.network.id]
  }
}

# The environment's key that is there before its service: secrets are stored before the service needs them.
data "aws_kms_alias" "secrets" {
  count = length(local.secrets) > 0 ? 1 : 0

  name = local.names.network_key
}
