mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
}

variables {
  project_file = "../config/tests/complete.yaml"
}

run "repository" {
  assert {
    condition     = aws_ecr_repository.this.name == "shop" && aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push
    error_message = "a tag is never moved, and every image is scanned"
  }
  assert {
    condition     = aws_ecr_repository.this.encryption_configuration[0].encryption_type == "KMS" && aws_ecr_repository.this.encryption_configuration[0].kms_key == module.key.arn
    error_message = "images are encrypted with the project's key"
  }
  assert {
    condition     = !aws_ecr_repository.this.force_delete
    error_message = "a repository with images is not deleted"
  }
  assert {
    condition     = aws_ecr_repository.previews.name == "shop/previews" && aws_ecr_repository.previews.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.previews.image_scanning_configuration[0].scan_on_push && aws_ecr_repository.previews.force_delete
    error_message = "what pull requests run is apart from releases, and goes with the repository"
  }
  assert {
    condition = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : rule.selection] == [
      { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 1 },
      { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 500 },
    ]
    error_message = "what has no tag goes after a day; old builds go when there are more than 500"
  }
}

run "longest_name" {
  command = plan
  variables {
    project_file = "../config/tests/longest.yaml"
  }

  # https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-create.html
  assert {
    condition     = length(aws_ecr_repository.this.name) <= 256
    error_message = "the name fits AWS's limit"
  }
}

run "one_account" {
  command = plan

  assert {
    condition     = length(aws_ecr_repository_policy.this) + length(aws_ecr_repository_policy.previews) == 0
    error_message = "where every environment lives in the project's account, nobody else is let in"
  }
}

run "other_accounts_pull_and_nothing_else" {
  command = plan
  variables {
    project_file = "../config/tests/accounts.yaml"
  }

  assert {
    condition = jsondecode(aws_ecr_repository_policy.this[0].policy).Statement[0] == {
      Sid       = "Pull210987654321"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::210987654321:root" }
      Action    = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Condition = { ArnLike = { "aws:PrincipalArn" = [
        "arn:aws:iam::210987654321:role/shop/github-actions/shop-github-plan",
        "arn:aws:iam::210987654321:role/shop/dev/shop-dev-execution",
        "arn:aws:iam::210987654321:role/shop/staging/shop-staging-execution",
      ] } }
    }
    error_message = "releases are for the execution roles of the other account, and who verifies them"
  }
  assert {
    condition = alltrue(flatten([
      for policy in [aws_ecr_repository_policy.this[0].policy, aws_ecr_repository_policy.previews[0].policy] : [
        for statement in jsondecode(policy).Statement : [
          for action in statement.Action : can(regex("^ecr:(BatchCheckLayerAvailability|BatchGetImage|GetDownloadUrlForLayer|DescribeImages|DescribeRepositories)$", action))
        ]
      ]
    ]))
    error_message = "nobody of another account pushes or deletes an image"
  }
  assert {
    condition     = jsondecode(aws_ecr_repository_policy.previews[0].policy).Statement[0].Condition.ArnLike["aws:PrincipalArn"][0] == "arn:aws:iam::210987654321:role/shop/dev/shop-dev-*-execution"
    error_message = "previews are pulled by previews"
  }
}
