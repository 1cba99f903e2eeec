variable "environment" {
  type        = string
  description = "Environment of project.yaml."
}

variable "project_file" {
  type        = string
  description = "Path of the settings; null for the project.yaml at the top of this repository."
  default     = null
}

variable "role_manager_package" {
  type        = string
  description = "Path of the role manager's zip, made by `make package`."
  default     = "../../role_manager/dist/role_manager.zip"
}
