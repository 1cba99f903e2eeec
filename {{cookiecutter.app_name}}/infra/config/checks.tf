# Everything in project.yaml that breaks a rule, as lines for a person. outputs.tf stops on them.

locals {
  # Each setting as { path, rule, value }: `path` as the reader sees it, `rule` with a * for names.
  found = concat(
    [
      for key, value in try({ for key, value in local.settings : key => value }, {}) : { path = key, rule = key, value = value }
      if key != "environments"
    ],
    local.jobs_found,
    [
      for key, value in try({ for key, value in local.settings.files : key => value if !can(local.settings.files[0]) }, {}) :
      { path = "files.${key}", rule = "files.${key}", value = value }
    ],
    [
      for key, value in try({ for key, value in local.settings.service : key => value if !can(local.settings.service[0]) }, {}) :
      { path = "service.${key}", rule = "service.${key}", value = value }
    ],
    [
      for variable in local.variables :
      { path = "${variable.place}.${variable.name}", rule = "${variable.rule}.*", value = variable.value }
    ],
    flatten([
      for name, worker in local.workers : concat(
        [{ path = "workers.${name}", rule = "workers.*", value = worker }],
        [
          for key, value in try({ for key, value in worker : key => value if !can(worker[0]) }, {}) :
          { path = "workers.${name}.${key}", rule = "workers.*.${key}", value = value }
        ],
      )
    ]),
    flatten([
      for name, environment in local.environments : [
        for section, settings in try({ for key, value in environment : key => value if !can(environment[0]) }, {}) : concat(
          [{ path = "environments.${name}.${section}", rule = "environments.*.${section}", value = settings }],
          [
            for key, value in try({ for key, value in settings : key => value if !can(settings[0]) }, {}) :
            { path = "environments.${name}.${section}.${key}", rule = "environments.*.${section}.${key}", value = value }
            if contains(keys(local.rules), "environments.*.${section}")
          ],
        )
      ]
    ]),
    [
      for key, value in try({ for key, value in local.settings.alarms : key => value if !can(local.settings.alarms[0]) }, {}) :
      { path = "alarms.${key}", rule = "alarms.${key}", value = value }
    ],
    [
      for key, value in try({ for key, value in local.settings.database_roles : key => value if !can(local.settings.database_roles[0]) }, {}) :
      { path = "database_roles.${key}", rule = "database_roles.${key}", value = value }
      if key != "roles"
    ],
    flatten([
      for name, role in local.roles : [
        for key, value in try({ for key, value in role : key => value }, {}) :
        { path = "database_roles.roles.${name}.${key}", rule = "database_roles.roles.*.${key}", value = value }
      ]
    ]),
  )
  paths = [for setting in local.found : setting.path]

  # Each variable of the service as { place, rule, name, value }.
  variables = flatten([
    for place in concat(
      [{ path = "service.variables", rule = "service.variables", block = try(local.settings.service.variables, null) }],
      [
        for name, environment in local.environments :
        { path = "environments.${name}.service.variables", rule = "environments.*.service.variables", block = try(environment.service.variables, null) }
      ],
      ) : [
      for name, value in try({ for name, value in place.block : name => value if !can(place.block[0]) }, {}) :
      { place = place.path, rule = place.rule, name = name, value = value }
    ]
  ])

  # What is a list in files, and so can be looked into.
  file_lists = { for key in ["content_types", "cors_origins"] : key => try([for value in local.files[key] : value if can(local.files[key][0])], []) }

  # The same of lists of names under database_roles.
  role_lists = { for key in ["schemas", "extensions", "retired"] : key => try([for name in local.settings.database_roles[key] : name if can(local.settings.database_roles[key][0])], []) }

  # Names of the service's secrets.
  secrets = try([for name in local.settings.service.secrets : name if can(local.settings.service.secrets[0])], [])

  # Each address that may call the service as { environment, value }.
  cidrs = flatten([
    for name, environment in local.environments : [
      for value in try([for value in environment.ingress.cidrs : value if can(environment.ingress.cidrs[0])], []) : { environment = name, value = value }
    ]
  ])

  # The type is read from the JSON form, because Terraform's conversions take "5" for 5.
  json_patterns = {
    text    = "^\""
    boolean = "^(true|false)$"
    integer = "^-?[0-9]+$"
    number  = "^-?[0-9]+(\\.[0-9]+)?$"
    list    = "^\\["
    block   = "^\\{"
  }

  unknown = [
    for setting in local.found : "${setting.path}: unknown key. Known keys beside it: ${join(", ", [
      for rule in keys(local.rules) : basename(replace(rule, ".", "/"))
      if dirname(replace(rule, ".", "/")) == dirname(replace(setting.rule, ".", "/"))
    ])}"
    if !contains(keys(local.rules), setting.rule)
  ]
  wrong_type = [
    for setting in local.found : "${setting.path}: ${jsonencode(setting.value)} is not ${local.type_names[local.rules[setting.rule].type]}"
    if contains(keys(local.rules), setting.rule) && !can(regex(local.json_patterns[try(local.rules[setting.rule].type, "text")], jsonencode(setting.value)))
  ]
  type_names = {
    text    = "text (put it in quotes)"
    boolean = "true or false"
    integer = "a whole number (without quotes)"
    number  = "a number (without quotes)"
    list    = "a list such as [a, b]"
    block   = "a block such as { NAME: 'value' }"
  }
  well_typed = [
    for setting in local.found : merge(setting, { is = local.rules[setting.rule] })
    if contains(keys(local.rules), setting.rule) && can(regex(local.json_patterns[try(local.rules[setting.rule].type, "text")], jsonencode(setting.value)))
  ]
  wrong_value = concat(
    [
      for setting in local.well_typed : "${setting.path}: ${jsonencode(setting.value)} is not one of ${join(", ", setting.is.choices)}"
      if can(setting.is.choices) && !contains(try(setting.is.choices, []), try(tostring(setting.value), ""))
    ],
    [
      for setting in local.well_typed : "${setting.path}: ${setting.value} is not between ${setting.is.min} and ${setting.is.max}"
      if can(setting.is.min) && contains(["integer", "number"], setting.is.type) && !try(setting.value >= setting.is.min && setting.value <= setting.is.max, false)
    ],
    [
      for setting in local.well_typed : "${setting.path}: ${jsonencode(setting.value)} — ${try(setting.is.rule, "${setting.is.min} to ${setting.is.max} characters")}"
      if can(setting.is.pattern) && !try(can(regex(setting.is.pattern, setting.value)) && length(setting.value) >= setting.is.min && length(setting.value) <= setting.is.max, false)
    ],
  )
  missing = concat(
    [
      for key, rule in local.rules : "${key}: missing"
      if rule.required && !strcontains(key, "*") && !contains(local.paths, key)
    ],
    flatten([
      for name in keys(local.environments) : [
        for key, rule in local.rules : "${replace(key, "*", name)}: missing"
        if rule.required && startswith(key, "environments.*") && !contains(local.paths, replace(key, "*", name))
      ]
    ]),
    [
      for name in keys(local.roles) : "database_roles.roles.${name}.profile: missing"
      if !contains(local.paths, "database_roles.roles.${name}.profile")
    ],
    [
      for name in keys(local.workers) : "workers.${name}.command: missing"
      if !contains(local.paths, "workers.${name}.command")
    ],
    length(local.environments) == 0 ? ["environments: at least one is needed, as a block with its name"] : [],
    local.database && length(local.roles) == 0 ? ["database_roles.roles: needed, as blocks with their names"] : [],
  )

  text = "${replace(file(local.file), "\r\n", "\n")}\n"

  # YAML lets the last of two equal keys win in silence. A key is found with the lines below it, without their
  # indentation, where it has no value on its own line; so the same pattern finds the keys in these.
  key_pattern = "(?m)^[\"']?([A-Za-z0-9_.-]+)[\"']? *:(?:[ \\t]+[^#\\s]|[ \\t]*(?:#[^\n]*)?\n((?:(?: [^\n]*|#[^\n]*)?\n)*))"
  blocks_1    = [{ path = "", keys = regexall(local.key_pattern, local.text) }]
  blocks_2    = flatten([for block in local.blocks_1 : [for key in block.keys : { path = "${block.path}${key[0]}.", keys = regexall(local.key_pattern, replace(key[1], "/(?m)^${try(regex("(?m)^ +", key[1]), " ")}/", "")) } if key[1] != null]])
  blocks_3    = flatten([for block in local.blocks_2 : [for key in block.keys : { path = "${block.path}${key[0]}.", keys = regexall(local.key_pattern, replace(key[1], "/(?m)^${try(regex("(?m)^ +", key[1]), " ")}/", "")) } if key[1] != null]])
  blocks_4    = flatten([for block in local.blocks_3 : [for key in block.keys : { path = "${block.path}${key[0]}.", keys = regexall(local.key_pattern, replace(key[1], "/(?m)^${try(regex("(?m)^ +", key[1]), " ")}/", "")) } if key[1] != null]])
  blocks_5    = flatten([for block in local.blocks_4 : [for key in block.keys : { path = "${block.path}${key[0]}.", keys = regexall(local.key_pattern, replace(key[1], "/(?m)^${try(regex("(?m)^ +", key[1]), " ")}/", "")) } if key[1] != null]])
  # Keys in { … }, from the innermost outwards: quoted values and comments are gone, and what was looked through is "…".
  flow_pattern = "/\\[[^\\[\\]{}]*\\]|\\{[^\\[\\]{}]*\\}/"
  flow_values  = replace(local.text, "/([\\s\\[{,:])(?:'(?:[^'\n]|'')*'|\"(?:[^\"\\\\\n]|\\\\.)*\")(\\s*[\n,}\\]#])/", "$${1}…$${2}")
  flows_1      = replace(local.flow_values, "/(?m)(?:^|[ \t])#[^\n]*/", "")
  flows_2      = replace(local.flows_1, local.flow_pattern, "…")
  flows_3      = replace(local.flows_2, local.flow_pattern, "…")
  flows_4      = replace(local.flows_3, local.flow_pattern, "…")
  flows_5      = replace(local.flows_4, local.flow_pattern, "…")
  flows        = flatten([for text in [local.flows_1, local.flows_2, local.flows_3, local.flows_4, local.flows_5] : [for found in regexall("((?:[\\w.-]+[\"']?\\s*:\\s+)?\\{([^\\[\\]{}]*)\\})", text) : { text = found[0], keys = flatten(regexall("(?:^|,)\\s*[\"']?([\\w.-]+)(?:[\"']\\s*:|\\s*:(?:\\s|$))", found[1])) }]])
  repeated = concat(
    flatten([
      for block in concat(local.blocks_1, local.blocks_2, local.blocks_3, local.blocks_4, local.blocks_5) : [
        for name, found in { for key in block.keys : key[0] => true... } : "${block.path}${name}: is there more than once"
        if length(found) > 1
      ]
    ]),
    flatten([
      for flow in local.flows : [
        for name, found in { for key in flow.keys : key => true... } : "${name}: is there more than once in ${replace(flow.text, "/\\s+/", " ")}"
        if length(found) > 1
      ]
    ]),
  )

  # Rules between settings. A value that is missing or wrong by itself has its line above: try() passes over it.
  contradictions = concat(
    startswith(lower(try(tostring(coalesce(local.settings.owner)), "")), "aws:") ? ["owner: AWS keeps values of tags that begin with aws: for itself"] : [],
    [
      for name in keys(local.environments) : "environments.${name}: 2 to 10 lower-case letters and digits, beginning with a letter"
      if !can(regex("^[a-z][a-z0-9]{1,9}$", name))
    ],
    [
      for name in keys(local.environments) : "environments.${name}: what the project itself calls so would belong to it: none of ${join(", ", local.reserved_environments)}"
      if contains(local.reserved_environments, name)
    ],
    [
      for part in distinct(concat(["dev", "staging", "prod"], keys(local.environments))) :
      "app_name: ${local.app}: an application ${split("-${part}", local.app)[0]} with an environment ${part} would own what begins so: leave ${part} away"
      if contains(slice(concat(split("-", local.app), [""]), 1, length(split("-", local.app))), part)
    ],
    [
      for beginning, why in local.reserved_beginnings : "app_name: ${local.app}: ${why}"
      if startswith("${local.app}-", beginning)
    ],
    contains(local.reserved_databases, local.names.database_name) ? [
      "app_name: ${local.app}: ${local.names.database_name} is a reserved name in PostgreSQL, and the database is called so"
    ] : [],
    [
      for name, environment in local.environments : "environments.${name}.network.cidr: ${environment.network.cidr} — not a private IPv4 range that begins at its first address"
      if can(regex(local.rules["environments.*.network.cidr"].pattern, environment.network.cidr)) && !try(
        cidrhost(environment.network.cidr, 0) == split("/", environment.network.cidr)[0] &&
        can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", environment.network.cidr)), false
      )
    ],
    [
      for name, environment in local.environments : "environments.${name}.network.nat_gateways: ${environment.network.nat_gateways} is more than the ${environment.network.zones} zones"
      if try(environment.network.nat_gateways > environment.network.zones, false)
    ],
    [
      for name, environment in local.environments : "environments.${name}.network.endpoint_zones: ${environment.network.endpoint_zones} is more than the ${environment.network.zones} zones"
      if try(environment.network.endpoint_zones > environment.network.zones, false)
    ],
    [
      for cidr in local.cidrs : "environments.${cidr.environment}.ingress.cidrs: ${jsonencode(cidr.value)} — a public IPv4 range that begins at its first address, such as 203.0.113.0/24 or 203.0.113.7/32"
      if !try(
        can(regex("^[0-9.]+/([1-9]|[12][0-9]|3[0-2])$", cidr.value)) && cidrhost(cidr.value, 0) == split("/", cidr.value)[0] &&
        !can(regex("^(0|10|127|169\\.254|172\\.(1[6-9]|2[0-9]|3[01])|192\\.168|22[4-9]|2[3-5][0-9])\\.", cidr.value)), false
      )
    ],
    [
      # Two rules for each, and a security group has 60 unless AWS is asked for more.
      for name in keys(local.environments) : "environments.${name}.ingress.cidrs: at most 25, and none twice"
      if length([for cidr in local.cidrs : cidr if cidr.environment == name]) > 25 ||
      length(distinct([for cidr in local.cidrs : jsonencode(cidr.value) if cidr.environment == name])) < length([for cidr in local.cidrs : cidr if cidr.environment == name])
    ],
    [
      for name, environment in local.environments : "environments.${name}.database: min_capacity ${environment.database.min_capacity} is more than max_capacity ${environment.database.max_capacity}"
      if try(environment.database.min_capacity > environment.database.max_capacity, false)
    ],
    [
      for name, environment in local.environments : "environments.${name}.database: capacity goes in steps of 0.5"
      if try(floor(environment.database.min_capacity * 2) != environment.database.min_capacity * 2 || floor(environment.database.max_capacity * 2) != environment.database.max_capacity * 2, false)
    ],
    [
      for name, environment in local.environments : "environments.${name}.service: min_tasks ${environment.service.min_tasks} is more than max_tasks ${environment.service.max_tasks}"
      if try(environment.service.min_tasks > environment.service.max_tasks, false)
    ],
    [
      for name, environment in local.environments : "environments.${name}.service.memory: Fargate has no ${environment.service.memory} MiB with cpu ${environment.service.cpu}: ${join(" to ", slice(local.fargate_memory[environment.service.cpu], 0, 2))} in steps of ${local.fargate_memory[environment.service.cpu][2]}"
      if try(!contains(range(local.fargate_memory[environment.service.cpu][0], local.fargate_memory[environment.service.cpu][1] + 1, local.fargate_memory[environment.service.cpu][2]), environment.service.memory), false) || try(environment.service.cpu == 256 && environment.service.memory == 1536, false)
    ],
    local.database ? [
      for profile in ["owner", "read-write"] : "database_roles.roles: exactly one role has the profile owner, and at least one read-write; ${profile} is not so"
      if !try(profile == "owner" ? length([for role in local.roles : role if role.profile == profile]) == 1 : length([for role in local.roles : role if role.profile == profile]) >= 1, true)
    ] : [],
    try(length(local.settings.database_roles.schemas) == 0, false) ? ["database_roles.schemas: at least one is needed"] : [],
    [
      for name in local.role_lists.retired : "database_roles.retired: ${name} is also under roles"
      if try(contains(keys(local.roles), name), false)
    ],
    flatten([
      for key, names in merge(local.role_lists, { roles = keys(local.roles) }) : [
        for name in names : "database_roles.${key}: ${jsonencode(name)} — a name is text of 1 to 63 bytes, and none that PostgreSQL or RDS has reserved"
        if !can(regex("^\"[^\"]", jsonencode(name))) || try(length(base64encode(name)) > 84, false) ||
        can(regex(key == "schemas" ? local.reserved_schemas : key == "extensions" ? "^$" : local.reserved_roles, name))
      ] if local.database
    ]),
    [
      for key, names in local.role_lists : "database_roles.${key}: none twice"
      if local.database && length(distinct([for name in names : jsonencode(name)])) < length(names)
    ],
    [
      for name in try([for name in local.settings.github_unprotected_environments : name if can(local.settings.github_unprotected_environments[0])], []) :
      "github_unprotected_environments: ${try(tostring(coalesce(name)), jsonencode(name))} is no environment"
      if !try(contains(keys(local.environments), name), false)
    ],
    [
      for variable in local.variables : "${variable.place}.${variable.name}: a variable's name is letters, digits and _, does not begin with a digit, and has at most 128 characters"
      if !can(regex("^[A-Za-z_][A-Za-z0-9_]{0,127}$", variable.name))
    ],
    [
      for variable in local.variables : "${variable.place}.${variable.name}: the platform sets it itself, as ${join(", ", local.platform_variables)} and what begins with ${join(" or ", local.platform_prefixes)}"
      if contains(local.platform_variables, variable.name) || anytrue([for prefix in local.platform_prefixes : startswith(variable.name, prefix)])
    ],
    [
      for name in local.secrets : "service.secrets: ${jsonencode(name)} — a secret's name is letters, digits and _, does not begin with a digit, and has at most 128 characters"
      if !can(regex("^\"[A-Za-z_][A-Za-z0-9_]{0,127}\"$", jsonencode(name)))
    ],
    [
      for name in local.secrets : "service.secrets: ${name}: the platform sets it itself, as ${join(", ", local.platform_variables)} and what begins with ${join(" or ", local.platform_prefixes)}"
      if try(contains(local.platform_variables, name) || anytrue([for prefix in local.platform_prefixes : startswith(name, prefix)]), false)
    ],
    [
      for variable in local.variables : "service.secrets: ${variable.name}: is also ${variable.place}.${variable.name}; one of them has to go"
      if contains(local.secrets, variable.name)
    ],
    length(local.secrets) > 50 || length(distinct([for name in local.secrets : jsonencode(name)])) < length(local.secrets) ? [
      "service.secrets: at most 50, and none twice"
    ] : [],
    # A role's own policies have at most 10,240 characters, and the tasks' names each of them.
    length(join("", [for name in local.secrets : try(tostring(coalesce(name)), "")])) > 3500 ? [
      "service.secrets: at most 3,500 characters in all names together"
    ] : [],
    [
      for place in distinct([for variable in local.variables : variable.place]) : "${place}: more than 16,384 bytes together; a task definition has 65,536 for everything"
      if length(base64encode(jsonencode([for variable in local.variables : [variable.name, variable.value] if variable.place == place]))) > 16384 * 4 / 3
    ],
    [
      for name in keys(local.workers) : "workers.${name}: 2 to 20 lower-case letters, digits and single hyphens, beginning with a letter"
      if !can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", name)) || length(name) < 2 || length(name) > 20
    ],
    [
      for name in keys(local.workers) : "workers.${name}: does not end in -dead-letters, as the queues of dead letters do"
      if endswith(name, "-dead-letters")
    ],
    [
      for name, worker in local.workers : "workers.${name}.command: ${jsonencode(worker.command)} — the words of a command, such as [python, -m, app.worker, ${name}]"
      if try(can(worker.command[0]) || length(worker.command) == 0, false) && !try(alltrue([for word in worker.command : can(regex("^\".+\"$", jsonencode(word)))]) && length(worker.command) > 0, false)
    ],
    [
      for name, worker in local.workers : "workers.${name}: min_tasks ${try(worker.min_tasks, local.worker_rules.min_tasks.default)} is more than max_tasks ${try(worker.max_tasks, local.worker_rules.max_tasks.default)}"
      if try(try(worker.min_tasks, local.worker_rules.min_tasks.default) > try(worker.max_tasks, local.worker_rules.max_tasks.default), false)
    ],
    length(local.workers) > 20 ? ["workers: at most 20"] : [],
    [
      for type in local.file_lists.content_types : "files.content_types: ${jsonencode(type)} — a media type such as image/png, without parameters"
      if !can(regex("^\"[a-z0-9][a-z0-9!#$^_.+-]*/[a-z0-9][a-z0-9!#$^_.+-]*\"$", jsonencode(type)))
    ],
    try(length(local.settings.files.content_types) == 0, false) ? ["files.content_types: at least one is needed"] : [],
    [
      for origin in local.file_lists.cors_origins : "files.cors_origins: ${jsonencode(origin)} — an origin as browsers name it, such as https://shop.example.com or http://localhost:3000"
      if !can(regex("^\"(https://[a-z0-9.-]+|http://localhost)(:[0-9]{1,5})?\"$", jsonencode(origin)))
    ],
    [
      for key, list in local.file_lists : "files.${key}: at most 100, and none twice"
      if length(list) > 100 || length(distinct([for value in list : jsonencode(value)])) < length(list)
    ],
    # https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_regions.html
    try(tobool(local.settings.files.malware_scan), false) && local.partition == "aws-cn" ? [
      "files.malware_scan: GuardDuty scans no buckets in ${local.aws_region}"
    ] : [],
    local.temporary && startswith(var.workspace, "worker-") ? [
      "workspace ${var.workspace}: ${local.service} is the name of a worker of ${local.base}"
    ] : [],
    [
      for item in try([for item in local.settings.database_roles.adopt : item], []) : "database_roles.adopt: ${jsonencode(item)} is not a kind and a name, such as table app.orders. Kinds are ${join(", ", local.adoptable)}"
      if !can(regex("^(${join("|", local.adoptable)}) +[^ ]", item))
    ],
    local.temporary && !can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", var.workspace)) ? [
      "workspace ${var.workspace}: lower-case letters, digits and single hyphens"
    ] : [],
    local.temporary && length(local.names.service) > 32 ? [
      "workspace ${var.workspace}: ${local.names.service} has ${length(local.names.service)} characters; a load balancer's name has at most 32"
    ] : [],
    local.temporary && contains(local.reserved_workspaces, var.workspace) ? [
      "workspace ${var.workspace}: ${local.service} is the name of something of ${local.base}"
    ] : [],
    local.temporary && contains(keys(local.environments), var.workspace) ? [
      "workspace ${var.workspace}: is an environment of project.yaml"
    ] : [],
    local.job_contradictions,
    local.account_contradictions,
  )

  problems = sort(distinct(concat(local.repeated, local.unknown, local.wrong_type, local.wrong_value, local.missing, local.contradictions)))
}
