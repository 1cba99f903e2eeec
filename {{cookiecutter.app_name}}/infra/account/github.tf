# GitHub's jobs get short-lived credentials by OIDC; there are no stored keys. Each role trusts exact subjects:
#   plan    pull requests, and the main branch (nightly drift)
#   build   the main branch, and previews
#   apply   one role for each environment: jobs of that GitHub environment, on the main branch
# A preview (a pull request's own service beside dev) is applied by dev's role.

locals {
  oidc_host    = "token.actions.githubusercontent.com"
  oidc_arn     = "${local.arn.iam}:oidc-provider/${local.oidc_host}"
  audience     = "sts.${module.config.dns_suffix}"
  subject      = local.project.github_oidc_subject_prefix
  boundary_arn = "${local.arn.iam}:policy/${local.names.permissions_boundary}"

  preview_subjects = contains(local.project.environment_names, "dev") ? ["${local.subject}:environment:preview"] : []
  main_subjects    = ["${local.subject}:ref:refs/heads/main"]
  plan_subjects    = concat(["${local.subject}:pull_request"], local.main_subjects)

  # A job of a GitHub environment has no branch in its subject, so the branch is a condition of its own.
  apply_trust = {
    for name in local.project.environment_names : name => concat(
      [{ subjects = ["${local.subject}:environment:${name}"], ref = "refs/heads/main" }],
      name == "dev" ? [{ subjects = local.preview_subjects, ref = null }] : [],
    )
  }
  trust = merge(
    {
      (local.names.plan_role)  = [{ subjects = local.plan_subjects, ref = null }]
      (local.names.build_role) = [{ subjects = concat(local.main_subjects, local.preview_subjects), ref = null }]
    },
    { for name, trusted in local.apply_trust : module.environment[name].names.apply_role => trusted },
  )
  trust_policies = {
    for role, trusted in local.trust : role => jsonencode({
      Version = "2012-10-17"
      Statement = [
        for statement in trusted : {
          Effect    = "Allow"
          Principal = { Federated = local.oidc_arn }
          Action    = "sts:AssumeRoleWithWebIdentity"
          Condition = {
            StringEquals = merge(
              {
                "${local.oidc_host}:aud" = local.audience
                "${local.oidc_host}:sub" = statement.subjects
              },
              statement.ref == null ? {} : { "${local.oidc_host}:ref" = statement.ref },
            )
          }
        }
      ]
    })
  }
}

module "environment" {
  source   = "../config"
  for_each = toset(local.project.environment_names)

  environment  = each.key
  project_file = var.project_file
}

resource "aws_iam_openid_connect_provider" "github" {
  count = local.makes_account_settings ? 1 : 0

  url            = "https://${local.oidc_host}"
  client_id_list = [local.audience]
}

resource "aws_iam_role" "plan" {
  name                 = local.names.plan_role
  description          = "GitHub jobs that plan and look for drift: reads, and takes state locks"
  assume_role_policy   = local.trust_policies[local.names.plan_role]
  max_session_duration = 3600

  depends_on = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role" "build" {
  name                 = local.names.build_role
  description          = "GitHub jobs that push images of ${local.app}"
  assume_role_policy   = local.trust_policies[local.names.build_role]
  max_session_duration = 3600

  depends_on = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role" "apply" {
  for_each = toset(local.project.environment_names)

  name                 = module.environment[each.key].names.apply_role
  description          = "GitHub jobs that change ${each.key}"
  assume_role_policy   = local.trust_policies[module.environment[each.key].names.apply_role]
  max_session_duration = 7200 # a first apply of a database takes most of an hour

  depends_on = [aws_iam_openid_connect_provider.github]
}
