output "repository_url" {
  description = "Address that images are pushed to and pulled from."
  value       = aws_ecr_repository.this.repository_url
}
