run "longest_names" {
  command = plan
  variables {
    project_file = "./tests/longest.yaml"
    environment  = "production"
  }

  # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
  assert {
    condition     = length(output.names.service) <= 32
    error_message = "a load balancer's name has at most 32 characters: ${output.names.service}"
  }
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
  assert {
    condition     = alltrue([for key in ["state_bucket", "state_log_bucket", "log_bucket"] : length(output.names[key]) <= 63])
    error_message = "a bucket's name has at most 63 characters"
  }
  # IAM roles and Lambda functions have 64; RDS identifiers and PostgreSQL names 63.
  assert {
    condition     = alltrue([for key in ["plan_role", "build_role", "apply_role", "task_role", "migrate_role", "execution_role", "role_manager"] : length(output.names[key]) <= 64])
    error_message = "an IAM role's or a function's name has at most 64 characters"
  }
  assert {
    condition     = length(output.names.database_cluster) <= 63 && length(output.names.database_name) <= 63
    error_message = "a database name has at most 63 characters"
  }
  assert {
    condition     = output.partition == "aws-cn" && output.dns_suffix == "amazonaws.com.cn"
    error_message = "cn-northwest-1 is in the partition aws-cn"
  }
  assert {
    condition     = output.environment.alarms.cpu_percent == 50 && output.environment.alarms.memory_percent == 70 && output.environment.alarms.error_percent == 5
    error_message = "an environment's threshold wins over the project's, and that over the default"
  }
  assert {
    condition     = output.database_roles.roles.app.login == "iam" && output.database_roles.roles.app.connection_limit == -1
    error_message = "a role's defaults are filled in"
  }
  assert {
    condition     = length(output.database_roles.adopt) == 3 && output.database_roles.adopt[0] == "table app.orders"
    error_message = "what may be adopted reaches the role manager"
  }
  assert {
    condition     = output.host == "production.shop.example.com" && output.environment.protected
    error_message = "an environment answers below the domain"
  }
}

run "prod_answers_at_the_domain" {
  command = plan
  variables {
    project_file = "./tests/longest.yaml"
    environment  = "prod"
  }

  assert {
    condition     = output.host == "shop.example.com"
    error_message = "prod answers at the domain itself"
  }
}

run "temporary_environment_with_too_long_a_name_is_refused" {
  command = plan
  variables {
    project_file = "./tests/longest.yaml"
    environment  = "prod"
    workspace    = "pr-1234"
  }
  expect_failures = [output.project] # 33 characters: one more than a load balancer's name may have
}

run "temporary_environment_has_its_own_names" {
  command = plan
  variables {
    project_file = "./tests/minimal.yaml"
    environment  = "prod"
    workspace    = "pr-1234"
  }

  assert {
    condition     = output.names.service == "tiny-prod-pr-1234" && output.names.network == "tiny-prod" && output.tags.temporary == "pr-1234" && !output.environment.protected
    error_message = "a temporary environment has a service of its own on the environment's network"
  }
}

run "minimal" {
  command = plan
  variables {
    project_file = "./tests/minimal.yaml"
    environment  = "prod"
  }

  assert {
    condition     = output.database_roles == null && output.partition == "aws-us-gov" && output.host == ""
    error_message = "without a database there are no roles"
  }
}

run "broken_settings_are_refused" {
  command = plan
  variables {
    project_file = "./tests/broken.yaml"
    environment  = "prod"
  }
  expect_failures = [output.project]
}

