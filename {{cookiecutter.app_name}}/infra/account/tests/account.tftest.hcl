mock_provider "aws" {
  override_during = plan

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::bucket" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/name" }
  }
}

# Planned, not applied: the state bucket refuses to be destroyed after a test.
variables {
  project_file = "../config/tests/longest.yaml"
}

run "roles_trust_exact_subjects" {
  command = plan

  assert {
    condition     = join(" ", output.trusted_subjects["twenty-characters-ab-github-apply-production"]) == "repo:acme@1234/shop.api@5678:environment:production"
    error_message = "an apply role trusts its own GitHub environment and nothing else"
  }
  assert {
    condition     = alltrue([for subject in flatten(values(output.trusted_subjects)) : !strcontains(subject, "*")])
    error_message = "a trusted subject has no wildcard"
  }
  assert {
    condition = alltrue([
      for role in concat([aws_iam_role.plan, aws_iam_role.build[0]], values(aws_iam_role.apply)) :
      alltrue([
        for statement in jsondecode(role.assume_role_policy).Statement :
        statement.Principal == { Federated = "arn:aws-cn:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" } &&
        keys(statement.Condition) == ["StringEquals"] &&
        statement.Condition.StringEquals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com.cn" &&
        can(statement.Condition.StringEquals["token.actions.githubusercontent.com:sub"])
      ])
    ])
    error_message = "each statement of trust compares audience and subject exactly"
  }
  assert {
    condition = alltrue([
      for role in aws_iam_role.apply :
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:ref"] == "refs/heads/main"
    ])
    error_message = "an apply role is for jobs on the main branch"
  }
}

