variable "environment" {
  type        = string
  description = "Environment of project.yaml to make. In a Terraform workspace other than \"default\": the environment on whose network and database the temporary one runs."
}

variable "image_digest" {
  type        = string
  description = "Digest of the image to run, from the build repository: sha256: and 64 hexadecimal digits."

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.image_digest))
    error_message = "image_digest: a release is deployed by digest: sha256: and 64 hexadecimal digits. A tag can be moved to another image."
  }
}

variable "project_file" {
  type        = string
  description = "Path of the settings; null for the project.yaml at the top of this repository."
  default     = null
}

variable "workspace" {
  type        = string
  description = "Workspace to act as, for tests, which Terraform runs in \"default\" only; null for the real one."
  default     = null
}
