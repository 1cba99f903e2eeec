# The range of the environment in 16 equal parts; each kind of subnet has four of them, so that a zone can be added
# without moving what is there. A /16 has 4091 usable addresses in each subnet, a /22 has 59.

data "aws_availability_zones" "usable" {
  #checkov:skip=CKV_AWS_394:Only the first zones in the order of their names are taken; a new one comes last and moves none
  # Zones where Fargate (or the endpoints it needs) is not offered.
  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
  exclude_zone_ids = ["apne1-az3", "cnn1-az3", "use1-az3", "usw1-az2"]

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  filter {
    name   = "zone-type" # no local or wavelength zones
    values = ["availability-zone"]
  }
}

locals {
  zones = slice(
    data.aws_availability_zones.usable.names, 0,
    min(local.settings.network.zones, length(data.aws_availability_zones.usable.names)),
  )
  # Number of each zone, as { "eu-west-1a" = 0, … }.
  zone_numbers = { for number, zone in local.zones : zone => number }
}

# Load balancer and NAT gateways.
resource "aws_subnet" "public" {
  for_each = local.zone_numbers

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(local.settings.network.cidr, 4, each.value)
  map_public_ip_on_launch = false

  tags = {
    Name = "${local.names.network}-public-${each.key}"
    tier = "public"
  }
}

# The service and the VPC endpoints.
resource "aws_subnet" "private" {
  for_each = local.zone_numbers

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(local.settings.network.cidr, 4, 4 + each.value)

  tags = {
    Name = "${local.names.network}-private-${each.key}"
    tier = "private"
  }
}

# The database and its role manager. Without a database they are empty and cost nothing.
resource "aws_subnet" "database" {
  for_each = local.zone_numbers

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(local.settings.network.cidr, 4, 8 + each.value)

  tags = {
    Name = "${local.names.network}-database-${each.key}"
    tier = "database"
  }
}
