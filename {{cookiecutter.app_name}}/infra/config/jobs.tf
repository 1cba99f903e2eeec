# Scheduled jobs: what each setting may be, when one begins, and what breaks a rule. checks.tf has the rules of all settings.

locals {
  # Objects, or empty where the file has something else: checks.tf says so.
  jobs = try({ for name, job in local.settings.jobs : tostring(name) => job if !can(local.settings.jobs[0]) }, {})

  # Names in the zone database of IANA, as EventBridge Scheduler takes them.
  time_zones = compact(split("\n", file("${path.module}/time-zones.txt")))

  # https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
  cron_numbers = {
    minutes = "[0-5]?[0-9]"
    hours   = "(?:[01]?[0-9]|2[0-3])"
    days    = "(?:0?[1-9]|[12][0-9]|3[01])"
    months  = "(?:0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
    weekday = "(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)"
    years   = "(?:19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})"
  }
  # A field is a list of *, a number or a range, each with an optional step.
  cron_fields = {
    for field, one in local.cron_numbers :
    field => "(?:\\*|${one}(?:-${one})?)(?:/[1-9][0-9]?)?(?:,(?:\\*|${one}(?:-${one})?)(?:/[1-9][0-9]?)?)*"
  }
  # Exactly one of the two kinds of days is ?.
  cron_days = [
    "(?:${local.cron_fields.days}|L) ${local.cron_fields.months} \\?",
    "\\? ${local.cron_fields.months} (?:${local.cron_fields.weekday}|${local.cron_numbers.weekday}L|${local.cron_numbers.weekday}#[1-5])",
  ]
  schedule_pattern = "^(?:cron\\(${local.cron_fields.minutes} ${local.cron_fields.hours} (?:${join("|", local.cron_days)}) ${local.cron_fields.years}\\)|rate\\((?:1 (?:minute|hour|day)|(?:[2-9]|[1-9][0-9]{1,3}) (?:minutes|hours|days))\\))$"

  job_rules = {
    "jobs"           = { type = "block", required = false }
    "jobs.*"         = { type = "block", required = false }
    "jobs.*.command" = { type = "list", required = true }
    "jobs.*.schedule" = {
      type = "text", pattern = local.schedule_pattern, min = 1, max = 256, required = true
      rule = "cron(minutes hours day-of-month month day-of-week year) with a ? for one of the two kinds of days, such as cron(30 3 * * ? *), or rate(5 minutes); what runs once is `make job`"
    }
    "jobs.*.time_zone" = {
      type = "text", pattern = "^(${join("|", [for zone in local.time_zones : replace(zone, "+", "\\+")])})$", min = 1, max = 50, required = false
      rule = "UTC or a name in IANA's zone database, such as Europe/Berlin"
    }
    # Measured from the moment for which a run is scheduled.
    "jobs.*.timeout_minutes" = { type = "integer", min = 1, max = 1440, required = true }
    "jobs.*.cpu"             = { type = "integer", choices = keys(local.fargate_memory), required = false }
    "jobs.*.memory"          = { type = "integer", min = 512, max = 122880, required = false }
    "jobs.*.environments"    = { type = "list", required = false }
    "jobs.*.overlap"         = { type = "boolean", required = false }
  }

  jobs_found = flatten([
    for name, job in local.jobs : concat(
      [{ path = "jobs.${name}", rule = "jobs.*", value = job }],
      [
        for key, value in try({ for key, value in job : key => value if !can(job[0]) }, {}) :
        { path = "jobs.${name}.${key}", rule = "jobs.*.${key}", value = value }
      ],
    )
  ])

  # Defaults filled in, by environment. A value that is missing or wrong has its line in checks.tf.
  job_environments = { for name, job in local.jobs : name => try([for environment in job.environments : tostring(environment)], keys(local.environments)) }
  jobs_in = {
    for environment in keys(local.environments) : environment => {
      for name, job in local.jobs : name => {
        command         = try([for word in job.command : tostring(word)], [])
        schedule        = try(tostring(job.schedule), "")
        time_zone       = try(tostring(job.time_zone), "UTC")
        timeout_minutes = try(tonumber(job.timeout_minutes), 0)
        cpu             = try(job.cpu, local.environments[environment].service.cpu, 0)
        memory          = try(job.memory, local.environments[environment].service.memory, 0)
        overlap         = try(tobool(job.overlap), false)
      } if contains(local.job_environments[name], environment)
    }
  }

  # The six fields of a job's cron, with months as numbers.
  month_names = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
  job_fields = {
    for name, job in local.jobs : name => split(" ", join("", [
      for word in regexall("[A-Z]+|[^A-Z]+", trimsuffix(trimprefix(job.schedule, "cron("), ")")) :
      try(tostring(index(local.month_names, word) + 1), word)
    ])) if startswith(try(tostring(job.schedule), ""), "cron(") && can(regex(local.schedule_pattern, job.schedule))
  }
  # When a cron begins, as [[minutes], [hours], [months], [years]]; empty where a range ends before it begins.
  job_times = {
    for name, fields in local.job_fields : name => [
      for field in [{ at = 0, first = 0, last = 59 }, { at = 1, first = 0, last = 23 }, { at = 3, first = 1, last = 12 }, { at = 5, first = 1970, last = 2199 }] :
      distinct(flatten([
        for part in split(",", fields[field.at]) : try([
          for found in [regex("^(\\*|([0-9]+)(?:-([0-9]+))?)(?:/([0-9]+))?$", part)] : range(
            coalesce(found[1], field.first),
            coalesce(found[2], found[0] == "*" || found[3] != null ? field.last : found[1]) + 1,
            coalesce(found[3], 1),
          ) if tonumber(coalesce(found[2], field.last)) >= tonumber(coalesce(found[1], field.first))
        ], [])
      ]))
    ]
  }
  # The first day of the month that a cron names (1 for * and L), and the last that one of its months has.
  job_days = {
    for name, times in local.job_times : name => {
      first = min([for part in split(",", local.job_fields[name][2]) : try(min(regexall("[0-9]+", split("/", part)[0])...), 1)]...)
      last = max([
        for month in times[2] : month != 2 ? (contains([4, 6, 9, 11], month) ? 30 : 31) :
        anytrue([for year in times[3] : year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)]) ? 29 : 28
      ]...)
    } if length(times[2]) > 0
  }
  job_minutes = {
    for name, times in local.job_times : name => [
      for text in sort(flatten([for hour in times[1] : [for minute in times[0] : format("%04d", hour * 60 + minute)]])) : tonumber(text)
    ]
  }
  # The shortest time in minutes between two runs, as if a cron ran every day. Where the clocks change, what is longer
  # than an hour may be an hour shorter: a moment that the change leaves out has no run.
  job_gaps = merge(
    {
      for name, minutes in local.job_minutes : name => min([
        for gap in [for index, minute in minutes : index + 1 < length(minutes) ? minutes[index + 1] - minute : 1440 + minutes[0] - minute] :
        gap > 60 && try(local.jobs[name].time_zone, "UTC") != "UTC" ? gap - 60 : gap
      ]...) if length(minutes) > 0
    },
    {
      for name, found in { for name, job in local.jobs : name => try(regex("^rate\\(([0-9]+) (minute|hour|day)", regex(local.schedule_pattern, job.schedule)), null) } :
      name => found[0] * { minute = 1, hour = 60, day = 1440 }[found[1]] if found != null
    },
  )

  job_contradictions = concat(
    [
      for name in keys(local.jobs) : "jobs.${name}: 1 to 24 lower-case letters, digits and single hyphens, beginning with a letter"
      if !can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", name)) || length(name) > 24
    ],
    # A role's own policy has at most 10,240 characters, and the scheduler's names each of them.
    length(local.jobs) > 50 ? ["jobs: at most 50"] : [],
    flatten([
      for name, job in local.jobs : [
        for key, rule in local.job_rules : "${replace(key, "*", name)}: missing"
        if rule.required && can(job[0]) == false && can(keys(job)) && !contains(try(keys(job), []), replace(key, "jobs.*.", ""))
      ]
    ]),
    [
      for name, job in local.jobs : "jobs.${name}.command: ${jsonencode(job.command)} — a program and its arguments as texts, such as [python, -m, app.jobs.heartbeat]"
      if can(regex("^\\[", jsonencode(job.command))) && !can(regex("^\\[\"[^\"]", jsonencode(job.command))) ||
      anytrue(try([for word in job.command : !can(regex("^\"", jsonencode(word)))], []))
    ],
    [
      for name, minutes in local.job_minutes : "jobs.${name}.schedule: ${jsonencode(local.jobs[name].schedule)} — a range of minutes or hours ends before it begins"
      if length(minutes) == 0
    ],
    [
      for name, times in local.job_times : "jobs.${name}.schedule: ${jsonencode(local.jobs[name].schedule)} — it never runs: it has no year after 2024"
      if length([for year in times[3] : year if year > 2024]) == 0
    ],
    [
      for name, day in local.job_days : "jobs.${name}.schedule: ${jsonencode(local.jobs[name].schedule)} — it never runs: none of its months has a day ${day.first}"
      if day.first > day.last
    ],
    [
      for name, gap in local.job_gaps : "jobs.${name}.timeout_minutes: ${local.jobs[name].timeout_minutes} is longer than the ${gap} minutes that may be between two runs, so one would begin before the other is over: shorten it, or say overlap: true"
      if try(local.jobs[name].timeout_minutes > gap && !try(tobool(local.jobs[name].overlap), false), false)
    ],
    flatten([
      for name, job in local.jobs : [
        for environment in try([for one in job.environments : one if can(job.environments[0])], []) :
        "jobs.${name}.environments: ${jsonencode(environment)} is no environment: ${join(", ", keys(local.environments))}"
        if !try(contains(keys(local.environments), environment), false)
      ]
    ]),
    flatten([
      for environment, jobs in local.jobs_in : [
        for name, job in jobs : "jobs.${name}.memory: in ${environment} Fargate has no ${job.memory} MiB with cpu ${job.cpu}: ${join(" to ", slice(local.fargate_memory[job.cpu], 0, 2))} in steps of ${local.fargate_memory[job.cpu][2]}"
        if(can(local.jobs[name].cpu) || can(local.jobs[name].memory)) && (
          try(!contains(range(local.fargate_memory[job.cpu][0], local.fargate_memory[job.cpu][1] + 1, local.fargate_memory[job.cpu][2]), job.memory), false) ||
          try(job.cpu == 256 && job.memory == 1536, false)
        )
      ]
    ]),
    local.temporary && can(regex("^job(-.*)?$", var.workspace)) ? [
      "workspace ${var.workspace}: what begins with job- is a scheduled job of ${local.base}"
    ] : [],
  )
}
