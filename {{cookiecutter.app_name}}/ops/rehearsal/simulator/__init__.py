"""A simulated AWS: moto's server, the additions its gaps need, and processes that really run.

Terraform, the AWS CLI and boto3 reach it by `AWS_ENDPOINT_URL` alone. Additions to moto are in
`moto_additions`; what runs tasks, functions and the database is in `compute`.
"""
