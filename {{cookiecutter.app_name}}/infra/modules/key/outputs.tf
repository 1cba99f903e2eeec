output "arn" {
  description = "ARN of the key; known when the alias exists."
  value       = aws_kms_key.this.arn
  depends_on  = [aws_kms_alias.this]
}
