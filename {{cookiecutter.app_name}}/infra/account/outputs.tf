output "state_bucket" {
  description = "Bucket of Terraform's state."
  value       = aws_s3_bucket.state.bucket
}

output "state_key_arn" {
  description = "ARN of the key that encrypts the state."
  value       = aws_kms_key.state.arn
}

output "locks_table" {
  description = "Table of state locks; null where the S3 lock file is the only lock."
  value       = one(aws_dynamodb_table.locks[*].name)
}

output "role_arns" {
  description = "ARNs of the roles that GitHub's jobs take, by role name."
  value = {
    for role in concat([aws_iam_role.plan], aws_iam_role.build, aws_iam_role.push_previews, values(aws_iam_role.apply)) : role.name => role.arn
  }
}

output "trusted_subjects" {
  description = "Subjects of GitHub's OIDC tokens that each role trusts, by role name."
  value       = { for role, trusted in local.trust : role => flatten(trusted[*].subjects) }
}
