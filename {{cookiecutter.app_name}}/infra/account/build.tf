# Who pushes images: the build role releases, the preview role what pull requests run. Each has a repository of its own,
# because IAM cannot tell one tag from another.

locals {
  push = {
    for role, repository in { build = local.names.build_repository, preview = local.names.preview_repository } : role => jsonencode({
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "Login"
          Effect   = "Allow"
          Action   = "ecr:GetAuthorizationToken"
          Resource = "*"
        },
        {
          Sid    = "Push"
          Effect = "Allow"
          Action = [
            "ecr:BatchCheckLayerAvailability", "ecr:CompleteLayerUpload", "ecr:DescribeImages", "ecr:DescribeRepositories",
            "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
            # Builders ask for the manifest before they push it, and the SBOM is made of what was pushed.
            # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
            "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", # by docker, which a rehearsal does not run
          ]
          Resource = "${module.config.registry.arn}/${repository}"
        },
      ]
    })
  }
}

resource "aws_iam_role_policy" "build" {
  count = local.has_images ? 1 : 0

  name   = "push"
  role   = aws_iam_role.build[0].name
  policy = local.push["build"]
}

resource "aws_iam_role_policy" "preview" {
  for_each = toset(local.previews_push)

  name   = "push"
  role   = try(aws_iam_role.apply[each.key].name, aws_iam_role.push_previews[0].name)
  policy = local.push[each.key]
}
