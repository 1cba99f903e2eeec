output "cluster_identifier" {
  description = "Name of the cluster."
  value       = aws_rds_cluster.this.cluster_identifier
}

output "endpoint" {
  description = "Host name of the instance that writes."
  value       = aws_rds_cluster.this.endpoint
}

output "role_manager" {
  description = "What the role manager's last check said, as JSON."
  value       = aws_lambda_invocation.check.result
}
