output "url" {
  description = "Where the service answers."
  value       = local.https ? "https://${module.config.host}" : "http://${aws_lb.service.dns_name}"
}

output "image_digest" {
  description = "Digest of the image that the task definitions name."
  value       = var.image_digest
}

output "task_definition" {
  description = "Task definition that the service was given; it runs another one after a rollback by ECS."
  value       = aws_ecs_task_definition.service.arn
}

output "cluster" {
  description = "Name of the ECS cluster; the ECS service has the same."
  value       = aws_ecs_cluster.service.name
}

output "migrate_task_family" {
  description = "Family of the migrations' task definition; null without a database."
  value       = one(aws_ecs_task_definition.migrate[*].family)
}

output "security_group_id" {
  description = "Security group of the tasks."
  value       = aws_security_group.service.id
}

output "private_subnet_ids" {
  description = "Subnets in which the tasks run."
  value       = sort(data.aws_subnets.private.ids)
}

output "alarms_topic_arn" {
  description = "Topic to which all alarms go."
  value       = aws_sns_topic.alarms.arn
}

output "incident_subscribed" {
  description = "Whether the incident management is subscribed to the alarms: false until its URL is given with make incident-url."
  value       = local.incident_known
}
