locals {
  # AWS chooses the minor version and upgrades it in the maintenance window; a pinned one would then be a downgrade,
  # which AWS refuses. A new major version is an edit here.
  postgresql_version = "17"

  log_kinds = ["postgresql", "iam-db-auth-error"]

  database = local.settings.database

  # A setting of its own: a protected environment is unprotected first, and then deleted.
  final_snapshot = try(local.database.final_snapshot, local.settings.protected)
}

resource "aws_rds_cluster" "this" {
  #checkov:skip=CKV2_AWS_8:Aurora's own continuous backups reach back backup_retention_days; a backup plan would keep the same data twice
  #checkov:skip=CKV2_AWS_27:Logging every statement would put row data into the log: see the parameter group
  cluster_identifier       = local.names.database_cluster
  engine                   = "aurora-postgresql"
  engine_version           = local.postgresql_version
  engine_lifecycle_support = "open-source-rds-extended-support-disabled" # upgraded in time, not charged for being late
  database_name            = local.names.database_name
  port                     = 5432

  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.database.id]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.this.name

  # Used by the role manager alone. RDS changes the password every seven days.
  master_username                     = "master"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = module.key.arn
  iam_database_authentication_enabled = true

  storage_encrypted = true
  kms_key_id        = module.key.arn

  backup_retention_period      = local.database.backup_retention_days
  preferred_backup_window      = "03:00-04:00"
  preferred_maintenance_window = "sun:04:30-sun:05:30"
  apply_immediately            = !local.settings.protected
  copy_tags_to_snapshot        = true

  deletion_protection = local.settings.protected
  skip_final_snapshot = !local.final_snapshot
  # Each database has a key of its own, so the next one's snapshot has another name.
  final_snapshot_identifier = local.final_snapshot ? "${local.names.database_cluster}-final-${substr(basename(module.key.arn), 0, 8)}" : null
  delete_automated_backups  = !local.final_snapshot

  enabled_cloudwatch_logs_exports = local.log_kinds
  database_insights_mode          = "standard"

  serverlessv2_scaling_configuration {
    min_capacity             = local.database.min_capacity
    max_capacity             = local.database.max_capacity
    seconds_until_auto_pause = local.database.min_capacity == 0 ? local.database.pause_after_seconds : null
  }

  lifecycle {
    precondition {
      condition     = terraform.workspace == "default"
      error_message = "A temporary environment (workspace ${terraform.workspace}) uses the database of ${local.names.database_cluster}: only infra/service is applied in a workspace."
    }
    precondition {
      condition     = local.project.database != "none"
      error_message = "project.yaml: database is none, so there is nothing to apply here. A database that is still there is deleted with its environment (`make down ENV=${var.environment}`) while project.yaml says aurora-postgresql."
    }
    precondition {
      condition     = length(data.aws_subnets.database.ids) >= 2
      error_message = "The network of ${local.names.network} has no database subnets: apply infra/network first."
    }
  }

  depends_on = [aws_cloudwatch_log_group.database]
}

resource "aws_rds_cluster_instance" "this" {
  count = local.database.instances

  identifier         = "${local.names.database_cluster}-${count.index + 1}"
  cluster_identifier = aws_rds_cluster.this.id
  engine             = aws_rds_cluster.this.engine
  instance_class     = "db.serverless"
  # The first two take over from each other, so they grow together; further ones grow by themselves.
  promotion_tier = count.index < 2 ? count.index : 15

  publicly_accessible        = false
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true
  apply_immediately          = !local.settings.protected

  monitoring_interval = 60
  monitoring_role_arn = aws_iam_role.monitoring.arn

  # 7 days: what Database Insights' standard mode has without a charge.
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = module.key.arn
  performance_insights_retention_period = 7

  depends_on = [aws_iam_role_policy.monitoring]
}

resource "aws_db_subnet_group" "this" {
  name        = local.names.database_cluster
  description = "Database subnets of ${local.names.network}: without a route out of the VPC"
  subnet_ids  = data.aws_subnets.database.ids
}

resource "aws_rds_cluster_parameter_group" "this" {
  name        = "${local.names.database_cluster}-postgresql-${local.postgresql_version}"
  description = "TLS only; logs without row data"
  family      = "aurora-postgresql${local.postgresql_version}"

  dynamic "parameter" {
    for_each = {
      "rds.force_ssl" = "1"

      # Who connects and what changes the schema is logged. Statements that failed or were slow are not, because their
      # text holds values of rows: Performance Insights shows them without the values. What is PostgreSQL's default
      # anyway (log_min_duration_statement, log_parameter_max_length_on_error) is not set: RDS answers with another
      # apply_method for it, and each plan would change it again.
      "log_connections"          = "1"
      "log_disconnections"       = "1"
      "log_statement"            = "ddl"
      "log_min_error_statement"  = "panic"
      "log_error_verbosity"      = "terse" # without DETAIL, where a duplicate key is quoted
      "log_parameter_max_length" = "0"
    }

    content {
      name         = parameter.key
      value        = parameter.value
      apply_method = parameter.key == "rds.force_ssl" ? "pending-reboot" : "immediate"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# Made here, because RDS would make them without an end and without the key.
resource "aws_cloudwatch_log_group" "database" {
  for_each = toset(local.log_kinds)

  name              = "${local.names.database_log_groups}/${each.key}"
  retention_in_days = local.settings.service.log_retention_days
  kms_key_id        = module.key.arn
}

resource "aws_iam_role" "monitoring" {
  name                 = local.names.database_monitoring_role
  path                 = local.names.role_path
  description          = "Writes the operating system metrics of ${local.names.database_cluster}"
  permissions_boundary = local.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

# The group RDSOSMetrics belongs to all databases of the account: RDS makes it.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_Monitoring.OS.Enabling.html
resource "aws_iam_role_policy" "monitoring" {
  name = "write-metrics"
  role = aws_iam_role.monitoring.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents", "logs:PutRetentionPolicy"]
      Resource = [
        "${local.arn}:logs:${local.region}:${local.account}:log-group:RDSOSMetrics",
        "${local.arn}:logs:${local.region}:${local.account}:log-group:RDSOSMetrics:*",
      ]
    }]
  })
}
