# The database admits the role manager, and each service that adds its own rule. Nothing here reaches out of the VPC.

resource "aws_security_group" "database" {
  name        = local.names.database_security_group
  description = "Database: admits the role manager and the services"
  vpc_id      = data.aws_vpc.this.id

  tags = {
    Name = local.names.database_security_group
  }
}

resource "aws_security_group" "role_manager" {
  name        = local.names.role_manager_security_group
  description = "Role manager: reaches the database and Secrets Manager"
  vpc_id      = data.aws_vpc.this.id

  tags = {
    Name = local.names.role_manager_security_group
  }
}

resource "aws_vpc_security_group_ingress_rule" "database_from_role_manager" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = aws_security_group.role_manager.id
  description                  = "Role manager"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_ingress_rule" "secrets_endpoint_from_role_manager" {
  security_group_id            = data.aws_security_group.secrets_endpoint.id
  referenced_security_group_id = aws_security_group.role_manager.id
  description                  = "Role manager"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "role_manager_to_database" {
  security_group_id            = aws_security_group.role_manager.id
  referenced_security_group_id = aws_security_group.database.id
  description                  = "Database"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_egress_rule" "role_manager_to_secrets_endpoint" {
  security_group_id            = aws_security_group.role_manager.id
  referenced_security_group_id = data.aws_security_group.secrets_endpoint.id
  description                  = "Secrets Manager"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}
