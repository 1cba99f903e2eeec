# Every name that AWS sees. The longest that project.yaml allows fit AWS's limits: 20 characters of app_name and
# 10 of the environment leave a load balancer's 32 with one to spare.

locals {
  app         = try(tostring(coalesce(local.settings.app_name)), "")
  environment = coalesce(var.environment, "shared")
  base        = "${local.app}-${local.environment}"
  service     = local.temporary ? "${local.base}-${var.workspace}" : local.base
  path        = "/${local.app}/${local.environment}${local.temporary ? "/${var.workspace}" : ""}"

  # What makes AWS refuse a name that this begins, and names that RDS refuses for a database: those of its own, and the words
  # that PostgreSQL 15 to 18 has reserved. The hook of the template has the same lists.
  reserved_beginnings = {
    "aws"           = "SSM refuses parameters that begin with aws"
    "ssm"           = "SSM refuses parameters that begin with ssm"
    "internal-"     = "Elastic Load Balancing refuses names that begin with internal-"
    "sg-"           = "EC2 refuses security groups that begin with sg-"
    "sthree-"       = "S3 refuses buckets that begin with sthree-"
    "amzn-s3-demo-" = "S3 refuses buckets that begin with amzn-s3-demo-"
  }
  reserved_databases = split(" ", join(" ", [
    "postgres rdsadmin rdsproxyadmin template0 template1",
    "all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate",
    "collation column concurrently constraint create cross current_catalog current_date current_role",
    "current_schema current_time current_timestamp current_user default deferrable desc distinct do else end",
    "except false fetch for foreign freeze from full grant group having ilike in initially inner intersect into",
    "is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null offset on",
    "only or order outer overlaps placing primary references returning right select session_user similar some",
    "symmetric system_user table tablesample then to trailing true union unique user using variadic verbose when",
    "where window with",
  ]))
  # Second parts of names that belong to the whole project, and of GitHub's environment for previews: an environment
  # that is called so would own them. The hook of the template has the same list.
  reserved_environments = ["build", "default", "github", "preview", "previews", "shared", "tfstate"]
  # What names have behind the environment's: a temporary environment that is called so would have them.
  reserved_workspaces = concat(["files", "immediate", "previews", "secrets"], [
    for name in values(local.names) : trimprefix(name, "${startswith(name, "${local.service}-") ? local.service : local.base}-")
    if startswith(name, "${local.base}-") && name != local.service
  ])

  names = {
    # Paths of IAM roles: apart for each environment, and for what only an administrator changes. The hyphen keeps
    # GitHub's from being an environment's.
    github_path = "/${local.app}/github-actions/"
    role_path   = "/${local.app}/${local.environment}/"

    # account
    state_bucket         = "${local.app}-tfstate-${local.account}-${local.aws_region}"
    state_log_bucket     = "${local.app}-tfstate-logs-${local.account}-${local.aws_region}"
    locks_table          = "${local.app}-tfstate-locks"
    state_key            = "alias/${local.app}-tfstate"
    permissions_boundary = local.temporary ? "${local.base}-temporary-boundary" : "${local.base}-boundary"
    temporary_boundary   = "${local.base}-temporary-boundary"
    plan_role            = "${local.app}-github-plan"
    build_role           = "${local.app}-github-build"
    preview_role         = "${local.app}-github-preview"
    apply_role           = "${local.app}-github-apply-${local.environment}"

    # build-repository: what a temporary environment runs can never be taken for a release
    build_repository     = local.temporary ? "${local.app}/previews" : local.app
    preview_repository   = "${local.app}/previews"
    build_repository_key = "alias/${local.app}-build-repository"

    # network
    network                         = local.base
    default_security_group          = "${local.base}-default-closed"
    network_key                     = "alias/${local.base}-network"
    endpoints_security_group        = "${local.base}-endpoints"
    secrets_endpoint_security_group = "${local.base}-secrets-endpoint"
    flow_log_group                  = "/${local.app}/${local.environment}/network"
    flow_log_role                   = "${local.base}-flow-logs"

    # database
    database_cluster            = local.base
    database_monitoring_role    = "${local.base}-database-monitoring"
    database_log_groups         = "/aws/rds/cluster/${local.base}" # and one level below it the kinds of logs
    database_name               = replace(local.app, "-", "_")
    database_key                = "alias/${local.base}-database"
    database_security_group     = "${local.base}-database"
    role_manager                = "${local.base}-role-manager"
    role_manager_check          = "${local.base}-role-manager-check"
    role_manager_log_group      = "/aws/lambda/${local.base}-role-manager"
    role_manager_security_group = "${local.base}-role-manager"

    # service: of its own in a temporary environment
    service                      = local.service
    service_key                  = "alias/${local.service}-service"
    service_log_group            = "${local.path}/service"
    sessions_log_group           = "${local.path}/sessions"                                  # of ECS Exec
    cluster_log_group            = "/aws/ecs/containerinsights/${local.service}/performance" # ECS decides it
    firewall_log_group           = "aws-waf-logs-${local.service}"                           # AWS WAF asks for the prefix
    service_security_group       = "${local.service}-service"
    environment_security_group   = "${local.base}-service" # of the service beside which a temporary environment runs
    load_balancer_security_group = "${local.service}-load-balancer"
    log_bucket                   = "${local.service}-logs-${local.account}"
    files_bucket                 = "${local.service}-files-${local.account}"
    files_key                    = "alias/${local.service}-files"
    files_malware                = "${local.service}-files-malware" # found: EventBridge rule
    files_scan_role              = "${local.service}-files-scan"
    alarms_topic                 = "${local.service}-alarms"
    failed_deployments           = "${local.service}-failed-deployments"
    migrate                      = "${local.service}-migrate"
    jobs                         = "${local.service}-jobs"
    jobs_dead_letters            = "${local.service}-jobs-dead-letters"
    job                          = "${local.service}-job" # and behind a hyphen the job's own
    task_role                    = "${local.service}-task"
    migrate_role                 = "${local.service}-migrate"
    execution_role               = "${local.service}-execution"
    flags_application            = local.service
    flags_environment            = local.environment
    flags_profile                = "flags"
    flags_rollback_role          = "${local.service}-flags-rollback"
    image_parameter              = "${local.path}/image"
    commit_parameter             = "${local.path}/commit"    # the newest that was delivered
    worker                       = "${local.service}-worker" # before the name of each: queues, ECS service, role
    # Temporary environments run code that nobody has reviewed: they share values of their own.
    secrets_path           = "/${local.app}/${local.environment}${local.temporary ? "/previews" : ""}/secrets"
    incident_url_parameter = "/${local.app}/${local.environment}/incident-url"
  }

  # The variable by which the containers find a worker's queue.
  queue_variables = { for name in keys(local.workers) : name => "QUEUE_URL_${upper(replace(name, "-", "_"))}" }

  domain = try(tostring(coalesce(local.settings.domain_name)), "")
  host = (
    local.domain == "" ? "" :
    local.temporary ? "${var.workspace}.${local.environment}.${local.domain}" :
    local.environment == "prod" ? local.domain :
    "${local.environment}.${local.domain}"
  )
}