run "policies_are_narrow" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_policy.apply)[*].policy, values(aws_iam_policy.boundary)[*].policy, [aws_iam_policy.read.policy, aws_iam_role_policy.build[0].policy, aws_iam_role_policy.plan.policy]) : [
        for statement in jsondecode(policy).Statement :
        !contains(flatten([statement.Action]), "*") && alltrue([for action in flatten([statement.Action]) : !endswith(action, ":*")])
        if statement.Effect == "Allow"
      ]
    ]))
    error_message = "no statement has all actions, or all actions of a service"
  }
  assert {
    condition = alltrue(flatten([
      for name, policy in aws_iam_policy.apply : [
        for statement in jsondecode(policy.policy).Statement :
        !contains(flatten([statement.Resource]), "*") || can(statement.Condition)
      ]
    ]))
    error_message = "a change of any resource is limited by tag or region"
  }
  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_policy.apply : [
        for statement in jsondecode(policy.policy).Statement : alltrue([
          for resource in flatten([statement.Resource]) :
          anytrue([for name in ["production", "prod"] : startswith(resource, "arn:aws-cn:iam::123456789012:role/twenty-characters-ab/${name}/")]) || startswith(resource, "arn:aws-cn:iam::123456789012:role/aws-service-role/")
        ])
        if statement.Effect == "Allow" && anytrue([for action in flatten([statement.Action]) : startswith(action, "iam:")])
      ]
    ]))
    error_message = "IAM is written for this project's names only"
  }
  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_policy.apply : [
        for statement in jsondecode(policy.policy).Statement :
        startswith(statement.Condition.StringEquals["iam:PermissionsBoundary"], "arn:aws-cn:iam::123456789012:policy/twenty-characters-ab/github-actions/twenty-characters-ab-pro")
        if anytrue([for action in flatten([statement.Action]) : contains(["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:PutRolePermissionsBoundary"], action)])
      ]
    ]))
    error_message = "a role that an apply role makes carries the boundary"
  }
  assert {
    condition = !anytrue(flatten([
      for policy in concat(values(aws_iam_policy.apply)[*].policy, values(aws_iam_policy.boundary)[*].policy) : [
        for statement in jsondecode(policy).Statement : statement.Effect == "Deny" ? [] : [
          for action in flatten([statement.Action]) :
          contains(["iam:*", "iam:DeleteRolePermissionsBoundary", "iam:CreatePolicyVersion", "iam:CreateUser", "iam:CreateAccessKey", "sts:AssumeRole"], action)
        ]
      ]
    ]))
    error_message = "no way out of the boundary"
  }
  assert {
    condition = alltrue([
      for action in ["ecr:DescribeRepositories", "ecr:DescribeImages"] :
      contains(flatten(jsondecode(aws_iam_role_policy.build[0].policy).Statement[*].Action), action)
    ])
    error_message = "the build role finds the repository and what is in it: ops/images.py"
  }
  assert {
    condition = alltrue([
      for action in flatten([for statement in jsondecode(aws_iam_role_policy.plan.policy).Statement : statement.Action]) :
      can(regex(":(BatchCheck|BatchGet|Get|List|Describe)", action))
    ]) && contains(flatten([for statement in jsondecode(aws_iam_role_policy.plan.policy).Statement : statement.Action]), "ecr:BatchGetImage")
    error_message = "the plan role only reads, and it reads images: ops/github/provenance.py"
  }
  assert {
    condition = alltrue([
      for policy in values(aws_iam_policy.apply) :
      contains(flatten([for statement in jsondecode(policy.policy).Statement : statement.Action]), "ssm:GetParameterHistory")
      if endswith(policy.name, "-roles")
    ])
    error_message = "the record of deployments is the history of a parameter: ops/releases.py"
  }
}

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
run "the_longest_policies_fit" {
  command = plan
  variables {
    project_file = "./tests/everything.yaml"
  }

  assert {
    condition     = alltrue([for policy in concat(values(aws_iam_policy.apply), values(aws_iam_policy.boundary), [aws_iam_policy.read]) : length(policy.policy) <= 6144 && length(policy.name) <= 128])
    error_message = "a policy has at most 6,144 characters, its name 128"
  }
  assert {
    condition = alltrue([
      for key in keys(aws_iam_role.apply) :
      length([for policy in keys(aws_iam_policy.apply) : policy if startswith(policy, "${key}-")]) + 1 <= 10
    ])
    error_message = "a role has at most ten managed policies"
  }
  assert {
    condition     = alltrue([for policies in [[aws_iam_role_policy.plan], aws_iam_role_policy.build, values(aws_iam_role_policy.preview)] : sum([for policy in policies : length(policy.policy)]) <= 10240])
    error_message = "a role's own policies have at most 10,240 characters together"
  }
  assert {
    condition     = alltrue([for role in concat([aws_iam_role.plan, aws_iam_role.build[0]], values(aws_iam_role.apply)) : length(role.assume_role_policy) <= 2048 && length(role.name) <= 64])
    error_message = "a trust policy has at most 2,048 characters, a role's name 64"
  }
  assert {
    condition     = alltrue([for role in concat([aws_iam_role.plan, aws_iam_role.build[0]], values(aws_iam_role.apply)) : role.path == "/twenty-characters-ab/github-actions/"])
    error_message = "GitHub's roles are where no environment's names reach"
  }
  assert {
    condition = (
      join(" ", output.trusted_subjects["twenty-characters-ab-github-preview"]) == "repo:acme@1234/shop.api@5678:environment:preview" &&
      join(" ", output.trusted_subjects["twenty-characters-ab-github-apply-dev"]) == "repo:acme@1234/shop.api@5678:environment:dev" &&
      join(" ", output.trusted_subjects["twenty-characters-ab-github-build"]) == "repo:acme@1234/shop.api@5678:ref:refs/heads/main"
    )
    error_message = "a preview, which comes from any branch, is neither dev nor a release"
  }
}

run "the_longest_policies_fit_where_arns_are_longest" {
  command = plan
  variables {
    project_file = "./tests/longest.yaml"
  }

  assert {
    condition     = alltrue([for policy in concat(values(aws_iam_policy.apply), values(aws_iam_policy.boundary), [aws_iam_policy.read]) : length(policy.policy) <= 6144 && length(policy.name) <= 128])
    error_message = "a policy has at most 6,144 characters, its name 128"
  }
}

run "and_those_of_environments_in_another_account" {
  command = plan
  variables {
    project_file = "./tests/longest.yaml"
    account_id   = "210987654321"
  }

  assert {
    condition     = alltrue([for policy in concat(values(aws_iam_policy.apply), values(aws_iam_policy.boundary), [aws_iam_policy.read]) : length(policy.policy) <= 6144 && length(policy.name) <= 128])
    error_message = "a policy has at most 6,144 characters, its name 128"
  }
}

