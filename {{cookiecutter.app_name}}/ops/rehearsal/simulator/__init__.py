"""A simulated AWS: moto's server, the additions its gaps need, and processes that really run.

Terraform, the AWS CLI and boto3 reach it by `AWS_ENDPOINT_URL` alone. Additions to moto are in
`moto_additions`. IAM stands at the door (`guard`, with `requests`, `signatures`, `identities`, `state`, `endpoints`); what really
runs is in `tasks` and `services` (put behind moto's ECS by `ecs`), `functions`, `aurora`, `balancer`, `schedules` and `events`.
"""
