variable "project_file" {
  type        = string
  description = "Path of the settings; null for the project.yaml at the top of this repository."
  default     = null
}
