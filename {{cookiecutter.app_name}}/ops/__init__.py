"""What is run and never deployed: the operator commands, and the rooms of the laptop, the rehearsal and the picture.

python -m ops <command>     (`make <command>` calls the same)

cli.py              the commands and their options
project.py          settings and names, as infra/config gives them
answers.py          project.yaml as it stands, without Terraform
aws.py              one session, the account check, AWS's errors in words
terraform.py        Terraform on one layer: backend, saved plans, errors in words
layers.py           one layer: what it needs, its plan
bootstrap.py        the account layer, from nothing to a state in its own bucket
up.py               up and deploy: the layers and steps in their order
review.py           what a plan would change, as data to approve
releases.py         the record of deployments
teardown.py         down and destroy
images.py           container images: tag, build, push, find
ecs.py              one-off tasks and rollouts, followed by polling
session.py          a shell in a running task
smoke.py            a look at the service from outside
roles.py            the database role manager
package.py          its archive for Lambda
flags.py            feature flags
logs.py             CloudWatch Logs
queues.py           the queues of workers: looked at, redriven, purged
secret_values.py    the service's secrets: stored, listed, never shown
jobs.py             scheduled jobs: run, listed, kept with the service's image
incident.py         the incident service's URL
doctor.py           what would go wrong later, said now
status.py           what is deployed
github/             what GitHub's jobs type, and what GitHub must know
checks.py           the checks and tests of Terraform (`make test-infra`)
costs.py            what each environment costs a month
template_update.py  what is new in the template, on a branch
processes.py        running another program
waiting.py          waiting until something is so
interruption.py     Ctrl-C for the threads
refusals.py         what IAM refused, and the statement that would have to allow it
output.py, errors.py  what people see
laptop/             `make dev`, PostgreSQL, Lambda's runtime, the image and its contract
rehearsal/          all layers on a simulated AWS
diagram/            the picture of the architecture
"""
