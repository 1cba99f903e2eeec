# One row for each setting of project.yaml. `type` is text, boolean, integer, number, list or block; `rule` is what the
# reader of an error is told. A * stands for any name.

locals {
  alarm_rules = {
    error_percent                = { type = "number", min = 0.1, max = 100, default = 5 }
    latency_p99_seconds          = { type = "number", min = 0.01, max = 60, default = 2 }
    cpu_percent                  = { type = "number", min = 1, max = 100, default = 80 }
    memory_percent               = { type = "number", min = 1, max = 100, default = 80 }
    database_capacity_percent    = { type = "number", min = 1, max = 100, default = 90 }
    database_connections_percent = { type = "number", min = 1, max = 100, default = 80 }
    database_transaction_ids     = { type = "integer", min = 1000000, max = 2000000000, default = 1000000000 }
    message_age_seconds          = { type = "integer", min = 60, max = 1209600, default = 900 }
    file_error_percent           = { type = "number", min = 0.1, max = 100, default = 25 }
  }

  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
  worker_rules = {
    min_tasks          = { type = "integer", min = 0, max = 1000, default = 1 }
    max_tasks          = { type = "integer", min = 1, max = 1000, default = 2 }
    visibility_seconds = { type = "integer", min = 2, max = 43200, default = 60 }
    max_receives       = { type = "integer", min = 1, max = 1000, default = 5 }
  }

  region_pattern  = "(us|eu|ap|sa|ca|me|af|il|mx|cn|us-gov)-(north|south|east|west|central|northeast|northwest|southeast|southwest)-[1-9]"
  profile_pattern = "^[A-Za-z0-9_.@/+=,-]*$"
  profile_rule    = "the name of a profile in ~/.aws/config, never a key"

  # A presigned upload has at most 5 GB. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
  file_rules = {
    content_types    = { type = "list", default = ["image/jpeg", "image/png", "application/pdf"] }
    max_megabytes    = { type = "integer", min = 1, max = 5000, default = 10 }
    expire_days      = { type = "integer", min = 0, max = 36500, default = 0 }
    old_version_days = { type = "integer", min = 1, max = 36500, default = 30 }
    cors_origins     = { type = "list", default = [] }
    malware_scan     = { type = "boolean", default = false }
  }

  rules = merge(
    {
      "app_name" = {
        type = "text", pattern = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", min = 2, max = 20, required = true
        rule = "2 to 20 lower-case letters, digits and single hyphens, beginning with a letter"
      }
      "description" = { type = "text", pattern = "", min = 0, max = 200, required = false }
      "owner" = {
        type = "text", pattern = "^[\\pL\\pN_.:/=+@-]([\\pL\\pZ\\pN_.:/=+@-]*[\\pL\\pN_.:/=+@-])?$", min = 1, max = 64, required = true
        rule = "letters, digits, spaces and _ . : / = + - @, as in the value of an AWS tag"
      }
      "github_repository" = {
        type = "text", pattern = "^[A-Za-z0-9](-?[A-Za-z0-9])*/[A-Za-z0-9._-]+$", min = 3, max = 140, required = true
        rule = "owner/name"
      }
      "github_oidc_subject_prefix" = {
        type = "text", pattern = "^repo:[^*?:\\s]+$", min = 6, max = 256, required = true
        rule = "repo:owner/name or repo:owner@id/name@id, without wildcards: `make github-subject` reads it"
      }
      "aws_account_id" = {
        type = "text", pattern = "^[0-9]{12}$", min = 12, max = 12, required = true
        rule = "12 digits in quotes"
      }
      "aws_region" = {
        type = "text", pattern = "^${local.region_pattern}$", min = 9, max = 14, required = true
        rule = "a region of the aws, aws-us-gov or aws-cn partition, such as eu-west-1"
      }
      # Profile of ~/.aws/config, where neither it nor keys are in the shell.
      "aws_profile"      = { type = "text", pattern = local.profile_pattern, min = 0, max = 128, required = false, rule = local.profile_rule }
      "account_settings" = { type = "text", choices = ["create", "existing"], required = true }
      "domain_name" = {
        type = "text", pattern = "^(([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z][a-z0-9-]*[a-z0-9])?$", min = 0, max = 53, required = true
        rule = "a lower-case DNS name of at most 53 characters such as shop.example.com, or empty"
      }
      "database"              = { type = "text", choices = ["aurora-postgresql", "none"], required = true }
      "feature_flags"         = { type = "text", choices = ["appconfig", "none"], required = true }
      "incident_management"   = { type = "text", choices = ["pagerduty", "splunk-on-call", "email", "none"], required = true }
      "internet_egress"       = { type = "text", choices = ["none", "nat-gateway"], required = true }
      "terraform_state_locks" = { type = "text", choices = ["dynamodb", "s3"], required = true }
      "cpu_architecture"      = { type = "text", choices = ["arm64", "x86_64"], required = true }
      "storage"               = { type = "text", choices = ["s3", "none"], required = false }

      "github_unprotected_environments" = { type = "list", required = false }

      "environments.*.protected" = { type = "boolean", required = true }

      # Of an environment that lives in another account: empty are the project's.
      "environments.*.aws_account_id" = {
        type = "text", pattern = "^([0-9]{12})?$", min = 0, max = 12, required = false
        rule = "12 digits in quotes, or empty for the project's"
      }
      "environments.*.aws_region" = {
        type = "text", pattern = "^(${local.region_pattern})?$", min = 0, max = 14, required = false
        rule = "a region such as eu-west-1, or empty for the project's"
      }
      "environments.*.aws_profile"      = { type = "text", pattern = local.profile_pattern, min = 0, max = 128, required = false, rule = local.profile_rule }
      "environments.*.account_settings" = { type = "text", choices = ["create", "existing"], required = false }

      "environments.*.network.cidr" = {
        type = "text", pattern = "^[0-9.]+/(1[6-9]|2[0-2])$", min = 9, max = 18, required = true
        rule = "a private IPv4 range of /16 to /22, beginning at its first address"
      }
      "environments.*.network.zones"        = { type = "integer", min = 2, max = 4, required = true }
      "environments.*.network.nat_gateways" = { type = "integer", min = 1, max = 4, required = local.nat_gateway }
      # Zones with an interface of each VPC endpoint; every zone without it.
      "environments.*.network.endpoint_zones" = { type = "integer", min = 1, max = 4, required = false }

      # Addresses that may call the service; none are everybody.
      "environments.*.ingress.cidrs" = { type = "list", required = false }

      "environments.*.database.min_capacity"          = { type = "number", min = 0, max = 256, required = local.database }
      "environments.*.database.max_capacity"          = { type = "number", min = 1, max = 256, required = local.database }
      "environments.*.database.pause_after_seconds"   = { type = "integer", min = 300, max = 86400, required = local.database }
      "environments.*.database.instances"             = { type = "integer", min = 1, max = 15, required = local.database }
      "environments.*.database.backup_retention_days" = { type = "integer", min = 1, max = 35, required = local.database }
      # protected decides where it is not said.
      "environments.*.database.final_snapshot" = { type = "boolean", required = false }

      "environments.*.service.cpu"       = { type = "integer", choices = keys(local.fargate_memory), required = true }
      "environments.*.service.memory"    = { type = "integer", min = 512, max = 122880, required = true }
      "environments.*.service.min_tasks" = { type = "integer", min = 1, max = 1000, required = true }
      "environments.*.service.max_tasks" = { type = "integer", min = 1, max = 1000, required = true }
      "environments.*.service.log_retention_days" = {
        type = "integer", required = true
        # What CloudWatch Logs accepts.
        choices = ["1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400", "545", "731", "1096", "1827", "2192", "2557", "2922", "3288", "3653"]
      }
      "environments.*.service.web_application_firewall" = { type = "boolean", required = true }

      # What the containers are given; an environment's own wins.
      "service.variables"                = { type = "block", required = false }
      "environments.*.service.variables" = { type = "block", required = false }
      # Names of variables whose values `make secret` stores.
      "service.secrets" = { type = "list", required = false }
    },
    {
      for place in ["service.variables.*", "environments.*.service.variables.*"] :
      place => { type = "text", pattern = "^[^\\x00]*$", min = 0, max = 4096, required = false, rule = "at most 4096 characters" }
    },
    {

      "database_roles.schemas"    = { type = "list", required = local.database }
      "database_roles.extensions" = { type = "list", required = false }
      "database_roles.retired"    = { type = "list", required = false }
      "database_roles.adopt"      = { type = "list", required = false }

      "database_roles.roles.*.profile"                   = { type = "text", choices = ["owner", "read-write", "read-only"], required = local.database }
      "database_roles.roles.*.login"                     = { type = "text", choices = ["iam", "none"], required = false }
      "database_roles.roles.*.connection_limit"          = { type = "integer", min = -1, max = 262142, required = false }
      "database_roles.roles.*.statement_timeout_seconds" = { type = "integer", min = 0, max = 86400, required = false }
    },
    local.job_rules,
    # Blocks, which have the settings above.
    {
      for block in ["service", "alarms", "database_roles", "environments.*.network", "environments.*.ingress", "environments.*.database", "environments.*.service", "environments.*.alarms"] :
      block => { type = "block", required = false }
    },
    {
      # Processes that take messages from a queue each.
      "workers"           = { type = "block", required = false }
      "workers.*"         = { type = "block", required = false }
      "workers.*.command" = { type = "list", required = true }
    },
    { for key, rule in local.worker_rules : "workers.*.${key}" => merge(rule, { required = false }) },
    { "files" = { type = "block", required = false } },
    { for key, rule in local.file_rules : "files.${key}" => merge(rule, { required = false }) },
    { for key, rule in local.alarm_rules : "alarms.${key}" => merge(rule, { required = false }) },
    { for key, rule in local.alarm_rules : "environments.*.alarms.${key}" => merge(rule, { required = false }) },
  )

  # What the containers are given without being told: infra/service sets these, ECS and the AWS SDKs what begins with
  # the prefixes.
  platform_variables = concat(
    ["APP_NAME", "AWS_REGION", "ENVIRONMENT", "PORT", "RELEASE"],
    local.database ? ["DB_HOST", "DB_NAME", "DB_PORT", "DB_SCHEMA", "DB_USER"] : [],
    try(local.settings.feature_flags, "none") != "none" ? ["APPCONFIG_APPLICATION", "APPCONFIG_ENVIRONMENT", "APPCONFIG_PROFILE"] : [],
    length(local.jobs) > 0 ? ["JOB_NAME", "JOB_SCHEDULED_AT", "JOB_TIMEOUT_SECONDS"] : [],
    [for name in keys(local.workers) : local.queue_variables[name]],
    local.storage ? ["FILES_BUCKET", "FILES_CONTENT_TYPES", "FILES_MAX_BYTES"] : [],
  )
  platform_prefixes = ["AWS_", "ECS_"]

  # Kinds of what a database's owner can take over; the role manager has the same list (desired.py).
  adoptable = [
    "schema", "table", "view", "materialized view", "foreign table", "sequence", "function", "procedure", "aggregate",
    "routine", "type", "domain", "collation", "conversion", "operator", "operator class", "operator family",
    "statistics object", "text search configuration", "text search dictionary", "large object", "publication", "role",
  ]

  # Names of PostgreSQL and RDS; the role manager has the same (desired.py).
  reserved_roles   = "^(pg_.*|rds_.*|rdsadmin|rdsrepladmin|rdsproxyadmin|rdstopmgr|rdswriteforwarduser|public|none)$"
  reserved_schemas = "^(pg_.*|information_schema|\\$user)$"

  database    = try(local.settings.database, "none") != "none"
  storage     = try(local.settings.storage, "none") == "s3"
  nat_gateway = try(local.settings.internet_egress, "none") == "nat-gateway"

  # Memory in MiB that Fargate has for each size: smallest, largest, step.
  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
  fargate_memory = {
    "256"   = [512, 2048, 512] # 1536 is no size: excluded in checks.tf
    "512"   = [1024, 4096, 1024]
    "1024"  = [2048, 8192, 1024]
    "2048"  = [4096, 16384, 1024]
    "4096"  = [8192, 30720, 1024]
    "8192"  = [16384, 61440, 4096]
    "16384" = [32768, 122880, 8192]
  }
}
