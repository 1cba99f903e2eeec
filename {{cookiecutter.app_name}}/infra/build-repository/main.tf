# Layer 3, once for the project: the repository of the service's images. Every environment deploys the same image by
# its digest, so an image is built once and never changes. What temporary environments run is in a repository of its own:
# an image of a pull request cannot be taken for a release.

module "config" {
  source = "../config"

  project_file = var.project_file
}

provider "aws" {
  region              = module.config.project.aws_region
  allowed_account_ids = [module.config.project.aws_account_id]

  default_tags {
    tags = module.config.tags
  }
}

locals {
  names = module.config.names
}

module "key" {
  source = "../modules/key"

  config      = module.config
  alias       = local.names.build_repository_key
  description = "Encrypts the images of ${local.names.build_repository}"
  protected   = true
}

resource "aws_ecr_repository" "this" {
  name                 = local.names.build_repository
  image_tag_mutability = "IMMUTABLE"
  force_delete         = false # images that environments run are deleted by hand first, deliberately

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = module.key.arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }

  lifecycle {
    precondition {
      condition     = terraform.workspace == "default"
      error_message = "A temporary environment (workspace ${terraform.workspace}) uses the project's repository: only infra/service is applied in a workspace."
    }
  }
}

resource "aws_ecr_repository" "previews" {
  name                 = local.names.preview_repository
  image_tag_mutability = "IMMUTABLE"
  force_delete         = true # nothing here outlives its pull request

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = module.key.arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "previews" {
  repository = aws_ecr_repository.previews.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "The newest 100 builds stay: more than there are previews"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 100 }
      action       = { type = "expire" }
    }]
  })
}

# ECR never removes an image that a kept index refers to.
resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "What was pushed without a tag, or is left of an interrupted push"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 1 }
        action       = { type = "expire" }
      },
      {
        # Far more than lie between the oldest release that an environment still runs and the newest build: a task
        # cannot start from an image that is gone. Images share most of their layers, so each costs less than a cent.
        rulePriority = 2
        description  = "The newest 500 builds stay"
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 500 }
        action       = { type = "expire" }
      },
    ]
  })
}
