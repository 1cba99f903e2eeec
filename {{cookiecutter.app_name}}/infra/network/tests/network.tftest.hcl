mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["zone-a", "zone-b", "zone-c", "zone-d", "zone-e"] }
  }
  mock_data "aws_security_groups" {
    defaults = { ids = [] }
  }
  mock_data "aws_vpc_endpoint_service" {
    defaults = { service_name = "mocked", vpc_endpoint_policy_supported = true }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:mocked" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }
}

variables {
  project_file = "../config/tests/complete.yaml"
  environment  = "dev"
}

run "dev" {
  assert {
    condition     = output.endpoints == tolist(["appconfigdata", "ecr.api", "ecr.dkr", "kms", "logs", "secretsmanager", "ssmmessages"])
    error_message = "without the internet, what Fargate, ECS Exec, the flags and the role manager call has an endpoint, and nothing else"
  }
  assert {
    condition     = [for subnet in aws_subnet.public : subnet.cidr_block] == ["10.20.0.0/20", "10.20.16.0/20"] && [for subnet in aws_subnet.private : subnet.cidr_block] == ["10.20.64.0/20", "10.20.80.0/20"] && [for subnet in aws_subnet.database : subnet.cidr_block] == ["10.20.128.0/20", "10.20.144.0/20"]
    error_message = "each kind of subnet has its quarter of the range, with room for four zones"
  }
  assert {
    condition     = aws_subnet.private["zone-b"].tags == tomap({ Name = "shop-dev-private-zone-b", tier = "private" }) && aws_subnet.database["zone-a"].tags.tier == "database" && aws_subnet.public["zone-a"].tags.tier == "public" && aws_vpc.this.tags.Name == "shop-dev"
    error_message = "the other layers find the VPC by its name and the subnets by their tier"
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "nothing gets a public address by being in a public subnet"
  }
  assert {
    condition     = aws_route.internet.route_table_id == aws_route_table.public.id && length(aws_route.nat) == 0 && length(aws_nat_gateway.this) == 0 && length(aws_eip.nat) == 0
    error_message = "only the public subnets reach the internet"
  }
  assert {
    condition     = alltrue([for association in aws_route_table_association.database : association.route_table_id == aws_route_table.database.id])
    error_message = "database subnets use the route table without routes"
  }
  assert {
    condition     = !contains(aws_vpc_endpoint.s3.route_table_ids, aws_route_table.database.id) && !contains(aws_vpc_endpoint.s3.route_table_ids, aws_route_table.public.id) && length(aws_vpc_endpoint.s3.route_table_ids) == 2
    error_message = "the S3 endpoint is a route of the private subnets only"
  }

  # Who reaches the endpoints.
  assert {
    condition     = alltrue([for name, endpoint in aws_vpc_endpoint.interface : endpoint.security_group_ids == toset([name == "secretsmanager" ? aws_security_group.secrets_endpoint[0].id : aws_security_group.endpoints.id])])
    error_message = "the role manager's endpoint has a security group of its own"
  }
  assert {
    condition     = length(aws_security_group.endpoints.ingress) == 0 && length(aws_security_group.secrets_endpoint[0].ingress) == 0 && length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "the security groups of the endpoints admit nobody until a layer adds its rule; the default group stays closed"
  }
  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.subnet_ids == toset([aws_subnet.private["zone-a"].id]) && endpoint.private_dns_enabled])
    error_message = "endpoint_zones: 1 pays for one interface of each endpoint"
  }
  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : jsondecode(endpoint.policy).Statement[0].Condition.StringEquals == { "aws:PrincipalAccount" = "123456789012" } && !contains(jsondecode(endpoint.policy).Statement[0].Action, "*")])
    error_message = "endpoints serve this account only, and only the actions that are needed"
  }
  assert {
    condition     = jsondecode(aws_vpc_endpoint.interface["secretsmanager"].policy).Statement[0].Action == ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    error_message = "through the Secrets Manager endpoint secrets can be read and nothing else"
  }
  assert {
    condition = (
      length(jsondecode(aws_vpc_endpoint.s3.policy).Statement) == 2 &&
      jsondecode(aws_vpc_endpoint.s3.policy).Statement[0].Resource == "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/*" &&
      jsondecode(aws_vpc_endpoint.s3.policy).Statement[1].Condition.StringEquals == { "aws:PrincipalAccount" = "123456789012", "aws:ResourceAccount" = "123456789012" }
    )
    error_message = "S3: the layers of images, and the buckets of this account"
  }

  # Flow logs.
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_cloudwatch_log_group.flow_logs.retention_in_days == 30 && aws_cloudwatch_log_group.flow_logs.kms_key_id == module.key.arn && aws_cloudwatch_log_group.flow_logs.name == "/shop/dev/network"
    error_message = "all traffic is logged, kept as long as the environment's other logs, with the customer key"
  }
  assert {
    condition     = aws_iam_role.flow_logs.permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-dev-boundary" && aws_iam_role.flow_logs.path == "/shop/dev/" && jsondecode(aws_iam_role.flow_logs.assume_role_policy).Statement[0].Principal.Service == "vpc-flow-logs.amazonaws.com"
    error_message = "the role carries the project's permissions boundary"
  }
  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.flow_logs.policy).Statement : !contains(flatten([statement.Resource]), "*") if statement.Sid != "FindLogGroup"])
    error_message = "the role writes to its own log group"
  }
}

