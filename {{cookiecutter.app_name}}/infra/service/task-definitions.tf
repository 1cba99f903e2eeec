# Two tasks of one image: the service, and its migrations under the database role that owns the schema. workers.tf has more.

locals {
  container_name = "app"
  container_port = 8000

  # The database roles as which the tasks log in. Of several that read and write, the one called app is the service's.
  database_roles = local.database ? module.config.database_roles.roles : {}
  writers        = [for name, role in local.database_roles : name if role.profile == "read-write"]
  database_user = {
    service = contains(local.writers, "app") ? "app" : try(local.writers[0], null)
    migrate = one([for name, role in local.database_roles : name if role.profile == "owner"])
  }

  # What the platform alone decides, with DB_USER of each task. infra/config refuses these names in project.yaml.
  platform_variables = merge(
    {
      APP_NAME    = local.project.app_name
      ENVIRONMENT = var.environment
      RELEASE     = var.image_digest
      PORT        = tostring(local.container_port)
      AWS_REGION  = local.region
    },
    local.database ? {
      DB_HOST   = data.aws_rds_cluster.database[0].endpoint
      DB_PORT   = "5432"
      DB_NAME   = local.names.database_name
      DB_SCHEMA = module.config.database_roles.schemas[0]
    } : {},
    local.feature_flags ? {
      APPCONFIG_APPLICATION = local.names.flags_application
      APPCONFIG_ENVIRONMENT = local.names.flags_environment
      APPCONFIG_PROFILE     = local.names.flags_profile
    } : {},
    { for name, worker in local.workers : worker.variable => aws_sqs_queue.worker[name].url },
    local.storage ? {
      FILES_BUCKET        = aws_s3_bucket.files[0].bucket
      FILES_CONTENT_TYPES = jsonencode(local.files.content_types)
      FILES_MAX_BYTES     = tostring(local.files.max_megabytes * 1000 * 1000)
    } : {},
  )
  variables = merge(
    { LOG_LEVEL = "info" },
    # A paused database takes about 15 seconds to wake; without this a request would give up after 5.
    local.database && try(local.settings.database.min_capacity, 1) == 0 ? { DB_WAIT_SECONDS = "25" } : {},
    local.settings.service.variables,
    local.platform_variables,
  )

  # Names and ARNs: ECS reads the values when a task starts, and Terraform never does.
  secrets = { for name in module.config.secrets : name => "${local.arn.ssm}:parameter${local.names.secrets_path}/${name}" }

  # What both have in common. Only /tmp can be written to; the image declares it a volume, so that it belongs to
  # everybody and not to root alone.
  container = merge({
    name                   = local.container_name
    image                  = "${module.config.registry.host}/${local.names.build_repository}@${var.image_digest}"
    essential              = true
    user                   = "10001"
    readonlyRootFilesystem = true
    # ECS sends SIGTERM, waits this long, and kills.
    stopTimeout = 30
    linuxParameters = {
      # Reaps what a session of ECS Exec leaves behind and hands SIGTERM on.
      initProcessEnabled = true
    }
    },
    { for key, value in { secrets = [for name, arn in local.secrets : { name = name, valueFrom = arn }] } : key => value if length(value) > 0 },
  )
  log_configuration = {
    logDriver = "awslogs"
    options = {
      awslogs-group  = local.names.service_log_group
      awslogs-region = local.region
      # Logs that cannot be delivered are dropped; they do not stop the service.
      mode            = "non-blocking"
      max-buffer-size = "25m"
    }
  }

  # The agent of ECS Exec, which runs beside the process as root, needs these on a read-only root filesystem.
  # https://github.com/aws/containers-roadmap/issues/1359
  volumes = {
    tmp                = "/tmp"
    exec-agent         = "/managed-agents"
    exec-agent-state   = "/var/lib/amazon/ssm"
    exec-agent-journal = "/var/log/amazon/ssm"
  }
}

resource "aws_ecs_task_definition" "service" {
  family                   = local.names.service
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.settings.service.cpu
  memory                   = local.settings.service.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  # A rollback needs the revision before; `make down` removes them all.
  skip_destroy = true

  container_definitions = jsonencode([merge(local.container, {
    command = ["python", "-m", "app"]
    portMappings = [{
      containerPort = local.container_port
      hostPort      = local.container_port
      protocol      = "tcp"
    }]
    environment = [
      for name, value in merge(local.variables, local.database ? { DB_USER = local.database_user.service } : {}) :
      { name = name, value = value }
    ]
    mountPoints = [
      for volume, path in local.volumes : { sourceVolume = volume, containerPath = path, readOnly = false }
    ]
    healthCheck = {
      command     = ["CMD", "python", "-m", "app.healthcheck"]
      interval    = 15
      timeout     = 5
      retries     = 3
      startPeriod = 30
    }
    logConfiguration = merge(local.log_configuration, {
      options = merge(local.log_configuration.options, { awslogs-stream-prefix = "service" })
    })
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = upper(local.project.cpu_architecture)
  }

  dynamic "volume" {
    for_each = local.volumes

    content {
      name = volume.key
    }
  }
}

# ops runs it before a new version of the service and stops there when it fails.
resource "aws_ecs_task_definition" "migrate" {
  count = local.database ? 1 : 0

  family                   = local.names.migrate
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.settings.service.cpu
  memory                   = local.settings.service.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.migrate[0].arn

  container_definitions = jsonencode([merge(local.container, {
    command = ["python", "-m", "app.migrate"]
    environment = [
      for name, value in merge(local.variables, { DB_USER = local.database_user.migrate }) : { name = name, value = value }
    ]
    mountPoints = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    logConfiguration = merge(local.log_configuration, {
      options = merge(local.log_configuration.options, { awslogs-stream-prefix = "migrate" })
    })
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = upper(local.project.cpu_architecture)
  }

  volume {
    name = "tmp"
  }
}
