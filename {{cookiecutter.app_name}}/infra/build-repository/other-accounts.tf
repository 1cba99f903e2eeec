# Environments that live in other accounts run the same images, by digest and from here: nothing is copied. ECR takes only
# principals that exist, and roles of environments come later: the account is named, and its roles by a condition.
# Whoever pulls needs no right to the key: ECR decrypts by grants that it has.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html

locals {
  app    = module.config.project.app_name
  others = { for id, account in module.config.accounts : id => account.environments if id != module.config.registry.account_id }
  iam    = { for id in keys(local.others) : id => "arn:${module.config.partition}:iam::${id}" }

  pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] # as AmazonECSTaskExecutionRolePolicy

  # Who in each account pulls releases, and who previews.
  pulls = {
    for id, environments in local.others : id => {
      releases = concat(
        ["${local.iam[id]}:role${local.names.github_path}${local.names.plan_role}"], # attestations, and the weekly scan
        [for name in environments : "${local.iam[id]}:role/${local.app}/${name}/${local.app}-${name}-execution"],
      )
      previews = [for name in environments : "${local.iam[id]}:role/${local.app}/${name}/${local.app}-${name}-*-execution"]
    }
  }

  repository_policies = {
    for kind in ["releases", "previews"] : kind => jsonencode({
      Version = "2012-10-17"
      Statement = flatten([
        for id in keys(local.others) : [
          {
            Sid       = "Pull${id}"
            Effect    = "Allow"
            Principal = { AWS = "${local.iam[id]}:root" }
            Action    = local.pull
            Condition = { ArnLike = { "aws:PrincipalArn" = local.pulls[id][kind] } }
          },
          {
            # Which images there are: for make up and make deploy, by a job or by a person whom that account lets.
            Sid       = "Find${id}"
            Effect    = "Allow"
            Principal = { AWS = "${local.iam[id]}:root" }
            Action    = ["ecr:DescribeImages", "ecr:DescribeRepositories"]
          },
        ]
      ])
    })
  }
}

resource "aws_ecr_repository_policy" "this" {
  count = length(local.others) > 0 ? 1 : 0

  repository = aws_ecr_repository.this.name
  policy     = local.repository_policies["releases"]
}

resource "aws_ecr_repository_policy" "previews" {
  count = length(local.others) > 0 ? 1 : 0

  repository = aws_ecr_repository.previews.name
  policy     = local.repository_policies["previews"]
}
