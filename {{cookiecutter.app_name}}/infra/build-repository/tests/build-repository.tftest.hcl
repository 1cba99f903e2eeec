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