run "queues_are_each_environments_own" {
  command = plan
  variables {
    project_file = "./tests/everything.yaml"
  }

  assert {
    condition = alltrue(flatten([
      for name in ["dev", "prod"] : [
        for statement in jsondecode(aws_iam_policy.apply["${name}-components"].policy).Statement :
        statement.Resource == ["arn:aws:sqs:ap-southeast-1:123456789012:twenty-characters-ab-${name}-*"] && !contains(statement.Action, "sqs:ReceiveMessage")
        if statement.Sid == "OwnQueues"
      ]
    ]))
    error_message = "an apply role makes its environment's queues, and reads no message"
  }
  assert {
    condition = {
      for name, policy in aws_iam_policy.boundary : name => one([for statement in jsondecode(policy.policy).Statement : statement.Resource if statement.Sid == "Queues"])
      if strcontains(name, "-dev-")
      } == {
      twenty-characters-ab-dev-boundary           = "arn:aws:sqs:ap-southeast-1:123456789012:twenty-characters-ab-dev-worker-*"
      twenty-characters-ab-dev-temporary-boundary = "arn:aws:sqs:ap-southeast-1:123456789012:twenty-characters-ab-dev-*-worker-*"
    }
    error_message = "roles of an environment reach the queues of its workers"
  }
  assert {
    condition     = length(flatten([for policy in aws_iam_policy.apply : [for statement in jsondecode(policy.policy).Statement : statement if statement.Sid == "OwnQueues"]])) == 14
    error_message = "each of seven roles makes its queues, and reads them"
  }
}

run "files_are_each_environments_own" {
  command = plan
  variables {
    project_file = "./tests/everything.yaml"
  }

  assert {
    condition = {
      for name, policy in aws_iam_policy.boundary : name => one([for statement in jsondecode(policy.policy).Statement : statement if statement.Sid == "Files"]).Resource
      if strcontains(name, "-dev-")
      } == {
      twenty-characters-ab-dev-boundary           = [for form in ["", "/*"] : "arn:aws:s3:::twenty-characters-ab-dev-files-123456789012${form}"]
      twenty-characters-ab-dev-temporary-boundary = [for form in ["", "/*"] : "arn:aws:s3:::twenty-characters-ab-dev-*-files-123456789012${form}"]
    }
    error_message = "roles of an environment get at its files, and those of a temporary one at no environment's"
  }
  assert {
    condition = alltrue([
      for name, policy in aws_iam_policy.boundary :
      length([for statement in jsondecode(policy.policy).Statement : statement if statement.Sid == "MalwareScan" || (statement.Sid == "Files" && contains(flatten([statement.Action]), "s3:PutObject*Tagging"))]) == (endswith(name, "-temporary-boundary") ? 0 : 2)
    ])
    error_message = "only an environment's own files are scanned"
  }
  assert {
    condition = {
      for key in ["dev", "preview"] : key => one([for statement in jsondecode(aws_iam_policy.apply["${key}-data"].policy).Statement : statement if statement.Sid == "OwnBuckets"]).Resource
      } == {
      dev     = [for resource in ["dev-logs-123456789012", "dev-logs-123456789012/*", "dev-files-123456789012", "dev-files-123456789012/*"] : "arn:aws:s3:::twenty-characters-ab-${resource}"]
      preview = [for resource in ["logs-123456789012", "logs-123456789012/*", "files-123456789012", "files-123456789012/*"] : "arn:aws:s3:::twenty-characters-ab-dev-pr-*-${resource}"]
    }
    error_message = "each makes its own buckets"
  }
  assert {
    condition = length(flatten([
      for policy in concat(values(aws_iam_policy.apply), [aws_iam_role_policy.plan]) : [
        for statement in jsondecode(policy.policy).Statement : statement
        if statement.Effect == "Allow" && anytrue([for action in flatten([statement.Action]) : startswith(action, "s3:GetObject")]) && strcontains(jsonencode(statement.Resource), "-files-")
      ]
    ])) == 0
    error_message = "no job reads a file"
  }
}

