terraform {
  required_version = ">= 1.11"

  # Completed by ops with -backend-config: bucket, key, region, key of encryption and locks.
  backend "s3" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
