output "vpc_id" {
  description = "ID of the VPC."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "IDs of the subnets, as { public, private, database } of { zone = ID }."
  value = {
    public   = { for zone, subnet in aws_subnet.public : zone => subnet.id }
    private  = { for zone, subnet in aws_subnet.private : zone => subnet.id }
    database = { for zone, subnet in aws_subnet.database : zone => subnet.id }
  }
}

output "endpoints" {
  description = "AWS services with an interface in the VPC."
  value       = sort(keys(aws_vpc_endpoint.interface))
}

output "nat_addresses" {
  description = "Public addresses that the service's calls to the internet come from, for the allow-lists of others."
  value       = [for address in aws_eip.nat : address.public_ip]
}
