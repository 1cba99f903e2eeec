# internet, or ingress.cidrs of it -> load balancer -> service -> database, VPC endpoints, and the internet only with NAT gateways. A rule names
# the other security group, so that an address that changes hands opens nothing. In a temporary environment the ways out
# are those of the group of the service beside it.

locals {
  ways_out = !module.config.temporary
  callers  = toset(local.settings.ingress.cidrs)

  # Of the service's tasks and of those of its workers, to which nobody connects.
  task_security_groups = concat([aws_security_group.service.id], flatten(data.aws_security_groups.environment[*].ids))
}

resource "aws_security_group" "load_balancer" {
  name        = local.names.load_balancer_security_group
  description = "Load balancer: the internet in, the service out"
  vpc_id      = data.aws_vpc.network.id
}

# Port 80 answers with a redirect to HTTPS; without a domain there is no certificate and it is the only way in.
resource "aws_vpc_security_group_ingress_rule" "http" {
  for_each = local.callers

  security_group_id = aws_security_group.load_balancer.id
  description       = "HTTP from the internet"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each = local.https ? local.callers : []

  security_group_id = aws_security_group.load_balancer.id
  description       = "HTTPS from the internet"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "load_balancer_to_service" {
  security_group_id            = aws_security_group.load_balancer.id
  description                  = "Requests and health checks to the service"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = local.container_port
  to_port                      = local.container_port
}

resource "aws_security_group" "service" {
  name        = local.names.service_security_group
  description = "Tasks of the service: the load balancer in, what they need out"
  vpc_id      = data.aws_vpc.network.id

  lifecycle {
    precondition {
      condition     = !module.config.temporary || length(flatten(data.aws_security_groups.environment[*].ids)) == 1
      error_message = "${local.names.service} runs beside ${local.names.network}, whose service is not there: make up ENV=${var.environment} first."
    }
  }
}

resource "aws_vpc_security_group_ingress_rule" "service_from_load_balancer" {
  security_group_id            = aws_security_group.service.id
  description                  = "Requests and health checks from the load balancer"
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.container_port
  to_port                      = local.container_port
}

resource "aws_vpc_security_group_egress_rule" "service_to_s3" {
  count = local.ways_out ? 1 : 0

  security_group_id = aws_security_group.service.id
  description       = "Image layers, through the S3 gateway endpoint"
  prefix_list_id    = data.aws_ec2_managed_prefix_list.s3.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_endpoints" {
  count = local.ways_out && !local.internet_egress ? 1 : 0

  security_group_id            = aws_security_group.service.id
  description                  = "AWS services through the VPC endpoints"
  referenced_security_group_id = data.aws_security_group.endpoints[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_service" {
  count = local.ways_out && !local.internet_egress ? 1 : 0

  security_group_id            = data.aws_security_group.endpoints[0].id
  description                  = "Tasks of ${local.names.service}"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_secrets_endpoint" {
  count = local.ways_out && local.database ? 1 : 0

  security_group_id            = aws_security_group.service.id
  description                  = "Secrets Manager"
  referenced_security_group_id = data.aws_security_group.secrets_endpoint[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "secrets_endpoint_from_service" {
  count = local.ways_out && local.database ? 1 : 0

  security_group_id            = data.aws_security_group.secrets_endpoint[0].id
  description                  = "Tasks of ${local.names.service}"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_internet" {
  count = local.ways_out && local.internet_egress ? 1 : 0

  security_group_id = aws_security_group.service.id
  description       = "HTTPS to the internet and to AWS services, through the NAT gateways"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_database" {
  count = local.ways_out && local.database ? 1 : 0

  security_group_id            = aws_security_group.service.id
  description                  = "The database"
  referenced_security_group_id = data.aws_security_group.database[0].id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_ingress_rule" "database_from_service" {
  count = local.ways_out && local.database ? 1 : 0

  security_group_id            = data.aws_security_group.database[0].id
  description                  = "Tasks of ${local.names.service}"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

moved {
  from = aws_vpc_security_group_egress_rule.service_to_s3
  to   = aws_vpc_security_group_egress_rule.service_to_s3[0]
}

moved {
  from = aws_vpc_security_group_ingress_rule.http
  to   = aws_vpc_security_group_ingress_rule.http["0.0.0.0/0"]
}

moved {
  from = aws_vpc_security_group_ingress_rule.https[0]
  to   = aws_vpc_security_group_ingress_rule.https["0.0.0.0/0"]
}
