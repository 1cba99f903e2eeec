# Who owns what: each environment what has its names and tags, and all previews together what has theirs. Names end at a
# hyphen or a slash: "shop-dev" and "shop-dev-…", but not "shop-develop".

locals {
  # A pull request's service beside dev: `make github-preview` calls it pr-<number>.
  previews = contains(local.environment_names, "dev") ? ["preview"] : []
  # Its image is pushed where the images are.
  previews_push = local.has_images && contains(local.project.environment_names, "dev") ? ["preview"] : []

  owners = merge(
    {
      for name in local.environment_names : name => {
        environment = name
        role        = module.environment[name].names.apply_role
        names       = ["${local.app}-${name}", "${local.app}-${name}-*"]
        path        = "${local.app}/${name}" # of log groups and parameters
        roles       = "${local.arn.iam}:role${module.environment[name].names.role_path}*"
        boundary    = module.environment[name].names.permissions_boundary
        buckets = concat(
          [module.environment[name].names.log_bucket],
          local.storage ? [module.environment[name].names.files_bucket] : [],
        )
        hosts = [module.environment[name].host, "${name == "prod" ? "_*" : "*"}.${module.environment[name].host}"]
        states = concat(
          [for layer in ["network", "database", "service"] : "${layer}/${name}.tfstate"],
          ["env:/*/service/${name}-temp.tfstate"],
        )
        # There never is one of this name: Terraform looks for it before it selects a temporary environment's.
        reads     = ["service/${name}-temp.tfstate"]
        temporary = null
      }
    },
    {
      for key in local.previews : key => {
        environment = "dev"
        role        = local.names.preview_role
        names       = ["${local.app}-dev-pr-*"]
        path        = "${local.app}/dev/pr-*"
        roles       = "${local.arn.iam}:role${module.environment["dev"].names.role_path}${local.app}-dev-pr-*"
        boundary    = module.environment["dev"].names.temporary_boundary
        buckets     = [for kind in local.storage ? ["logs", "files"] : ["logs"] : "${local.app}-dev-pr-*-${kind}-${local.account_id}"]
        hosts       = ["pr-*.${module.environment["dev"].host}", "_*.pr-*.${module.environment["dev"].host}"]
        states      = ["env:/pr-*/service/dev-temp.tfstate"]
        # Whether these layers are there. Not the service's state: the incident management's URL is in it.
        reads     = ["network/dev.tfstate", "database/dev.tfstate", "service/dev-temp.tfstate"]
        temporary = "pr-*"
      }
    },
  )

  # Conditions on tags, by owner. IAM knows the tags that a resource has and those that a request brings.
  # https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html
  of_environment = {
    for key, owner in local.owners : key => {
      StringEquals = { "aws:ResourceTag/application" = local.app, "aws:ResourceTag/environment" = owner.environment }
    }
  }
  # The resource has the owner's tags.
  own = {
    for key, owner in local.owners : key => merge(
      local.of_environment[key],
      owner.temporary == null ? {} : { StringLike = { "aws:ResourceTag/temporary" = owner.temporary } },
    )
  }
  requested = {
    for key, owner in local.owners : key => merge(
      { StringEquals = { "aws:RequestTag/application" = local.app, "aws:RequestTag/environment" = owner.environment } },
      owner.temporary == null ? {} : { StringLike = { "aws:RequestTag/temporary" = owner.temporary } },
    )
  }
  # The resource has no tags of a project: it is being made, or was a moment ago and its tags have not arrived.
  untagged = { Null = { "aws:ResourceTag/application" = "true" } }
  # It is being made with the owner's tags. Without the second half a request could put them on what is another's.
  made = { for key, requested in local.requested : key => merge(requested, local.untagged) }

  # Whatever carries the tags of another application or environment is out of reach, also where its name begins like
  # an own one: "shop-dev-api" may be shop's in dev, or shop-dev's in api.
  walls = {
    for key, owner in local.owners : key => [
      for tag, value in { application = local.app, environment = owner.environment } : {
        Sid                           = "Other${title(tag)}s"
        Effect                        = "Deny"
        Action                        = "*"
        Resource                      = "*"
        Condition = {
          Null            = { "aws:ResourceTag/${tag}" = "false" }
          StringNotEquals = { "aws:ResourceTag/${tag}" = value }
        }
      }
    ]
  }
}
