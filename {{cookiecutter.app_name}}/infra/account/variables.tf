variable "account_id" {
  type        = string
  description = "Account of project.yaml to work in; null for the project's own."
  default     = null
}

variable "project_file" {
  type        = string
  description = "Path of the settings; null for the project.yaml at the top of this repository."
  default     = null
}