run "prod" {
  variables {
    environment = "prod"
  }

  assert {
    condition     = length(aws_subnet.private) == 3 && alltrue([for endpoint in aws_vpc_endpoint.interface : length(endpoint.subnet_ids) == 3])
    error_message = "without endpoint_zones every zone has an interface of each endpoint"
  }
  assert {
    condition     = aws_cloudwatch_log_group.flow_logs.retention_in_days == 365
    error_message = "logs are kept as long as the environment says"
  }
}

run "internet_through_nat_gateways" {
  variables {
    project_file = "../config/tests/government.yaml"
    environment  = "prod"
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["zone-a", "zone-b"] && aws_nat_gateway.this["zone-b"].subnet_id == aws_subnet.public["zone-b"].id
    error_message = "nat_gateways: 2 makes two, in public subnets"
  }
  assert {
    condition = (
      aws_route.nat["zone-a"].nat_gateway_id == aws_nat_gateway.this["zone-a"].id &&
      aws_route.nat["zone-b"].nat_gateway_id == aws_nat_gateway.this["zone-b"].id &&
      aws_route.nat["zone-c"].nat_gateway_id == aws_nat_gateway.this["zone-a"].id
    )
    error_message = "each zone uses its own gateway; the one without shares"
  }
  assert {
    condition     = alltrue([for route in aws_route.nat : route.route_table_id != aws_route_table.database.id]) && alltrue([for association in aws_route_table_association.database : association.route_table_id == aws_route_table.database.id])
    error_message = "database subnets have no route out with NAT gateways either"
  }
  assert {
    condition     = output.endpoints == tolist(["secretsmanager"]) && aws_security_group.endpoints.name == "shop-prod-endpoints" && jsondecode(aws_vpc_endpoint.s3.policy).Statement[2].Sid == "EveryBucket"
    error_message = "with NAT only the role manager needs an interface endpoint"
  }
  assert {
    condition     = aws_iam_role.flow_logs.permissions_boundary == "arn:aws-us-gov:iam::123456789012:policy/shop/github-actions/shop-prod-boundary"
    error_message = "ARNs are of the partition"
  }
}

