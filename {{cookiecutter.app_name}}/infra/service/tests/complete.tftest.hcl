# Every component on: what each is made of and how they hang together.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_data {
  target = data.aws_security_group.endpoints[0]
  values = { id = "sg-endpoints" }
}
override_data {
  target = data.aws_security_group.database[0]
  values = { id = "sg-database" }
}
override_resource {
  target = aws_security_group.load_balancer
  values = { id = "sg-load-balancer" }
}
override_resource {
  target = aws_security_group.service
  values = { id = "sg-service" }
}
override_resource {
  target = aws_cloudwatch_metric_alarm.errors
  values = { arn = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:errors" }
}
override_resource {
  target = aws_cloudwatch_metric_alarm.latency
  values = { arn = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:latency" }
}

variables {
  project_file = "./tests/complete.yaml"
  environment  = "dev"
  image_digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
}

run "dev" {
  override_data {
    target = data.aws_ssm_parameters_by_path.environment[0]
    values = { names = ["/shop/dev/image", "/shop/dev/incident-url"] }
  }
  override_data {
    target = data.aws_ssm_parameter.incident[0]
    values = { value = "https://events.pagerduty.com/integration/KEY/enqueue" }
  }

  # Who reaches whom.
  assert {
    condition = alltrue([
      for rule in concat(values(aws_vpc_security_group_ingress_rule.http), values(aws_vpc_security_group_ingress_rule.https)) :
      rule.security_group_id == "sg-load-balancer" && rule.cidr_ipv4 == "0.0.0.0/0" && contains([80, 443], rule.from_port) && rule.from_port == rule.to_port
    ])
    error_message = "the internet reaches the load balancer's ports 80 and 443 and nothing else"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.http) == 1 && length(aws_vpc_security_group_ingress_rule.https) == 1
    error_message = "one rule for each port where everybody may call"
  }
  assert {
    condition = (
      aws_vpc_security_group_egress_rule.load_balancer_to_service.security_group_id == "sg-load-balancer" &&
      aws_vpc_security_group_egress_rule.load_balancer_to_service.referenced_security_group_id == "sg-service" &&
      aws_vpc_security_group_egress_rule.load_balancer_to_service.from_port == 8000 &&
      aws_vpc_security_group_ingress_rule.service_from_load_balancer.security_group_id == "sg-service" &&
      aws_vpc_security_group_ingress_rule.service_from_load_balancer.referenced_security_group_id == "sg-load-balancer" &&
      aws_vpc_security_group_ingress_rule.service_from_load_balancer.from_port == 8000 &&
      aws_vpc_security_group_ingress_rule.service_from_load_balancer.to_port == 8000
    )
    error_message = "the load balancer, and nobody else, reaches the tasks at port 8000"
  }
  assert {
    condition = (
      one(aws_vpc_security_group_egress_rule.service_to_database).referenced_security_group_id == "sg-database" &&
      one(aws_vpc_security_group_ingress_rule.database_from_service).security_group_id == "sg-database" &&
      one(aws_vpc_security_group_ingress_rule.database_from_service).referenced_security_group_id == "sg-service" &&
      one(aws_vpc_security_group_ingress_rule.database_from_service).from_port == 5432 &&
      one(aws_vpc_security_group_ingress_rule.database_from_service).to_port == 5432
    )
    error_message = "tasks reach the database at port 5432"
  }
  assert {
    condition = (
      one(aws_vpc_security_group_egress_rule.service_to_endpoints).referenced_security_group_id == "sg-endpoints" &&
      one(aws_vpc_security_group_ingress_rule.endpoints_from_service).security_group_id == "sg-endpoints" &&
      one(aws_vpc_security_group_ingress_rule.endpoints_from_service).referenced_security_group_id == "sg-service" &&
      aws_vpc_security_group_egress_rule.service_to_s3[0].prefix_list_id == "pl-s3" &&
      length(aws_vpc_security_group_egress_rule.service_to_internet) == 0
    )
    error_message = "without egress tasks reach endpoints and S3, not the internet"
  }

  assert {
    condition = (
      one(aws_vpc_security_group_egress_rule.service_to_secrets_endpoint).referenced_security_group_id == one(data.aws_security_group.secrets_endpoint).id &&
      one(aws_vpc_security_group_ingress_rule.secrets_endpoint_from_service).security_group_id == one(data.aws_security_group.secrets_endpoint).id &&
      one(aws_vpc_security_group_ingress_rule.secrets_endpoint_from_service).referenced_security_group_id == "sg-service"
    )
    error_message = "Secrets Manager's name leads to its endpoint, which admits the tasks"
  }
  # https://github.com/aws-containers/amazon-ecs-exec-checker/issues/71
  assert {
    condition = length(setsubtract(
      ["/tmp", "/managed-agents", "/var/lib/amazon/ssm", "/var/log/amazon/ssm"],
      [for mount in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].mountPoints : mount.containerPath if !mount.readOnly],
    )) == 0
    error_message = "ECS Exec can write where it must on a read-only root"
  }

  # The way in.
  assert {
    condition = (
      one(aws_lb_listener.http.default_action).type == "redirect" &&
      one(one(aws_lb_listener.http.default_action).redirect).protocol == "HTTPS" &&
      one(one(aws_lb_listener.http.default_action).redirect).status_code == "HTTP_301" &&
      one(aws_lb_listener.https).ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06" &&
      one(aws_lb_listener.https).routing_http_response_strict_transport_security_header_value == "max-age=31536000"
    )
    error_message = "HTTP redirects to HTTPS, which speaks TLS 1.3 and 1.2"
  }
  assert {
    condition = (
      one(aws_acm_certificate.service).domain_name == "dev.shop.example.com" &&
      one(aws_route53_record.service).name == "dev.shop.example.com" &&
      one(aws_route53_record.certificate).records == toset(["_value.acm-validations.aws."]) &&
      output.url == "https://dev.shop.example.com"
    )
    error_message = "dev answers at its own name below the domain"
  }
  assert {
    condition     = output.task_definition == aws_ecs_service.service.task_definition
    error_message = "ops knows by it whether the service still runs what it was given"
  }
  assert {
    condition = (
      aws_lb.service.drop_invalid_header_fields && !aws_lb.service.internal == true &&
      one(aws_lb.service.access_logs).enabled && one(aws_lb.service.connection_logs).enabled &&
      one(aws_lb.service.access_logs).prefix != one(aws_lb.service.connection_logs).prefix
    )
    error_message = "the load balancer drops invalid headers and logs accesses and connections"
  }

  # What runs.
  assert {
    condition = { for variable in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment : variable.name => variable.value } == {
      APP_NAME              = "shop"
      ENVIRONMENT           = "dev"
      RELEASE               = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      PORT                  = "8000"
      LOG_LEVEL             = "debug"      # the environment's own
      GREETING              = "hello, dev" # and this one wins over that of all environments
      LIMIT                 = "10"
      AWS_REGION            = "eu-west-1"
      DB_HOST               = "shop.cluster-abc.eu-west-1.rds.amazonaws.com"
      DB_PORT               = "5432"
      DB_NAME               = "shop"
      DB_USER               = "app"
      DB_SCHEMA             = "shop"
      DB_WAIT_SECONDS       = "25" # dev's database pauses
      APPCONFIG_APPLICATION = "shop-dev"
      APPCONFIG_ENVIRONMENT = "dev"
      APPCONFIG_PROFILE     = "flags"
      QUEUE_URL_SEND_MAIL   = "https://sqs.eu-west-1.amazonaws.com/123456789012/mocked"
      QUEUE_URL_THUMBNAILS  = "https://sqs.eu-west-1.amazonaws.com/123456789012/mocked"
      FILES_BUCKET          = "shop-dev-files-123456789012"
      FILES_CONTENT_TYPES   = "[\"image/png\",\"text/csv\"]"
      FILES_MAX_BYTES       = "25000000"
    }
    error_message = "the service's environment is what app/settings.py reads"
  }
  assert {
    condition = (
      { for variable in jsondecode(aws_ecs_task_definition.migrate[0].container_definitions)[0].environment : variable.name => variable.value if variable.name != "DB_USER" } ==
      { for variable in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment : variable.name => variable.value if variable.name != "DB_USER" }
    )
    error_message = "migrations are given the same variables"
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate[0]] :
      { for secret in jsondecode(definition.container_definitions)[0].secrets : secret.name => secret.valueFrom } == {
        API_KEY     = "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/dev/secrets/API_KEY"
        SESSION_KEY = "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/dev/secrets/SESSION_KEY"
      }
    ])
    error_message = "both tasks get the secrets by the ARNs of their parameters"
  }
  assert {
    condition = (
      { for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Sid => statement.Resource if strcontains(statement.Sid, "Secrets") } == {
        ReadTheSecrets    = [for name in ["API_KEY", "SESSION_KEY"] : "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/dev/secrets/${name}"]
        DecryptTheSecrets = one(data.aws_kms_alias.secrets).target_key_arn
      } && one(data.aws_kms_alias.secrets).name == "alias/shop-dev-network"
    )
    error_message = "ECS may read exactly these, with the environment's key"
  }
  assert {
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    condition     = length(regexall("secrets/API_KEY", aws_iam_role_policy.execution.policy)) == 1
    error_message = "a role's own policies have 10,240 characters: 50 secrets fit once"
  }
  assert {
    condition     = toset(concat(keys(local.platform_variables), ["DB_USER", "JOB_SCHEDULED_AT"], keys(local.job_variables["clean-up"]))) == toset(module.config.platform_variables)
    error_message = "infra/config refuses exactly the names that the platform sets"
  }
  assert {
    condition = (
      [for variable in jsondecode(aws_ecs_task_definition.migrate[0].container_definitions)[0].environment : variable.value if variable.name == "DB_USER"] == ["owner"] &&
      jsondecode(aws_ecs_task_definition.migrate[0].container_definitions)[0].command == ["python", "-m", "app.migrate"] &&
      !contains(keys(jsondecode(aws_ecs_task_definition.migrate[0].container_definitions)[0]), "portMappings")
    )
    error_message = "migrations run as the role that owns the schema and listen to nothing"
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate[0]] : alltrue([
        for container in jsondecode(definition.container_definitions) : (
          container.name == "app" && container.readonlyRootFilesystem && container.user == "10001" && container.stopTimeout == 30 &&
          container.image == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" &&
          contains([for mount in container.mountPoints : mount.containerPath], "/tmp") &&
          !try(container.privileged, false) &&
          container.logConfiguration.options["awslogs-group"] == "/shop/dev/service"
        )
      ])
    ])
    error_message = "both run the image by digest, not as root, on a read-only file system with /tmp, and log to the service's group"
  }
  assert {
    condition     = aws_ecs_task_definition.service.skip_destroy && one(aws_ecs_task_definition.service.runtime_platform).cpu_architecture == "ARM64"
    error_message = "an older revision stays for a rollback; tasks are ARM"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.service.container_definitions)[0].healthCheck.command == ["CMD", "python", "-m", "app.healthcheck"]
    error_message = "the container's health check is the image's own"
  }
  assert {
    condition = (
      one(aws_ecs_service.service.deployment_circuit_breaker).enable && one(aws_ecs_service.service.deployment_circuit_breaker).rollback &&
      one(aws_ecs_service.service.alarms).enable && one(aws_ecs_service.service.alarms).rollback &&
      one(aws_ecs_service.service.alarms).alarm_names == toset(["shop-dev-errors", "shop-dev-latency"]) &&
      aws_ecs_service.service.deployment_minimum_healthy_percent == 100 &&
      aws_ecs_service.service.availability_zone_rebalancing == "ENABLED" &&
      !one(aws_ecs_service.service.network_configuration).assign_public_ip &&
      aws_ecs_service.service.enable_execute_command && aws_ecs_service.service.propagate_tags == "SERVICE"
    )
    error_message = "a deployment is rolled back by the circuit breaker and by the two alarms; no public address"
  }
  assert {
    condition = (
      one(one(aws_ecs_cluster.service.configuration).execute_command_configuration).logging == "OVERRIDE" &&
      one(one(one(aws_ecs_cluster.service.configuration).execute_command_configuration).log_configuration).cloud_watch_encryption_enabled &&
      one(one(aws_ecs_cluster.service.configuration).execute_command_configuration).kms_key_id == module.key.arn
    )
    error_message = "sessions are encrypted with the customer key and logged"
  }
  assert {
    condition = (
      aws_appautoscaling_target.service.min_capacity == 1 && aws_appautoscaling_target.service.max_capacity == 2 &&
      sort([for policy in aws_appautoscaling_policy.service : one(one(policy.target_tracking_scaling_policy_configuration).predefined_metric_specification).predefined_metric_type]) == tolist(["ALBRequestCountPerTarget", "ECSServiceAverageCPUUtilization"]) &&
      alltrue([for policy in aws_appautoscaling_policy.service : !coalesce(one(policy.target_tracking_scaling_policy_configuration).disable_scale_in, false)])
    )
    error_message = "scales between min_tasks and max_tasks on CPU and requests, both ways"
  }

  # Workers.
  assert {
    condition = (
      { for name, queue in aws_sqs_queue.worker : name => queue.name } == { send-mail = "shop-dev-worker-send-mail", thumbnails = "shop-dev-worker-thumbnails" } &&
      aws_sqs_queue.worker["send-mail"].visibility_timeout_seconds == 300 &&
      jsondecode(aws_sqs_queue.worker["send-mail"].redrive_policy) == { deadLetterTargetArn = aws_sqs_queue.dead_letters["send-mail"].arn, maxReceiveCount = 3 } &&
      jsondecode(aws_sqs_queue.dead_letters["send-mail"].redrive_allow_policy) == {
        redrivePermission = "byQueue", sourceQueueArns = ["arn:aws:sqs:eu-west-1:123456789012:shop-dev-worker-send-mail"]
      } &&
      jsondecode(aws_sqs_queue.worker["send-mail"].redrive_allow_policy) == { redrivePermission = "denyAll" } &&
      aws_sqs_queue.dead_letters["send-mail"].message_retention_seconds > aws_sqs_queue.worker["send-mail"].message_retention_seconds
    )
    error_message = "each worker has a queue, and one for its dead letters alone, which are kept longer"
  }
  assert {
    condition = alltrue([
      for queue in concat(values(aws_sqs_queue.worker), values(aws_sqs_queue.dead_letters)) :
      queue.kms_master_key_id == module.key.arn && jsondecode(queue.policy).Statement == [{
        Sid       = "OnlyTls", Effect = "Deny", Principal = "*", Action = "sqs:*", Resource = "arn:aws:sqs:eu-west-1:123456789012:${queue.name}"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }]
    ])
    error_message = "queues are encrypted with the customer key and take TLS only"
  }
  assert {
    condition = alltrue([
      for name, definition in aws_ecs_task_definition.worker :
      jsondecode(definition.container_definitions)[0].command == ["python", "-m", "app.worker", name] && definition.task_role_arn == aws_iam_role.worker[name].arn &&
      alltrue([
        for key in ["environment", "secrets", "image", "user", "readonlyRootFilesystem"] :
        jsonencode(jsondecode(definition.container_definitions)[0][key]) == jsonencode(jsondecode(aws_ecs_task_definition.service.container_definitions)[0][key])
      ])
    ])
    error_message = "a worker is the service's image with its variables and secrets, a command and a role of its own"
  }
  assert {
    condition = alltrue([
      for name, service in aws_ecs_service.worker :
      length(service.load_balancer) == 0 && toset(one(service.network_configuration).security_groups) == toset(["sg-service"]) &&
      !one(service.network_configuration).assign_public_ip && one(service.deployment_circuit_breaker).rollback
    ])
    error_message = "nobody connects to a worker; it reaches what the service reaches"
  }
  assert {
    condition = (
      { for name, target in aws_appautoscaling_target.worker : name => [target.min_capacity, target.max_capacity] } == { send-mail = [0, 7], thumbnails = [1, 2] } &&
      keys(aws_appautoscaling_policy.worker_first) == ["send-mail"] && keys(aws_cloudwatch_metric_alarm.worker_first) == ["send-mail"] &&
      aws_cloudwatch_metric_alarm.worker_first["send-mail"].alarm_actions == toset([aws_appautoscaling_policy.worker_first["send-mail"].arn])
    )
    error_message = "workers scale between their numbers; from 0 by an alarm"
  }
  assert {
    condition = alltrue([
      for name, policy in aws_iam_role_policy.worker : { for statement in jsondecode(policy.policy).Statement : statement.Sid => statement.Resource } == {
        TakeMessages       = "arn:aws:sqs:eu-west-1:123456789012:shop-dev-worker-${name}"
        DecryptMessages    = module.key.arn
        LogInToTheDatabase = "arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABCDEFGHIJKL/app"
        ReadFlags          = "arn:aws:appconfig:eu-west-1:123456789012:application/abcd123/environment/efgh456/configuration/ijkl789"
      }
    ])
    error_message = "a worker takes from its own queue, and reads what the service reads"
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement.Sid => statement.Resource if statement.Sid == "SendToWorkers" } == {
      SendToWorkers = ["arn:aws:sqs:eu-west-1:123456789012:shop-dev-worker-send-mail", "arn:aws:sqs:eu-west-1:123456789012:shop-dev-worker-thumbnails"]
    }
    error_message = "the service sends to these queues and takes from none"
  }
  assert {
    condition = (
      length(aws_cloudwatch_metric_alarm.worker) == 4 && aws_cloudwatch_metric_alarm.worker["shop-dev-worker-send-mail-age"].threshold == 900 &&
      aws_cloudwatch_metric_alarm.worker["shop-dev-worker-send-mail-dead-letters"].dimensions == tomap({ QueueName = "shop-dev-worker-send-mail-dead-letters" }) &&
      alltrue([for alarm in aws_cloudwatch_metric_alarm.worker : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn])])
    )
    error_message = "old messages and dead letters are told to the topic"
  }

  # What the roles may do.
  assert {
    condition = alltrue([
      for role in concat([aws_iam_role.execution, aws_iam_role.task], aws_iam_role.migrate, aws_iam_role.flags_rollback, values(aws_iam_role.worker)) :
      role.permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-dev-boundary" && role.path == "/shop/dev/"
    ])
    error_message = "every role carries the environment's boundary, and is on its path"
  }
  assert {
    condition = alltrue([
      for role in [aws_iam_role.execution, aws_iam_role.task, aws_iam_role.migrate[0]] :
      jsondecode(role.assume_role_policy).Statement[0].Principal == { Service = "ecs-tasks.amazonaws.com" } &&
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    ])
    error_message = "only ECS, for this account, takes the tasks' roles"
  }
  assert {
    condition = (
      [for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement.Resource if statement.Action == "rds-db:connect"] == ["arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABCDEFGHIJKL/app"] &&
      jsondecode(aws_iam_role_policy.migrate[0].policy).Statement[*].Action == ["rds-db:connect"] &&
      jsondecode(aws_iam_role_policy.migrate[0].policy).Statement[*].Resource == ["arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABCDEFGHIJKL/owner"]
    )
    error_message = "the service logs in as app, migrations as owner, both at this cluster and as nobody else"
  }
  assert {
    condition = toset(flatten([
      for policy in concat([aws_iam_role_policy.execution, aws_iam_role_policy.task], aws_iam_role_policy.migrate, aws_iam_role_policy.flags_rollback) : [
        for statement in jsondecode(policy.policy).Statement : statement.Action if statement.Resource == "*"
      ]
      ])) == toset([
      "ecr:GetAuthorizationToken", "logs:DescribeLogGroups",
      "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    ])
    error_message = "resource * only where AWS has no other"
  }
  assert {
    condition = (
      [for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement.Resource if statement.Sid == "ReadFlags"] ==
      ["arn:aws:appconfig:eu-west-1:123456789012:application/abcd123/environment/efgh456/configuration/ijkl789"]
    )
    error_message = "the service reads its own flags"
  }

  # Flags.
  assert {
    condition = (
      one(aws_appconfig_configuration_profile.flags).type == "AWS.AppConfig.FeatureFlags" &&
      one(aws_appconfig_configuration_profile.flags).name == "flags" &&
      toset([for monitor in one(aws_appconfig_environment.flags).monitor : monitor.alarm_arn]) == toset([
        "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:errors", "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:latency",
      ])
    )
    error_message = "flags are rolled back on errors and latency"
  }
  assert {
    condition     = jsondecode(one(aws_appconfig_hosted_configuration_version.first).content).version == "1" && can(jsondecode(one(aws_appconfig_hosted_configuration_version.first).content).flags)
    error_message = "the first version is a document of feature flags"
  }
  assert {
    condition = (
      one(aws_appconfig_deployment_strategy.gradual).name == "shop-dev" &&
      one(aws_appconfig_deployment_strategy.gradual).final_bake_time_in_minutes >= aws_cloudwatch_metric_alarm.errors.evaluation_periods &&
      one(aws_appconfig_deployment_strategy.immediate).deployment_duration_in_minutes == 0
    )
    error_message = "the gradual strategy watches for longer than an alarm needs"
  }

  # Alarms.
  assert {
    condition = toset(concat(
      [aws_cloudwatch_metric_alarm.errors.alarm_name, aws_cloudwatch_metric_alarm.latency.alarm_name],
      values(aws_cloudwatch_metric_alarm.service)[*].alarm_name, values(aws_cloudwatch_metric_alarm.database)[*].alarm_name,
      values(aws_cloudwatch_metric_alarm.job)[*].alarm_name, aws_cloudwatch_metric_alarm.jobs_dead_letters[*].alarm_name,
      aws_cloudwatch_metric_alarm.file_errors[*].alarm_name, aws_cloudwatch_metric_alarm.files_malware[*].alarm_name,
      )) == toset([
      for name in [
        "errors", "latency", "unhealthy-hosts", "cpu", "memory", "running-tasks", "failed-deployments",
        "database-capacity", "database-connections", "database-transaction-ids", "role-manager-errors",
        "job-clean-up", "jobs-dead-letters", "files-errors", "files-malware",
      ] : "shop-dev-${name}"
    ])
    error_message = "all fifteen alarms are there"
  }
  assert {
    condition = alltrue([
      for alarm in concat(
        [aws_cloudwatch_metric_alarm.errors, aws_cloudwatch_metric_alarm.latency],
        values(aws_cloudwatch_metric_alarm.service), values(aws_cloudwatch_metric_alarm.database),
        values(aws_cloudwatch_metric_alarm.job), aws_cloudwatch_metric_alarm.jobs_dead_letters,
        aws_cloudwatch_metric_alarm.file_errors, aws_cloudwatch_metric_alarm.files_malware,
      ) : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn]) && alarm.ok_actions == toset([aws_sns_topic.alarms.arn]) && length(alarm.alarm_description) > 60
    ])
    error_message = "every alarm tells the topic when it begins and when it is over, and says what to do"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.errors.threshold == 7 && aws_cloudwatch_metric_alarm.latency.threshold == 2 &&
      aws_cloudwatch_metric_alarm.service["cpu"].threshold == 80 && aws_cloudwatch_metric_alarm.service["running-tasks"].threshold == 1
    )
    error_message = "thresholds come from project.yaml: the environment's, else the project's, else the default"
  }
  assert {
    condition = {
      for name, alarm in merge(
        aws_cloudwatch_metric_alarm.service, aws_cloudwatch_metric_alarm.database,
        { for name, alarm in aws_cloudwatch_metric_alarm.job : "job-${name}" => alarm },
        { jobs-dead-letters = aws_cloudwatch_metric_alarm.jobs_dead_letters[0], files-malware = aws_cloudwatch_metric_alarm.files_malware[0] },
      ) :
      name => "${alarm.metric_name} ${alarm.statistic} ${alarm.comparison_operator} ${alarm.threshold}, ${alarm.datapoints_to_alarm} of ${alarm.evaluation_periods} x ${alarm.period} s"
      } == {
      unhealthy-hosts          = "UnHealthyHostCount Maximum GreaterThanOrEqualToThreshold 1, 5 of 5 x 60 s"
      cpu                      = "CPUUtilization Average GreaterThanThreshold 80, 5 of 5 x 60 s"
      memory                   = "MemoryUtilization Average GreaterThanThreshold 80, 5 of 5 x 60 s"
      running-tasks            = "RunningTaskCount Minimum LessThanThreshold 1, 5 of 5 x 60 s"
      failed-deployments       = "TriggeredRules Sum GreaterThanOrEqualToThreshold 1, 1 of 60 x 60 s"
      database-capacity        = "ACUUtilization Maximum GreaterThanThreshold 90, 5 of 5 x 60 s"
      database-connections     = "DatabaseConnections Maximum GreaterThanThreshold 1600, 5 of 5 x 60 s"
      database-transaction-ids = "MaximumUsedTransactionIDs Maximum GreaterThanThreshold 1000000000, 5 of 5 x 60 s"
      role-manager-errors      = "Errors Sum GreaterThanThreshold 0, 1 of 60 x 60 s"
      job-clean-up             = "TriggeredRules Sum GreaterThanOrEqualToThreshold 1, 1 of 60 x 60 s"
      files-malware            = "TriggeredRules Sum GreaterThanOrEqualToThreshold 1, 1 of 60 x 60 s"
      jobs-dead-letters        = "ApproximateNumberOfMessagesVisible Maximum GreaterThanOrEqualToThreshold 1, 1 of 1 x 60 s"
    }
    error_message = "each alarm compares its metric with its threshold, in the right direction"
  }
  assert {
    condition = (
      "${aws_cloudwatch_metric_alarm.latency.metric_name} ${aws_cloudwatch_metric_alarm.latency.extended_statistic} ${aws_cloudwatch_metric_alarm.latency.comparison_operator}" == "TargetResponseTime p99 GreaterThanThreshold" &&
      aws_cloudwatch_metric_alarm.errors.comparison_operator == "GreaterThanThreshold"
    )
    error_message = "the slowest 1 % of the answers, and too many errors"
  }
  assert {
    condition = (
      { for query in aws_cloudwatch_metric_alarm.errors.metric_query : query.id => one(query.metric).metric_name if length(query.metric) > 0 } == {
        requests = "RequestCount", service = "HTTPCode_Target_5XX_Count", balancer = "HTTPCode_ELB_5XX_Count"
      } &&
      [for query in aws_cloudwatch_metric_alarm.errors.metric_query : query.expression if query.return_data] ==
      ["IF(SUM([requests, balancer]) >= 10, 100 * SUM([service, balancer]) / SUM([requests, balancer]), 0)"]
    )
    error_message = "the share of 5XX answers among all, from ten requests a minute on"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.database["database-connections"].threshold == 1600
    error_message = "16 ACU allow 3,360 connections, but 2,000 with a min_capacity of 0; 80 % of that: ${aws_cloudwatch_metric_alarm.database["database-connections"].threshold}"
  }
  assert {
    condition = (
      { for name, alarm in aws_cloudwatch_metric_alarm.service : name => alarm.treat_missing_data if alarm.treat_missing_data != "notBreaching" } == { running-tasks = "breaching" } &&
      alltrue([for alarm in aws_cloudwatch_metric_alarm.database : alarm.treat_missing_data == "notBreaching"])
    )
    error_message = "silence is no alarm, except of running tasks; a paused database reports nothing"
  }
  assert {
    condition = (
      jsondecode(aws_cloudwatch_event_rule.failed_deployments.event_pattern).detail.eventName == ["SERVICE_DEPLOYMENT_FAILED"] &&
      jsondecode(aws_cloudwatch_event_rule.failed_deployments.event_pattern).resources == ["arn:aws:ecs:eu-west-1:123456789012:service/shop-dev/shop-dev"] &&
      aws_cloudwatch_event_target.failed_deployments.arn == aws_sns_topic.alarms.arn &&
      aws_cloudwatch_metric_alarm.service["failed-deployments"].dimensions.RuleName == aws_cloudwatch_event_rule.failed_deployments.name
    )
    error_message = "a failed deployment of this service reaches the topic"
  }
  assert {
    condition = (
      aws_sns_topic.alarms.kms_master_key_id == module.key.arn &&
      { for statement in jsondecode(aws_sns_topic_policy.alarms.policy).Statement : statement.Principal.Service => statement.Action } == {
        "cloudwatch.amazonaws.com" = "sns:Publish"
        "events.amazonaws.com"     = "sns:Publish"
      } &&
      jsondecode(aws_sns_topic_policy.alarms.policy).Statement[0].Condition.ArnLike["aws:SourceArn"] == "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:shop-dev-*"
    )
    error_message = "the topic is encrypted with the customer key; this service's alarms and events may publish"
  }
  assert {
    condition = (
      one(aws_sns_topic_subscription.incident).protocol == "https" && one(aws_sns_topic_subscription.incident).endpoint_auto_confirms &&
      nonsensitive(one(aws_sns_topic_subscription.incident).endpoint) == "https://events.pagerduty.com/integration/KEY/enqueue" && output.incident_subscribed
    )
    error_message = "PagerDuty is subscribed with the URL of the parameter, and confirms by itself"
  }

  # Logs.
  assert {
    condition = alltrue([
      for group in [aws_cloudwatch_log_group.service, aws_cloudwatch_log_group.sessions, aws_cloudwatch_log_group.cluster] :
      group.kms_key_id == module.key.arn && group.retention_in_days > 0
    ])
    error_message = "every log group is encrypted with the customer key and ends"
  }
  assert {
    condition = (
      aws_s3_bucket.logs.bucket == "shop-dev-logs-123456789012" &&
      one(one(aws_s3_bucket_server_side_encryption_configuration.logs.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256" &&
      one(aws_s3_bucket_lifecycle_configuration.logs.rule).expiration[0].days == 30 &&
      aws_s3_bucket_public_access_block.logs.block_public_policy && aws_s3_bucket_public_access_block.logs.restrict_public_buckets
    )
    error_message = "access logs: the only encryption that ELB can write to, an end, nothing public"
  }
  assert {
    condition = { for statement in jsondecode(aws_s3_bucket_policy.logs.policy).Statement : statement.Sid => [statement.Effect, try(statement.Principal.Service, statement.Principal)] } == {
      TlsOnly                       = ["Deny", "*"]
      LoadBalancerWritesItsLogs     = ["Allow", "logdelivery.elasticloadbalancing.amazonaws.com"]
      TheBucketForFilesWritesItsLog = ["Allow", "logging.s3.amazonaws.com"]
    }
    error_message = "only the load balancer and the bucket for files write, over TLS"
  }

  # Jobs.
  assert {
    condition     = keys(aws_scheduler_schedule.job) == ["clean-up"] && keys(aws_ecs_task_definition.job) == ["clean-up"]
    error_message = "dev has the job that is for all environments, and not prod's"
  }
  assert {
    condition = (
      aws_ecs_task_definition.job["clean-up"].family == "shop-dev-job-clean-up" && aws_ecs_task_definition.job["clean-up"].skip_destroy &&
      aws_ecs_task_definition.job["clean-up"].cpu == "256" && aws_ecs_task_definition.job["clean-up"].memory == "512" &&
      aws_ecs_task_definition.job["clean-up"].task_role_arn == aws_iam_role.task.arn &&
      aws_ecs_task_definition.job["clean-up"].execution_role_arn == aws_iam_role.execution.arn
    )
    error_message = "a job has the service's size where it says none, and the service's roles"
  }
  assert {
    condition = alltrue([
      for container in jsondecode(aws_ecs_task_definition.job["clean-up"].container_definitions) : (
        container.command == ["python", "-m", "app.job", "python", "-m", "app.jobs.heartbeat"] &&
        container.image == jsondecode(aws_ecs_task_definition.service.container_definitions)[0].image &&
        container.secrets == jsondecode(aws_ecs_task_definition.service.container_definitions)[0].secrets &&
        container.readonlyRootFilesystem && container.user == "10001" && !contains(keys(container), "portMappings") &&
        container.logConfiguration.options["awslogs-stream-prefix"] == "job-clean-up" &&
        { for variable in container.environment : variable.name => variable.value } == merge(
          { for variable in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment : variable.name => variable.value },
          { JOB_NAME = "clean-up", JOB_TIMEOUT_SECONDS = "600" },
        )
      )
    ])
    error_message = "a job runs the service's image, with its variables, secrets and database role, under its timeout"
  }
  assert {
    condition = (
      aws_scheduler_schedule.job["clean-up"].name == "shop-dev-job-clean-up" && aws_scheduler_schedule.job["clean-up"].group_name == "shop-dev-jobs" &&
      aws_scheduler_schedule.job["clean-up"].schedule_expression == "cron(30 3 * * ? *)" &&
      aws_scheduler_schedule.job["clean-up"].schedule_expression_timezone == "Europe/Berlin" &&
      one(aws_scheduler_schedule.job["clean-up"].flexible_time_window).mode == "OFF" &&
      one(one(aws_scheduler_schedule.job["clean-up"].target).retry_policy).maximum_event_age_in_seconds == 600 &&
      one(one(aws_scheduler_schedule.job["clean-up"].target).dead_letter_config).arn == aws_sqs_queue.jobs_dead_letters[0].arn &&
      one(aws_scheduler_schedule.job["clean-up"].target).arn == "arn:aws:scheduler:::aws-sdk:ecs:runTask" &&
      one(aws_scheduler_schedule.job["clean-up"].target).role_arn == aws_iam_role.jobs[0].arn
    )
    error_message = "the schedule is project.yaml's; a run that cannot be started is tried until its time is over, and kept"
  }
  assert {
    condition = (
      strcontains(one(aws_scheduler_schedule.job["clean-up"].target).input, "-<aws.scheduler.scheduled-time>\"") &&
      { for key, value in jsondecode(one(aws_scheduler_schedule.job["clean-up"].target).input) : key => jsonencode(value) if !contains(["ClientToken", "NetworkConfiguration"], key) } == {
        Cluster        = jsonencode("shop-dev")
        LaunchType     = jsonencode("FARGATE")
        StartedBy      = jsonencode("schedule")
        TaskDefinition = jsonencode(aws_ecs_task_definition.job["clean-up"].arn)
        Overrides = jsonencode({ ContainerOverrides = [{
          Name = "app", Environment = [{ Name = "JOB_SCHEDULED_AT", Value = "<aws.scheduler.scheduled-time>" }]
        }] })
      } &&
      length(jsondecode(one(aws_scheduler_schedule.job["clean-up"].target).input).ClientToken) - length("<aws.scheduler.scheduled-time>") + length("2026-01-01T00:00:00Z") <= 64 &&
      jsondecode(one(aws_scheduler_schedule.job["clean-up"].target).input).NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp == "DISABLED" &&
      jsondecode(one(aws_scheduler_schedule.job["clean-up"].target).input).NetworkConfiguration.AwsvpcConfiguration.SecurityGroups == ["sg-service"]
    )
    error_message = "it starts the revision that was deployed, once for a moment, where the service's tasks run"
  }
  assert {
    condition = (
      jsondecode(aws_iam_role.jobs[0].assume_role_policy).Statement[0].Principal == { Service = "scheduler.amazonaws.com" } &&
      jsondecode(aws_iam_role.jobs[0].assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceArn"] == aws_scheduler_schedule_group.jobs[0].arn &&
      aws_iam_role.jobs[0].permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-dev-boundary" && aws_iam_role.jobs[0].path == "/shop/dev/" &&
      { for statement in jsondecode(aws_iam_role_policy.jobs[0].policy).Statement : statement.Action => flatten([statement.Resource]) } == {
        "ecs:RunTask"     = ["arn:aws:ecs:eu-west-1:123456789012:task-definition/shop-dev-job-clean-up:*"]
        "iam:PassRole"    = [aws_iam_role.execution.arn, aws_iam_role.task.arn]
        "sqs:SendMessage" = [aws_sqs_queue.jobs_dead_letters[0].arn]
      } &&
      jsondecode(aws_iam_role_policy.jobs[0].policy).Statement[0].Condition == { ArnEquals = { "ecs:cluster" = "arn:aws:ecs:eu-west-1:123456789012:cluster/shop-dev" } } &&
      jsondecode(aws_iam_role_policy.jobs[0].policy).Statement[1].Condition == { StringLike = { "iam:PassedToService" = "ecs-tasks.amazonaws.com*" } }
    )
    error_message = "only the schedules of this environment start these jobs, in this cluster, as the service's roles"
  }
  assert {
    condition = (
      aws_sqs_queue.jobs_dead_letters[0].sqs_managed_sse_enabled && aws_sqs_queue.jobs_dead_letters[0].message_retention_seconds == 1209600 &&
      jsondecode(aws_sqs_queue.jobs_dead_letters[0].redrive_allow_policy) == { redrivePermission = "denyAll" } &&
      jsondecode(aws_sqs_queue_policy.jobs_dead_letters[0].policy).Statement[0].Effect == "Deny" &&
      jsondecode(aws_sqs_queue_policy.jobs_dead_letters[0].policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    )
    error_message = "dead letters are encrypted and go over TLS alone"
  }
  assert {
    condition = (
      jsondecode(aws_cloudwatch_event_rule.job["clean-up"].event_pattern).detail == {
        clusterArn        = ["arn:aws:ecs:eu-west-1:123456789012:cluster/shop-dev"]
        taskDefinitionArn = [{ prefix = "arn:aws:ecs:eu-west-1:123456789012:task-definition/shop-dev-job-clean-up:" }]
        startedBy         = ["schedule"]
        lastStatus        = ["STOPPED"]
        containers        = { exitCode = [{ anything-but = [0] }, { exists = false }] }
      } &&
      aws_cloudwatch_event_target.job["clean-up"].arn == aws_sns_topic.alarms.arn &&
      aws_cloudwatch_metric_alarm.job["clean-up"].dimensions.RuleName == aws_cloudwatch_event_rule.job["clean-up"].name &&
      aws_cloudwatch_metric_alarm.jobs_dead_letters[0].dimensions.QueueName == "shop-dev-jobs-dead-letters"
    )
    error_message = "every end of a scheduled run that is not 0 reaches the topic, and so does what could not be started"
  }

  # Off in dev.
  assert {
    condition     = length(aws_wafv2_web_acl.service) == 0 && length(aws_cloudwatch_log_group.firewall) == 0
    error_message = "no web ACL where web_application_firewall is false"
  }
  assert {
    condition     = !aws_lb.service.enable_deletion_protection && aws_s3_bucket.logs.force_destroy
    error_message = "dev can be taken down"
  }

  # Files.
  assert {
    condition = (
      aws_s3_bucket.files[0].bucket == "shop-dev-files-123456789012" && aws_s3_bucket.files[0].force_destroy &&
      one(aws_s3_bucket_versioning.files[0].versioning_configuration).status == "Enabled" &&
      one(aws_s3_bucket_ownership_controls.files[0].rule).object_ownership == "BucketOwnerEnforced" &&
      alltrue([
        for block in aws_s3_bucket_public_access_block.files :
        block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
      ]) &&
      one(one(aws_s3_bucket_server_side_encryption_configuration.files[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms" &&
      one(one(aws_s3_bucket_server_side_encryption_configuration.files[0].rule).apply_server_side_encryption_by_default).kms_master_key_id == module.files_key[0].arn &&
      aws_s3_bucket_logging.files[0].target_bucket == aws_s3_bucket.logs.id && aws_s3_bucket_logging.files[0].target_prefix == "files/"
    )
    error_message = "files are private, versioned, encrypted with a key of their own, and who asks for them is logged"
  }
  assert {
    condition = (
      one(one([for rule in aws_s3_bucket_lifecycle_configuration.files[0].rule : rule if rule.id == "old-versions"]).noncurrent_version_expiration).noncurrent_days == 30 &&
      one(one([for rule in aws_s3_bucket_lifecycle_configuration.files[0].rule : rule if rule.id == "old-versions"]).abort_incomplete_multipart_upload).days_after_initiation == 7 &&
      one(one([for rule in aws_s3_bucket_lifecycle_configuration.files[0].rule : rule if rule.id == "old-files"]).expiration).days == 365
    )
    error_message = "what was overwritten lasts a month, files as long as project.yaml says"
  }
  assert {
    condition = (
      one(aws_s3_bucket_cors_configuration.files[0].cors_rule).allowed_origins == toset(["https://shop.example.com"]) &&
      one(aws_s3_bucket_cors_configuration.files[0].cors_rule).allowed_methods == toset(["GET", "HEAD", "POST"])
    )
    error_message = "browsers upload and download from the pages that project.yaml names"
  }
  assert {
    # checkov's parser takes no object within a template.
    condition = jsonencode({
      for statement in jsondecode(aws_s3_bucket_policy.files[0].policy).Statement :
      statement.Sid => [statement.Effect, statement.Principal, statement.Condition]
      }) == jsonencode({
      TlsOnly = ["Deny", "*", { Bool = { "aws:SecureTransport" = "false" } }]
      OnlyTheServiceGetsAtFiles = ["Deny", "*", { ArnNotEquals = { "aws:PrincipalArn" = [
        "arn:aws:iam::123456789012:role/shop/dev/shop-dev-task", "arn:aws:iam::123456789012:role/shop/dev/shop-dev-files-scan",
      ] } }]
      OnlyCleanFilesAreRead = ["Deny", "*", {
        ArnNotEquals    = { "aws:PrincipalArn" = "arn:aws:iam::123456789012:role/shop/dev/shop-dev-files-scan" }
        StringNotEquals = { "s3:ExistingObjectTag/GuardDutyMalwareScanStatus" = "NO_THREATS_FOUND" }
      }]
      OnlyTheScanSaysWhatIsClean = ["Deny", "*", {
        ArnNotEquals = { "aws:PrincipalArn" = "arn:aws:iam::123456789012:role/shop/dev/shop-dev-files-scan" }
      }]
    })
    error_message = "over TLS only the service's role gets at files, and only at clean ones: ${aws_s3_bucket_policy.files[0].policy}"
  }
  assert {
    condition = (
      aws_iam_role.task.path == "/shop/dev/" && aws_iam_role.task.name == "shop-dev-task" && aws_iam_role.files_scan[0].name == "shop-dev-files-scan" &&
      { for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement.Sid => flatten([statement.Action]) if contains(["Files", "WhetherAFileIsThere", "EncryptFiles"], statement.Sid) } == {
        Files               = ["s3:GetObject", "s3:PutObject"]
        WhetherAFileIsThere = ["s3:ListBucket"]
        EncryptFiles        = ["kms:Decrypt", "kms:GenerateDataKey"]
      } &&
      alltrue([for policy in concat(values(aws_iam_role_policy.worker), aws_iam_role_policy.migrate, [aws_iam_role_policy.execution]) : !strcontains(policy.policy, "-files-")])
    )
    error_message = "the service's role reads and writes files, and no other task's does"
  }
  assert {
    condition = (
      one(one(aws_guardduty_malware_protection_plan.files[0].protected_resource).s3_bucket).bucket_name == aws_s3_bucket.files[0].id &&
      one(one(aws_guardduty_malware_protection_plan.files[0].actions).tagging).status == "ENABLED" &&
      aws_iam_role.files_scan[0].permissions_boundary == "arn:aws:iam::123456789012:policy/shop/github-actions/shop-dev-boundary" &&
      jsondecode(aws_cloudwatch_event_rule.files_malware[0].event_pattern).detail.s3ObjectDetails.bucketName == ["shop-dev-files-123456789012"] &&
      aws_cloudwatch_event_target.files_malware[0].arn == aws_sns_topic.alarms.arn
    )
    error_message = "each file is scanned, and what is found is told"
  }
  assert {
    condition = (
      { for query in aws_cloudwatch_metric_alarm.file_errors[0].metric_query : query.id => one(query.metric).metric_name if length(query.metric) > 0 } ==
      { asked = "AllRequests", refused = "4xxErrors", failed = "5xxErrors" } && aws_cloudwatch_metric_alarm.file_errors[0].threshold == 25 &&
      alltrue([
        for query in aws_cloudwatch_metric_alarm.file_errors[0].metric_query : one(query.metric).dimensions == tomap({ BucketName = "shop-dev-files-123456789012", FilterId = "EntireBucket" })
        if length(query.metric) > 0
      ])
    )
    error_message = "requests that S3 refuses or fails are counted"
  }
}

run "prod_is_protected" {
  command = plan

  variables {
    environment = "prod"
  }

  assert {
    condition = (
      { for cidr, rule in aws_vpc_security_group_ingress_rule.http : cidr => "${rule.cidr_ipv4}:${rule.from_port}" } == { "203.0.113.0/24" = "203.0.113.0/24:80", "198.51.100.7/32" = "198.51.100.7/32:80" } &&
      { for cidr, rule in aws_vpc_security_group_ingress_rule.https : cidr => "${rule.cidr_ipv4}:${rule.from_port}" } == { "203.0.113.0/24" = "203.0.113.0/24:443", "198.51.100.7/32" = "198.51.100.7/32:443" }
    )
    error_message = "only ingress.cidrs may call"
  }

  assert {
    condition     = aws_lb.service.enable_deletion_protection && !aws_s3_bucket.logs.force_destroy
    error_message = "the load balancer and the logs cannot be deleted in one step"
  }
  assert {
    condition     = length(aws_sns_topic_subscription.incident) == 0 && !output.incident_subscribed
    error_message = "without the parameter there is no subscription yet"
  }
  assert {
    condition     = one(aws_acm_certificate.service).domain_name == "shop.example.com"
    error_message = "prod answers at the domain itself"
  }
  assert {
    condition     = aws_cloudwatch_log_group.service.retention_in_days == 365 && aws_appautoscaling_target.service.min_capacity == 2
    error_message = "prod has its own settings"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.database["database-connections"].threshold == 1335
    error_message = "8 ACU allow 1,669 connections; 80 % of that"
  }
  assert {
    condition = (
      toset([for rule in one(aws_wafv2_web_acl.service).rule : rule.name]) == toset(["AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet", "rate-limit"]) &&
      alltrue([for rule in one(aws_wafv2_web_acl.service).rule : length(one(rule.override_action[*].count)) == 0 if rule.name != "rate-limit"]) &&
      alltrue([for rule in one(aws_wafv2_web_acl.service).rule : length(one(rule.action[*].block)) == 1 if rule.name == "rate-limit"]) &&
      length(aws_wafv2_web_acl_association.service) == 1 && one(aws_wafv2_web_acl_logging_configuration.service).log_destination_configs != null &&
      one(aws_cloudwatch_log_group.firewall).name == "aws-waf-logs-shop-prod"
    )
    error_message = "a web ACL with managed rules and a rate limit, logged, where web_application_firewall is true"
  }
}
