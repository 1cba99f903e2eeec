output "project" {
  description = "The answers at the top of project.yaml, and environment_names. Account, region and account_settings are those of the account that is asked for."
  value = merge(
    { for key, value in try({ for key, value in local.settings : key => value }, {}) : key => value if !contains(["environments", "alarms", "database_roles", "service", "jobs", "workers", "files"], key) },
    {
      environment_names = sort(keys(local.environments))
      aws_account_id    = local.account
      aws_region        = local.aws_region
      account_settings  = local.account_settings
    },
  )

  precondition {
    condition     = length(local.problems) == 0
    error_message = "project.yaml:\n  ${join("\n  ", local.problems)}"
  }
}

output "environment" {
  description = "Settings of var.environment: protected (false in a temporary environment), network, ingress with everybody where it names nobody, database, service with the variables of both places, alarms with the defaults filled in. null without an environment."
  value = var.environment == null ? null : merge(
    try(local.environments[var.environment], {}),
    {
      protected = try(tobool(coalesce(local.environments[var.environment].protected, true)), true) && !local.temporary
      alarms    = local.alarms
      # Nobody in the list is everybody.
      ingress = { cidrs = coalescelist([for cidr in local.cidrs : cidr.value if cidr.environment == var.environment], ["0.0.0.0/0"]) }
      service = merge(
        try({ for key, value in local.environments[var.environment].service : key => value if !can(local.environments[var.environment].service[0]) }, {}),
        { variables = merge([for place in ["service.variables", "environments.${var.environment}.service.variables"] : {
          for variable in local.variables : variable.name => variable.value if variable.place == place
        }]...) },
      )
    },
  )

  precondition {
    condition     = var.environment == null || contains(keys(local.environments), coalesce(var.environment, "-"))
    error_message = "environment ${coalesce(var.environment, "-")}: not in project.yaml, which has ${join(", ", keys(local.environments))}"
  }
}

output "platform_variables" {
  description = "Names of the environment variables that the platform sets itself: project.yaml may not."
  value       = local.platform_variables
}

output "secrets" {
  description = "Names of the environment variables whose values are encrypted parameters below names.secrets_path, sorted."
  value       = try(sort(local.secrets), [])
}

output "jobs" {
  description = "Scheduled jobs of var.environment by name, with the defaults filled in: { command, schedule, time_zone, timeout_minutes, cpu, memory, overlap }. A temporary environment has none."
  value       = local.temporary ? {} : try(local.jobs_in[var.environment], {})
}

output "workers" {
  description = "Processes that take messages from a queue each, by name, with the defaults filled in, the names of what each has in AWS, and the variable with its queue's URL."
  value = {
    for name, worker in local.workers : name => merge(
      { for key, rule in local.worker_rules : key => try(worker[key], rule.default) },
      {
        command      = try(worker.command, [])
        name         = "${local.names.worker}-${name}" # queue, ECS service, task definitions and role
        dead_letters = "${local.names.worker}-${name}-dead-letters"
        variable     = local.queue_variables[name]
      },
    )
  }
}

output "files" {
  description = "What may be stored in the bucket and for how long, with the defaults filled in: { content_types, max_megabytes, expire_days, old_version_days, cors_origins, malware_scan }. null without storage. A temporary environment's files last a week, and are not scanned."
  value       = local.storage ? merge(local.files, { for key, value in { expire_days = 7, old_version_days = 1, malware_scan = false } : key => value if local.temporary }) : null
}

output "database_roles" {
  description = "Desired state of the database's roles, with the defaults filled in: { schemas, extensions, roles, retired, adopt }."
  value = local.database ? {
    schemas    = try(local.settings.database_roles.schemas, [])
    extensions = try(local.settings.database_roles.extensions, [])
    retired    = try(local.settings.database_roles.retired, [])
    adopt      = try(local.settings.database_roles.adopt, [])
    roles      = { for name, role in local.roles : name => try(merge(local.role_defaults, role), local.role_defaults) }
  } : null
}

output "names" {
  description = "Every name that AWS sees, by what it names."
  value       = local.names
}

output "host" {
  description = "DNS name of the service in var.environment; empty without a domain."
  value       = local.host
}

output "zone" {
  description = "Name of the Route 53 zone in the environment's account that has its records; empty without a domain."
  value       = local.zone
}

output "accounts" {
  description = "AWS accounts by their number, each { region, profile, environments }."
  value       = local.accounts
}

output "registry" {
  description = "Registry of the project's images, in the project's account: { account_id, region, arn, host }. A repository's name follows a slash behind arn and host."
  value       = local.registry
}

output "temporary" {
  description = "Whether this is a temporary environment: a workspace other than default."
  value       = local.temporary
}

output "partition" {
  description = "AWS partition of the region: aws, aws-us-gov or aws-cn."
  value       = local.partition
}

output "dns_suffix" {
  description = "Domain of the partition's services."
  value       = local.dns_suffix
}

output "tags" {
  description = "Tags of every resource."
  value = merge(
    {
      application = local.app
      owner       = try(tostring(local.settings.owner), "")
      repository  = try(tostring(local.settings.github_repository), "")
      managed-by  = "terraform"
    },
    var.environment == null ? {} : { environment = var.environment },
    local.temporary ? { temporary = var.workspace } : {},
  )
}
