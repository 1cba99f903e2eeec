variable "environment" {
  type        = string
  description = "Environment whose settings and names are wanted; null in the layers that all environments share."
  default     = null
}

variable "account" {
  type        = string
  description = "Account whose settings and names are wanted, for what each account has once; null for the environment's, and without one the project's."
  default     = null
}

variable "workspace" {
  type        = string
  description = "Terraform workspace of the caller. Any other than \"default\" is a temporary environment beside var.environment, on its network and database."
  default     = "default"
}

variable "project_file" {
  type        = string
  description = "Path of the settings; null for the project.yaml at the top of this repository."
  default     = null
}
