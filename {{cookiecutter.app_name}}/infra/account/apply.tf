# The apply role of an environment makes, changes and removes that environment's network, database and service, and
# nothing else; the preview role does so with the services of previews. What has a name is limited by name; what has none
# by the tags that every resource of this project carries. What they make may not do more than they: every role carries
# the environment's boundary.
#   owners.tf          names, tags and walls
#   read.tf            what is read to plan, and each one's state
#   apply-data.tf      state, keys, logs, buckets and parameters of every layer
#   apply-network.tf   infra/network, and security groups of every layer
#   apply-database.tf  infra/database
#   apply-service.tf   infra/service
#   boundary.tf        the most that the roles they make can do

locals {
  apply_roles = {
    for key, owner in local.owners : key => concat(
      local.walls[key],
      [
        {
          # A role without the boundary cannot be made, given a policy or opened to others; nor can it lose the boundary.
          Sid    = "OwnRoles"
          Effect = "Allow"
          Action = [
            "iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy",
            "iam:PutRolePermissionsBoundary", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription", # when these change
          ]
          Resource  = owner.roles
          Condition = { StringEquals = { "iam:PermissionsBoundary" = "${local.boundaries}/${owner.boundary}" } }
        },
        {
          Sid    = "TagsOfOwnRoles"
          Effect = "Allow"
          Action = [
            "iam:TagRole",
            "iam:UntagRole", # when tags change
          ]
          Resource = owner.roles
        },
        {
          Sid      = "GiveOwnRolesToServices"
          Effect   = "Allow"
          Action   = "iam:PassRole"
          Resource = owner.roles
          # Ends in * because whether China's services call themselves amazonaws.com.cn here is not documented.
          Condition = { StringLike = { "iam:PassedToService" = [
            for service in concat(
              ["ecs-tasks"],
              owner.temporary == null ? ["lambda", "monitoring.rds", "vpc-flow-logs"] : [],
              owner.temporary == null && contains(local.with_jobs, owner.environment) ? ["scheduler"] : [],
              owner.temporary == null && local.scanned ? ["malware-protection-plan.guardduty"] : [],
            ) :
            "${service}.amazonaws.com*"
          ] } }
        },
        {
          # Whether AppConfig says to whom is not documented; the role itself trusts nobody else.
          Sid      = "GiveRollbackRoleToAppConfig"
          Effect   = "Allow"
          Action   = "iam:PassRole"
          Resource = "${owner.roles}-flags-rollback"
        },
        {
          Sid      = "RolesOfServices"
          Effect   = "Allow"
          Action   = "iam:CreateServiceLinkedRole"
          Resource = "${local.arn.iam}:role/aws-service-role/*"
          Condition = { StringEquals = { "iam:AWSServiceName" = [
            "ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com",
            "rds.amazonaws.com", "wafv2.amazonaws.com",
          ] } }
        },
      ],
      local.read_own[key],
    )
  }

  # IAM's limit is 6,144 characters a policy and ten policies a role.
  apply_policies = merge([
    for key, owner in local.owners : {
      for part, statements in merge(
        {
          roles      = local.apply_roles[key]
          network    = concat([for statement in local.apply_network[key] : statement if owner.temporary == null], local.apply_groups[key])
          data       = local.apply_data[key]
          service    = local.apply_service[key]
          components = local.apply_components[key]
        },
        owner.temporary == null && local.project.database != "none" ? { database = local.apply_database[key] } : {},
      ) :
      "${key}-${part}" => { owner = key, document = jsonencode({ Version = "2012-10-17", Statement = statements }) }
    }
  ]...)
}

resource "aws_iam_policy" "apply" {
  for_each = local.apply_policies

  name        = "${local.owners[each.value.owner].role}-${trimprefix(each.key, "${each.value.owner}-")}"
  path        = local.names.github_path
  description = "What GitHub's jobs may change: ${each.key}"
  policy      = each.value.document
}

resource "aws_iam_role_policy_attachment" "apply" {
  for_each = local.apply_policies

  role       = aws_iam_role.apply[each.value.owner].name
  policy_arn = aws_iam_policy.apply[each.key].arn
}
