# Reads project.yaml once and gives every layer the same settings and names. Creates nothing.
#   rules.tf     what each setting may be
#   checks.tf    finds what breaks a rule
#   names.tf     every name that AWS sees
#   jobs.tf      rules of scheduled jobs, and when each begins
#   accounts.tf  which AWS account each environment lives in

locals {
  file     = coalesce(var.project_file, "${path.module}/../../project.yaml")
  settings = yamldecode(file(local.file))

  # Objects, or empty where the file has something else: checks.tf says so.
  environments = try({ for name, settings in local.settings.environments : tostring(name) => settings if !can(local.settings.environments[0]) }, {})
  roles        = try({ for name, role in local.settings.database_roles.roles : tostring(name) => role if !can(local.settings.database_roles.roles[0]) }, {})
  workers      = try({ for name, worker in local.settings.workers : tostring(name) => worker if !can(local.settings.workers[0]) }, {})
  temporary    = var.workspace != "default"
  files        = { for key, rule in local.file_rules : key => try(local.settings.files[key], rule.default) }

  aws_region = try(tostring(local.regions[local.account]), "")
  partition  = try(local.partition_of[local.aws_region][0], "aws")
  dns_suffix = local.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"

  # What a setting is when project.yaml does not say it.
  alarms = merge(
    { for key, rule in local.alarm_rules : key => rule.default },
    try({ for key, value in local.settings.alarms : key => value if !can(local.settings.alarms[0]) }, {}),
    try({ for key, value in local.environments[var.environment].alarms : key => value if !can(local.environments[var.environment].alarms[0]) }, {}),
  )
  role_defaults = {
    login                     = "iam"
    connection_limit          = -1
    statement_timeout_seconds = 0
  }
}