run "longest_names_and_smallest_range_in_china" {
  variables {
    project_file = "../config/tests/longest.yaml"
    environment  = "production"
  }

  assert {
    condition     = tolist(data.aws_vpc_endpoint_service.this["secretsmanager"].filter)[0].values == toset(["com.amazonaws.cn-northwest-1.secretsmanager", "cn.com.amazonaws.cn-northwest-1.secretsmanager"])
    error_message = "in China a service's name begins one way or the other"
  }
  assert {
    condition     = length(distinct([for subnet in concat(values(aws_subnet.public), values(aws_subnet.private), values(aws_subnet.database)) : subnet.cidr_block])) == 12 && aws_subnet.database["zone-d"].cidr_block == "10.20.2.192/26"
    error_message = "a /22 has room for four zones"
  }
  # https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html and IAM's limit for the name of a role
  assert {
    condition     = length(aws_security_group.secrets_endpoint[0].name) <= 255 && length(aws_iam_role.flow_logs.name) <= 64
    error_message = "names fit AWS's limits"
  }
  assert {
    condition     = startswith(aws_iam_role.flow_logs.permissions_boundary, "arn:aws-cn:") && alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.vpc_endpoint_type == "Interface"])
    error_message = "ARNs are of the partition"
  }
}

run "nothing_optional" {
  variables {
    project_file = "../config/tests/minimal.yaml"
    environment  = "prod"
  }

  assert {
    condition     = output.endpoints == tolist(["ecr.api", "ecr.dkr", "kms", "logs", "ssmmessages"]) && length(aws_security_group.secrets_endpoint) == 0
    error_message = "without a database and flags their endpoints cost nothing"
  }
}

run "storage_narrows_the_way_to_s3" {
  variables {
    project_file = "../config/tests/storage.yaml"
  }

  assert {
    condition = (
      jsondecode(aws_vpc_endpoint.s3.policy).Statement[*].Sid == ["LayersOfImages", "Files"] &&
      jsondecode(aws_vpc_endpoint.s3.policy).Statement[1].Action == ["s3:GetObject", "s3:ListBucket", "s3:PutObject"] &&
      jsondecode(aws_vpc_endpoint.s3.policy).Statement[1].Resource == flatten([
        for name in ["shop-dev-files-123456789012", "shop-dev-*-files-123456789012"] : ["arn:aws:s3:::${name}", "arn:aws:s3:::${name}/*"]
      ]) &&
      jsondecode(aws_vpc_endpoint.s3.policy).Statement[1].Condition.StringEquals == { "aws:PrincipalAccount" = "123456789012", "aws:ResourceAccount" = "123456789012" }
    )
    error_message = "S3: the layers of images, and this environment's files: ${aws_vpc_endpoint.s3.policy}"
  }
}

run "workers_need_their_queues" {
  variables {
    project_file = "../config/tests/workers.yaml"
    environment  = "dev"
  }

  assert {
    condition = (
      output.endpoints == tolist(["ecr.api", "ecr.dkr", "kms", "logs", "sqs", "ssmmessages"]) &&
      jsondecode(aws_vpc_endpoint.interface["sqs"].policy).Statement[0].Condition.StringEquals["aws:PrincipalAccount"] == "123456789012" &&
      !contains(jsondecode(aws_vpc_endpoint.interface["sqs"].policy).Statement[0].Action, "sqs:PurgeQueue")
    )
    error_message = "one endpoint more, for what the service and its workers ask"
  }
}

run "services_without_endpoint_policies" {
  state_key = "services_without_endpoint_policies" # a policy that was there stays when it is no longer given

  override_data {
    target = data.aws_vpc_endpoint_service.this
    values = { vpc_endpoint_policy_supported = false }
  }

  assert { # the mocked provider makes up a text where none is given
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : !can(jsondecode(endpoint.policy))])
    error_message = "a policy is given only where AWS takes one"
  }
}

run "more_zones_than_the_region_has" {
  command = plan
  variables {
    environment = "prod"
  }
  override_data {
    target = data.aws_availability_zones.usable
    values = { names = ["zone-a", "zone-b"] }
  }

  expect_failures = [aws_vpc.this]
}

run "database_turned_off_but_still_there" {
  command = plan
  variables {
    project_file = "../config/tests/minimal.yaml"
    environment  = "prod"
  }
  override_data {
    target = data.aws_security_groups.database
    values = { ids = ["sg-database"] }
  }

  expect_failures = [aws_vpc.this]
}
