# GitHub's jobs get short-lived credentials by OIDC; there are no stored keys. Each role trusts exact subjects:
#   plan    pull requests, and the main branch (nightly drift)
#   build   the main branch
#   apply   one role for each environment: jobs of that GitHub environment, on the main branch
#   preview GitHub's environment of that name, from any branch: builds and applies pull requests' own services beside dev
# They have a path of their own in IAM, so that no environment's names begin like theirs.

locals {
  oidc_host  = "token.actions.githubusercontent.com"
  oidc_arn   = "${local.arn.iam}:oidc-provider/${local.oidc_host}"
  audience   = "sts.${module.config.dns_suffix}"
  subject    = local.project.github_oidc_subject_prefix
  boundaries = "${local.arn.iam}:policy${trimsuffix(local.names.github_path, "/")}"

  main_subjects = ["${local.subject}:ref:refs/heads/main"]

  # A job of a GitHub environment has no branch in its subject, so the branch is a condition of its own. Previews come
  # from any branch.
  trust = merge(
    { (local.names.plan_role) = [{ subjects = concat(["${local.subject}:pull_request"], local.main_subjects), ref = null }] },
    local.has_images ? { (local.names.build_role) = [{ subjects = local.main_subjects, ref = null }] } : {},
    { for key in local.previews_push : local.names.preview_role => [{ subjects = ["${local.subject}:environment:${key}"], ref = null }] },
    {
      for key, owner in local.owners :
      owner.role => [{ subjects = ["${local.subject}:environment:${key}"], ref = owner.temporary == null ? "refs/heads/main" : null }]
    },
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
  for_each = toset(local.environment_names)

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
  path                 = local.names.github_path
  description          = "GitHub jobs that plan and look for drift: only reads"
  assume_role_policy   = local.trust_policies[local.names.plan_role]
  max_session_duration = 3600

  depends_on = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role" "build" {
  count = local.has_images ? 1 : 0

  name                 = local.names.build_role
  path                 = local.names.github_path
  description          = "GitHub jobs that push images of ${local.app}"
  assume_role_policy   = local.trust_policies[local.names.build_role]
  max_session_duration = 3600

  depends_on = [aws_iam_openid_connect_provider.github]
}

# Where dev lives in another account, its previews push here and are applied there: a role in each, of one name.
resource "aws_iam_role" "push_previews" {
  count = length(local.previews_push) > length(local.previews) ? 1 : 0

  name                 = local.names.preview_role
  path                 = local.names.github_path
  description          = "GitHub jobs that push images of previews"
  assume_role_policy   = local.trust_policies[local.names.preview_role]
  max_session_duration = 7200 # as the other's of this name

  depends_on = [aws_iam_openid_connect_provider.github]
}

# Of each environment, and of previews.
resource "aws_iam_role" "apply" {
  for_each = local.owners

  name                 = each.value.role
  path                 = local.names.github_path
  description          = "GitHub jobs that change ${each.key}"
  assume_role_policy   = local.trust_policies[each.value.role]
  max_session_duration = 7200 # as long as the longest of their jobs

  depends_on = [aws_iam_openid_connect_provider.github]
}
