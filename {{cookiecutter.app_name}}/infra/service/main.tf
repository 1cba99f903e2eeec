# Layer 5: the service, from the load balancer to the alarms. In a Terraform workspace other than "default" all of it
# once more, beside the environment and on its network and database.
#   other-layers.tf              what this layer finds there: network and database
#   security-groups.tf           who reaches whom
#   load-balancer.tf             the way in
#   domain.tf                    certificate and DNS record, when a domain is given
#   access-logs.tf               bucket of the load balancer's logs
#   web-application-firewall.tf  managed rules and a rate limit, by setting
#   cluster.tf                   ECS cluster and its sessions (ECS Exec)
#   task-definitions.tf          what runs: the service and its migrations
#   service.tf                   how many run, and how a deployment goes or is rolled back
#   jobs.tf                      commands on a schedule, by setting
#   roles.tf                     what the tasks may do
#   feature-flags.tf             AppConfig, by setting
#   workers.tf                   queues and the tasks that work on them, by setting
#   storage.tf                   a bucket for files that callers upload and download, by setting
#   alarms.tf                    alarms on the service
#   alarms-database.tf           alarms on the database and the role manager
#   notifications.tf             topic of the alarms and the incident management's subscription
#   dashboard.tf                 the same numbers to look at
#   logs.tf                      log groups and the key that encrypts them

module "config" {
  source = "../config"

  environment  = var.environment
  workspace    = coalesce(var.workspace, terraform.workspace)
  project_file = var.project_file
}

provider "aws" {
  region              = module.config.project.aws_region
  allowed_account_ids = [module.config.project.aws_account_id]

  default_tags {
    tags = module.config.tags
  }
}

locals {
  project    = module.config.project
  settings   = module.config.environment
  names      = module.config.names
  protected  = local.settings.protected
  account_id = local.project.aws_account_id
  region     = local.project.aws_region

  # The components that were chosen.
  database        = local.project.database != "none"
  feature_flags   = local.project.feature_flags != "none"
  internet_egress = local.project.internet_egress != "none"
  https           = module.config.host != ""
  firewall        = local.settings.service.web_application_firewall

  # A temporary environment watches neither the database, which is not its own, nor does it call anybody at night.
  database_watched = local.database && !module.config.temporary
  incident         = local.project.incident_management != "none" && !module.config.temporary

  # ARN up to the resource, as in "${local.arn.logs}:log-group:name".
  arn = merge(
    {
      for service in ["cloudwatch", "ecs", "events", "logs", "rds-db", "sqs", "ssm"] :
      service => "arn:${module.config.partition}:${service}:${local.region}:${local.account_id}"
    },
    {
      iam = "arn:${module.config.partition}:iam::${local.account_id}"
      s3  = "arn:${module.config.partition}:s3::"
    },
  )
}