run "what_is_of_another_type_is_named" {
  command = plan
  variables {
    project_file = "./tests/broken-types.yaml"
    environment  = "prod"
  }
  expect_failures = [output.project]

  assert {
    condition = local.problems == sort(concat(
      [for key in ["app_name", "aws_account_id", "aws_region", "account_settings"] : "${key}: null is not text (put it in quotes)"],
      [
        for wrong in ["service: null", "alarms: \"high\"", "environments.prod.network: [\"10.20.0.0/16\"]", "environments.prod.ingress: null", "environments.prod.service: [\"small\"]", "environments.prod.alarms: [\"none\"]"] :
        "${wrong} is not a block such as { NAME: 'value' }"
      ],
      [for key in ["github_unprotected_environments", "database_roles.adopt"] : "${key}: null is not a list such as [a, b]"],
      [for key in ["cidr", "zones"] : "environments.prod.network.${key}: missing"],
      [for key in ["cpu", "memory", "min_tasks", "max_tasks", "log_retention_days", "web_application_firewall"] : "environments.prod.service.${key}: missing"],
      [
        for wrong in ["schemas: \"pg_private\"", "schemas: 5", "schemas: \"\"", "retired: {\"name\":\"older\"}", "roles: \"rds_admin\"", "roles: \"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\""] :
        "database_roles.${wrong} — a name is text of 1 to 63 bytes, and none that PostgreSQL or RDS has reserved"
      ],
      [
        "domain_name: [\"example.com\"] is not text (put it in quotes)",
        "owner: AWS keeps values of tags that begin with aws: for itself",
        "database_roles.retired: none twice",
      ],
    ))
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
}

run "a_key_that_is_there_twice_is_named" {
  command = plan
  variables {
    project_file = "./tests/repeated.yaml"
    environment  = "prod"
  }
  expect_failures = [output.project]

  assert {
    condition = local.problems == sort(concat(
      [
        for key in [
          "terraform_state_locks", "service.variables.NAME", "environments.dev.protected", "environments.dev.service.variables.NAME",
          "environments.prod", "workers.mail",
        ] : "${key}: is there more than once"
      ],
      [
        "D: is there more than once in variables: { A: …, B: …, 'C': …, \"D\": …, \"D\":… }",
        "min_tasks: is there more than once in mail: { command: …, min_tasks: 0, min_tasks: 1 }",
        "schedule: is there more than once in nightly: { schedule: rate(1 day), command: …, schedule: rate(2 days), timeout_minutes: 5 }",
        "weekly: is there more than once in jobs: { nightly: …, weekly: …, weekly: … }",
      ],
    ))
    error_message = "these and no others: ${join("; ", local.problems)}"
  }
}

run "more_endpoint_zones_than_zones_are_refused" {
  command = plan
  variables {
    project_file = "./tests/more-endpoint-zones.yaml"
    environment  = "prod"
  }
  expect_failures = [output.project]
}

run "adoption_without_a_kind_is_refused" {
  command = plan
  variables {
    project_file = "./tests/adoption-without-a-kind.yaml"
    environment  = "prod"
  }
  expect_failures = [output.project]
}

run "unknown_environment_is_refused" {
  command = plan
  variables {
    project_file = "./tests/minimal.yaml"
    environment  = "dev"
  }
  expect_failures = [output.environment]
}

run "project_yaml_of_this_repository" {
  command = plan

  assert {
    condition     = length(output.project.environment_names) > 0
    error_message = "project.yaml has environments"
  }
}

run "names_that_overlap_are_refused" {
  command = plan
  variables {
    project_file = "./tests/overlapping.yaml"
    environment  = "github"
  }
  expect_failures = [output.project]
}

run "each_overlap_is_told" {
  command = plan
  variables {
    project_file = "./tests/overlapping.yaml"
    environment  = "github"
  }
  expect_failures = [output.project]

  assert {
    condition = alltrue([
      for line in ["app_name: shop-dev: ", "environments.github: ", "environments.tfstate: "] :
      anytrue([for problem in local.problems : startswith(problem, line)])
    ])
    error_message = "the application's name and both environments are refused"
  }
}

run "a_temporary_environment_is_not_called_as_something_of_its_environment" {
  command = plan
  variables {
    project_file = "./tests/minimal.yaml"
    environment  = "prod"
    workspace    = "migrate"
  }
  expect_failures = [output.project]
}

run "an_environments_variables_win" {
  command = plan
  variables {
    project_file = "./tests/variables.yaml"
    environment  = "dev"
  }

  assert {
    condition = output.environment.service.variables == {
      DB_HOST = "a database of our own", GREETING = "hello, dev", LOG_LEVEL = "warning"
    }
    error_message = "variables of all environments and this one's, which win: ${jsonencode(output.environment.service.variables)}"
  }
  assert {
    condition     = output.secrets == tolist(["API_KEY", "SESSION_KEY"]) && output.names.secrets_path == "/shop/dev/secrets"
    error_message = "secrets are names"
  }
  assert {
    condition     = output.environment.service.cpu == 256
    error_message = "the other settings of the service stay"
  }
}

run "each_wrong_variable_is_told" {
  command = plan
  variables {
    project_file = "./tests/broken-variables.yaml"
    environment  = "dev"
  }
  expect_failures = [output.project]

  assert {
    condition = length(local.problems) == 14 && alltrue([
      for line in [
        "service.variables.WITH-HYPHEN: a variable's name is ", "service.variables.NUMBER: 1 is not text", "service.variables.NOTHING: null is not text",
        "service.variables.RELEASE: the platform sets it itself, as APP_NAME, ", "service.variables.AWS_PROFILE: the platform sets it itself, ",
        "service.variables.APPCONFIG_PROFILE: the platform sets it itself, ", "service.values: unknown key. Known keys beside it: secrets, variables",
        "service.secrets: at most 50, and none twice", "service.secrets: \"OTHER-HYPHEN\" — a secret's name is ", "service.secrets: 5 — a secret's name is ",
        "service.secrets: ENVIRONMENT: the platform sets it itself, ", "service.secrets: AWS_SECRET: the platform sets it itself, ",
        "service.secrets: NUMBER: is also service.variables.NUMBER",
        "environments.dev.service.variables: [\"GREETING\"] is not a block",
      ] : anytrue([for problem in local.problems : startswith(problem, line)])
    ])
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
}

run "each_wrong_address_is_told" {
  command = plan
  variables {
    project_file = "./tests/broken-addresses.yaml"
    environment  = "nobody"
  }
  expect_failures = [output.project]

  assert {
    condition = local.problems == sort(concat(
      [
        for wrong in ["\"203.0.113.7/24\"", "\"10.0.0.0/8\"", "\"::/0\"", "\"0.0.0.0/0\"", "5", "\"everybody\"", "\"198.51.100.300/32\""] :
        "environments.dev.ingress.cidrs: ${wrong} — a public IPv4 range that begins at its first address, such as 203.0.113.0/24 or 203.0.113.7/32"
      ],
      [
        "environments.twice.ingress.cidrs: at most 25, and none twice",
        "environments.text.ingress.cidrs: \"203.0.113.7/32\" is not a list such as [a, b]",
        "environments.unknown.ingress.cidr: unknown key. Known keys beside it: cidrs",
      ],
    ))
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
  assert {
    condition     = output.environment.ingress.cidrs == ["0.0.0.0/0"]
    error_message = "nobody in the list is everybody"
  }
}

run "jobs" {
  command = plan
  variables {
    project_file = "./tests/jobs.yaml"
    environment  = "dev"
  }

  assert {
    condition     = join(" ", keys(output.jobs)) == "clean-up hourly often second-friday"
    error_message = "dev has the jobs that are for all environments: ${join(" ", keys(output.jobs))}"
  }
  assert {
    condition = jsonencode(output.jobs["clean-up"]) == jsonencode({
      command         = ["python", "-m", "app.jobs.heartbeat"], schedule = "cron(30 3 * * ? *)", time_zone = "Europe/Berlin"
      timeout_minutes = 90, cpu = 256, memory = 512, overlap = false
    })
    error_message = "a job's defaults are filled in: ${jsonencode(output.jobs["clean-up"])}"
  }
  assert {
    condition     = local.job_gaps == { clean-up = 1380, hourly = 20, last-day = 1440, leap-day = 1440, odd-months = 1440, often = 5, report = 30, second-friday = 1440, winter = 1440 }
    error_message = "the shortest time between two runs: ${jsonencode(local.job_gaps)}"
  }
  assert {
    condition     = output.jobs["clean-up"].timeout_minutes == 90 && length(setintersection(output.platform_variables, ["JOB_NAME", "JOB_SCHEDULED_AT", "JOB_TIMEOUT_SECONDS"])) == 3
    error_message = "what a job is given is the platform's"
  }
}

run "jobs_of_one_environment" {
  command = plan
  variables {
    project_file = "./tests/jobs.yaml"
    environment  = "prod"
  }

  assert {
    condition     = output.jobs["report"].cpu == 1024 && output.jobs["report"].memory == 4096 && !contains(keys(output.jobs), "last-day")
    error_message = "a job runs in its environments, with its own size"
  }
}

run "temporary_environments_have_no_jobs" {
  command = plan
  variables {
    project_file = "./tests/jobs.yaml"
    environment  = "prod"
    workspace    = "pr-1"
  }

  assert {
    condition     = length(output.jobs) == 0
    error_message = "nothing is scheduled in a temporary environment"
  }
}

run "a_temporary_environment_is_not_called_as_a_job" {
  command = plan
  variables {
    project_file = "./tests/jobs.yaml"
    environment  = "prod"
    workspace    = "job-clean-up"
  }
  expect_failures = [output.project]
}

run "each_wrong_job_is_told" {
  command = plan
  variables {
    project_file = "./tests/broken-jobs.yaml"
    environment  = "dev"
  }
  expect_failures = [output.project]

  assert {
    condition = local.problems == sort(concat(
      [
        "jobs.no-command.command: missing",
        "jobs.no-list.command: \"python -m app.jobs.heartbeat\" is not a list such as [a, b]",
        "jobs.unknown-key.every: unknown key. Known keys beside it: command, cpu, environments, memory, overlap, schedule, time_zone, timeout_minutes",
        "jobs.backwards.schedule: \"cron(30-10 3 * * ? *)\" — a range of minutes or hours ends before it begins",
        "jobs.february-30.schedule: \"cron(0 0 30 FEB ? *)\" — it never runs: none of its months has a day 30",
        "jobs.day-31.schedule: \"cron(0 0 31 2,APR-JUN/2,9-11/2 ? *)\" — it never runs: none of its months has a day 31",
        "jobs.no-leap-year.schedule: \"cron(0 0 29-31 2 ? 2026-2027,2100)\" — it never runs: none of its months has a day 29",
        "jobs.past.schedule: \"cron(0 0 ? * MON 1999,2020-2024)\" — it never runs: it has no year after 2024",
        "jobs.nowhere.time_zone: \"Europe/Bonn\" — UTC or a name in IANA's zone database, such as Europe/Berlin",
        "jobs.endless.timeout_minutes: 1441 is not between 1 and 1440",
        "jobs.elsewhere.environments: \"staging\" is no environment: dev",
        "jobs.no-pair.memory: in dev Fargate has no 512 MiB with cpu 2048: 4096 to 16384 in steps of 1024",
        "jobs.no-cpu.cpu: 300 is not one of 1024, 16384, 2048, 256, 4096, 512, 8192",
        "jobs.twice: is there more than once",
        "jobs.text: \"python -m app.jobs.heartbeat\" is not a block such as { NAME: 'value' }",
        "service.variables.JOB_NAME: the platform sets it itself, as APP_NAME, AWS_REGION, ENVIRONMENT, PORT, RELEASE, APPCONFIG_APPLICATION, APPCONFIG_ENVIRONMENT, APPCONFIG_PROFILE, JOB_NAME, JOB_SCHEDULED_AT, JOB_TIMEOUT_SECONDS and what begins with AWS_ or ECS_",
      ],
      [
        for name, command in { empty = "[]", numbers = "[\"python\",5]" } :
        "jobs.${name}.command: ${command} — a program and its arguments as texts, such as [python, -m, app.jobs.heartbeat]"
      ],
      [
        for name in ["five-fields", "both-days", "minute-60", "hour-24", "singular", "once"] :
        "jobs.${name}.schedule: ${jsonencode(local.jobs[name].schedule)} — ${local.job_rules["jobs.*.schedule"].rule}"
      ],
      [
        for name, minutes in { overlaps = [6, 5], overlaps-at-night = [1440, 1380], overlaps-at-noon = [61, 60] } :
        "jobs.${name}.timeout_minutes: ${minutes[0]} is longer than the ${minutes[1]} minutes that may be between two runs, so one would begin before the other is over: shorten it, or say overlap: true"
      ],
      [
        for name in ["Capital", "twenty-five-characters-ab"] :
        "jobs.${name}: 1 to 24 lower-case letters, digits and single hyphens, beginning with a letter"
      ],
    ))
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
}

run "workers_have_defaults_and_names" {
  command = plan
  variables {
    project_file = "./tests/workers.yaml"
    environment  = "dev"
  }

  assert {
    condition = output.workers.send-mail == {
      command      = ["python", "-m", "app.worker", "send-mail"], min_tasks = 0, max_tasks = 7, visibility_seconds = 300, max_receives = 3
      name         = "shop-dev-worker-send-mail"
      dead_letters = "shop-dev-worker-send-mail-dead-letters"
      variable     = "QUEUE_URL_SEND_MAIL"
    }
    error_message = "a worker is as project.yaml says: ${jsonencode(output.workers.send-mail)}"
  }
  assert {
    condition = { for key, value in output.workers.twenty-characters-ab : key => value if can(local.worker_rules[key]) } == {
      min_tasks = 1, max_tasks = 2, visibility_seconds = 60, max_receives = 5
    }
    error_message = "a command is enough"
  }
  assert {
    condition     = !contains(keys(output.project), "workers") && contains(output.platform_variables, "QUEUE_URL_SEND_MAIL")
    error_message = "their variables are the platform's"
  }
}

# IAM roles have 64 characters, queues 80: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
run "a_workers_names_fit_in_the_longest_temporary_environment" {
  command = plan
  variables {
    project_file = "./tests/workers.yaml"
    environment  = "dev"
    workspace    = "as-long-as-a-balancers"
  }

  assert {
    condition = (
      length(output.names.service) == 31 && length(output.workers.twenty-characters-ab.name) < 64 &&
      length(output.workers.twenty-characters-ab.dead_letters) < 80
    )
    error_message = "${output.names.service}, ${output.workers.twenty-characters-ab.name}, ${output.workers.twenty-characters-ab.dead_letters}"
  }
}

run "a_temporary_environment_is_not_called_as_a_worker" {
  command = plan
  variables {
    project_file = "./tests/workers.yaml"
    environment  = "dev"
    workspace    = "worker-send-mail"
  }
  expect_failures = [output.project]
}

run "each_wrong_worker_is_told" {
  command = plan
  variables {
    project_file = "./tests/broken-workers.yaml"
    environment  = "dev"
  }
  expect_failures = [output.project]

  assert {
    condition = length(local.problems) == 16 && alltrue([
      for line in [
        "service.variables.QUEUE_URL_NOTHING: the platform sets it itself, as ", "workers.nothing.command: missing",
        "workers.text.command: \"python -m app.worker text\" is not a list such as [a, b]",
        "workers.empty.command: [] — the words of a command, such as [python, -m, app.worker, empty]",
        "workers.numbers.command: [\"python\",5] — the words of a command", "workers.numbers.visibility_seconds: 43201 is not between 2 and 43200",
        "workers.numbers.max_receives: 0 is not between 1 and 1000", "workers.numbers.min_tasks: -1 is not between 0 and 1000",
        "workers.numbers.max_tasks: 0 is not between 1 and 1000",
        "workers.unknown.tasks: unknown key. Known keys beside it: command, max_receives, max_tasks, min_tasks, visibility_seconds",
        "workers.no-block: [\"work\"] is not a block", "workers.no-block.command: missing",
        "workers.more-than-most: min_tasks 3 is more than max_tasks 2", "workers.a-dead-letters: does not end in -dead-letters",
        "workers.Upper: 2 to 20 lower-case letters, digits", "workers.twenty-one-characters: 2 to 20 lower-case letters, digits",
      ] : anytrue([for problem in local.problems : startswith(problem, line)])
    ])
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
}

run "storage_is_none_unless_it_is_said" {
  command = plan
  variables {
    project_file = "./tests/workers.yaml"
    environment  = "dev"
  }

  assert {
    condition     = output.files == null && !contains(output.platform_variables, "FILES_BUCKET")
    error_message = "no bucket, and its variables are free"
  }
}

run "files_are_as_project_yaml_says" {
  command = plan
  variables {
    project_file = "./tests/storage.yaml"
    environment  = "dev"
  }

  assert {
    condition = jsonencode(output.files) == jsonencode({
      content_types    = ["text/csv", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"]
      cors_origins     = ["https://shop.example.com", "http://localhost:3000"]
      expire_days      = 365
      malware_scan     = true
      max_megabytes    = 25
      old_version_days = 90
    })
    error_message = jsonencode(output.files)
  }
  assert {
    condition     = !contains(keys(output.project), "files") && output.project.storage == "s3" && contains(output.platform_variables, "FILES_BUCKET")
    error_message = "its variables are the platform's"
  }
}

# S3 buckets have 63 characters, IAM roles and EventBridge rules 64.
run "files_of_a_temporary_environment_last_a_week_and_their_names_fit" {
  command = plan
  variables {
    project_file = "./tests/storage.yaml"
    environment  = "dev"
    workspace    = "as-long-as-a-balancers"
  }

  assert {
    condition     = output.files.expire_days == 7 && output.files.old_version_days == 1 && !output.files.malware_scan && output.files.max_megabytes == 25
    error_message = jsonencode(output.files)
  }
  assert {
    condition     = length(output.names.service) == 31 && alltrue([for key in ["files_bucket", "files_malware", "files_scan_role"] : length(output.names[key]) < 63])
    error_message = "${output.names.files_bucket}, ${output.names.files_malware}, ${output.names.files_scan_role}"
  }
}

run "a_temporary_environment_is_not_called_as_the_files" {
  command = plan
  variables {
    project_file = "./tests/storage.yaml"
    environment  = "dev"
    workspace    = "files"
  }
  expect_failures = [output.project]
}

run "each_wrong_setting_of_files_is_told" {
  command = plan
  variables {
    project_file = "./tests/broken-files.yaml"
    environment  = "dev"
  }
  expect_failures = [output.project]

  assert {
    condition = length(local.problems) == 15 && alltrue([
      for line in [
        "storage: \"gcs\" is not one of s3, none", "environments.dev.storage: unknown key",
        "files.acl: unknown key. Known keys beside it: content_types, cors_origins, expire_days, malware_scan, max_megabytes, old_version_days",
        "files.max_megabytes: 5001 is not between 1 and 5000", "files.expire_days: -1 is not between 0 and 36500",
        "files.old_version_days: \"30\" is not a whole number (without quotes)", "files.content_types: at most 100, and none twice",
        "files.content_types: \"text/html; charset=utf-8\" — a media type such as image/png", "files.content_types: \"*/*\" — a media type",
        "files.content_types: 5 — a media type", "files.content_types: \"Image/PNG\" — a media type",
        "files.cors_origins: \"*\" — an origin as browsers name it", "files.cors_origins: \"https://shop.example.com/\" — an origin",
        "files.cors_origins: \"http://shop.example.com\" — an origin", "files.malware_scan: GuardDuty scans no buckets in cn-north-1",
      ] : anytrue([for problem in local.problems : startswith(problem, line)])
    ])
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
}


run "an_environment_lives_in_an_account_of_its_own" {
  command = plan
  variables {
    project_file = "./tests/accounts.yaml"
    environment  = "dev"
  }

  assert {
    condition = (
      output.project.aws_account_id == "210987654321" && output.project.aws_region == "eu-central-1" &&
      output.project.account_settings == "existing" && output.names.state_bucket == "shop-tfstate-210987654321-eu-central-1" &&
      output.names.log_bucket == "shop-dev-logs-210987654321"
    )
    error_message = "account, region and the names that have them are dev's"
  }
  assert {
    condition = (
      output.registry.host == "123456789012.dkr.ecr.eu-west-1.amazonaws.com" && output.registry.arn == "arn:aws:ecr:eu-west-1:123456789012:repository"
    )
    error_message = "images are in the project's account, wherever they run"
  }
  assert {
    condition     = output.zone == "dev.shop.example.com" && output.host == "dev.shop.example.com"
    error_message = "an account without prod has a zone for each environment"
  }
  assert {
    condition = jsonencode(output.accounts) == jsonencode({
      "123456789012" = { region = "eu-west-1", profile = "shop-prod", environments = ["prod"] }
      "210987654321" = { region = "eu-central-1", profile = "shop-dev", environments = ["dev", "staging"] }
    })
    error_message = "each account has its region, profile and environments"
  }
}

run "an_environment_that_names_no_account_lives_in_the_projects" {
  command = plan
  variables {
    project_file = "./tests/accounts.yaml"
    environment  = "prod"
  }

  assert {
    condition = (
      output.project.aws_account_id == "123456789012" && output.project.aws_region == "eu-west-1" && output.project.account_settings == "create" &&
      output.zone == "shop.example.com"
    )
    error_message = "prod is in the project's account"
  }
}

run "an_account_has_names_of_its_own" {
  command = plan
  variables {
    project_file = "./tests/accounts.yaml"
    account      = "210987654321"
  }

  assert {
    condition     = output.project.aws_account_id == "210987654321" && output.names.state_bucket == "shop-tfstate-210987654321-eu-central-1"
    error_message = "what an account has once has its names"
  }
}

run "an_unknown_account_is_refused" {
  command = plan
  variables {
    project_file = "./tests/accounts.yaml"
    account      = "000000000000"
  }
  expect_failures = [output.project]
}

run "each_wrong_account_is_told" {
  command = plan
  variables {
    project_file = "./tests/broken-accounts.yaml"
    environment  = "dev"
  }
  expect_failures = [output.project]

  assert {
    condition = length(local.problems) == 9 && alltrue([
      for line in [
        "environments: dev, staging: account 210987654321 has one account_settings, not existing and create",
        "environments: dev, staging: account 210987654321 has one aws_region, not eu-central-1 and us-gov-west-1",
        "environments.dev.aws_region: images are in eu-west-1, and without internet_egress: nat-gateway nothing in eu-central-1 can pull them",
        "environments.staging.aws_region: images are in eu-west-1",
        "environments.staging.aws_region: us-gov-west-1 is in another partition than the project's eu-west-1",
        "environments.staging.aws_key: unknown key. Known keys beside it: account_settings, alarms, aws_account_id, aws_profile, aws_region, database, ingress, network, protected, service",
        "environments.prod.aws_account_id: \"12345\" — 12 digits in quotes, or empty for the project's",
        "environments.prod.aws_region: \"europe\" — a region such as eu-west-1",
        "aws_profile of account 123456789012: this is the name of a key",
      ] : anytrue([for problem in local.problems : startswith(problem, line)])
    ])
    error_message = "each has its line: ${join("; ", local.problems)}"
  }
}
