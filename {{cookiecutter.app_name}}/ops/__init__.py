"""Operator commands: what Terraform can't do, and what a person types.

python -m ops <command>     (`make <command>` calls the same)

cli.py        the commands and their options
project.py    settings and names, as infra/config gives them
aws.py        one session, the account check, AWS's errors in words
terraform.py  the only caller of Terraform
bootstrap.py  the account layer, from nothing to a state in its own bucket
layers.py     one layer: what it needs, its plan
up.py         up and deploy: the layers and steps in their order
releases.py   the record of deployments
teardown.py   down and destroy
images.py     container images: tag, build, push, find
ecs.py        one-off tasks and rollouts, followed by polling
roles.py      the database role manager
flags.py      feature flags
logs.py       CloudWatch Logs
incident.py   the incident service's URL
doctor.py     what would go wrong later, said now
status.py     what is deployed
github/       what GitHub's jobs type, and what GitHub must know
review.py     what a plan would change, as data to approve
smoke.py      a look at the service from outside
interruption.py  Ctrl-C for the threads
"""
