variable "config" {
  type = object({
    partition  = string
    dns_suffix = string
    project    = object({ aws_account_id = string, aws_region = string })
  })
  description = "infra/config as the caller's module.config."
}

variable "alias" {
  type        = string
  description = "Name of the key, beginning with alias/."
}

variable "description" {
  type        = string
  description = "What the key encrypts."
}

variable "protected" {
  type        = bool
  description = "Whether a deleted key can be had back for 30 days, and not for 7."
}

variable "log_groups" {
  type        = list(string)
  description = "Names of the log groups that the key encrypts; * stands for any text."
  default     = []
}

variable "statements" {
  type        = any
  description = "Further statements of the key policy, as a list of objects with Sid, Effect, Principal, Action, Resource and Condition."
  default     = []
}