run "state_is_guarded" {
  command = plan

  assert {
    condition     = length(aws_dynamodb_table.locks) == 0
    error_message = "no table where the S3 lock file is the only lock"
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
    error_message = "the state is encrypted with the project's key"
  }
  assert {
    condition     = alltrue([for versioning in aws_s3_bucket_versioning.state : versioning.versioning_configuration[0].status == "Enabled"])
    error_message = "old states can be read again"
  }
  assert {
    condition = alltrue([
      for policy in [aws_s3_bucket_policy.state.policy, aws_s3_bucket_policy.state_logs.policy] :
      anytrue([for statement in jsondecode(policy).Statement : statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"])
    ])
    error_message = "buckets refuse access without TLS"
  }
}

run "settings_of_the_account_that_others_made_are_left_alone" {
  command = plan
  variables {
    project_file = "../config/tests/minimal.yaml"
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.github) + length(aws_s3_account_public_access_block.this) + length(aws_ebs_encryption_by_default.this) == 0
    error_message = "account_settings existing makes none of them"
  }
}

run "this_repository" {
  command = plan
  variables {
    project_file = null
  }

  assert {
    condition     = length(aws_dynamodb_table.locks) == (local.project.terraform_state_locks == "dynamodb" ? 1 : 0)
    error_message = "the locks table follows project.yaml"
  }
}

run "the_projects_account_has_the_images" {
  command = plan
  variables {
    project_file = "../config/tests/accounts.yaml"
  }

  assert {
    condition = (
      sort(keys(output.trusted_subjects)) == sort(["shop-github-plan", "shop-github-build", "shop-github-preview", "shop-github-apply-prod"]) &&
      length(aws_iam_role.push_previews) == 1 && keys(aws_iam_role.apply) == ["prod"] && aws_s3_bucket.state.bucket == "shop-tfstate-123456789012-eu-west-1"
    )
    error_message = "roles of prod, who builds, and who pushes the previews that are applied elsewhere"
  }
  assert {
    condition     = !strcontains(join("", concat(values(aws_iam_policy.apply)[*].policy, values(aws_iam_policy.boundary)[*].policy, [aws_iam_role_policy.plan.policy, aws_iam_policy.read.policy])), "210987654321")
    error_message = "nobody here may do anything in the other account"
  }
}

run "another_account_has_the_roles_of_its_environments" {
  command = plan
  variables {
    project_file = "../config/tests/accounts.yaml"
    account_id   = "210987654321"
  }

  assert {
    condition = (
      sort(keys(output.trusted_subjects)) == sort(["shop-github-plan", "shop-github-preview", "shop-github-apply-dev", "shop-github-apply-staging"]) &&
      length(aws_iam_role.build) + length(aws_iam_role.push_previews) + length(aws_iam_role_policy.preview) + length(aws_iam_openid_connect_provider.github) == 0 &&
      aws_s3_bucket.state.bucket == "shop-tfstate-210987654321-eu-central-1"
    )
    error_message = "nobody pushes images from here, and account_settings is this account's"
  }
  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_policy.apply)[*].policy, values(aws_iam_policy.boundary)[*].policy, [aws_iam_role_policy.plan.policy, aws_iam_policy.read.policy]) : [
        for statement in jsondecode(policy).Statement : [
          for resource in flatten([statement.Resource]) :
          !strcontains(resource, "123456789012") || startswith(resource, "arn:aws:ecr:eu-west-1:123456789012:repository/shop") || resource == aws_kms_key.state.arn
        ]
      ]
    ]))
    error_message = "of the project's account, its images are all that is named here"
  }
}

run "an_account_may_have_images_and_no_environment" {
  command = plan
  variables {
    project_file = "../config/tests/tools-account.yaml"
  }

  assert {
    condition     = length(aws_iam_role.apply) == 0 && length(aws_iam_role.build) == 1 && length(aws_iam_policy.boundary) == 0
    error_message = "an account for tools"
  }
  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.plan.policy).Statement : length(flatten([statement.Resource])) > 0])
    error_message = "no statement is about nothing"
  }
}
