resource "aws_ecs_cluster" "service" {
  name = local.names.service

  setting {
    name  = "containerInsights"
    value = "enabled"
  }

  # `make exec` opens a shell in a task: encrypted on the way with the customer key, and everything typed is kept.
  configuration {
    execute_command_configuration {
      kms_key_id = module.key.arn
      logging    = "OVERRIDE"

      log_configuration {
        cloud_watch_log_group_name     = aws_cloudwatch_log_group.sessions.name
        cloud_watch_encryption_enabled = true
      }
    }
  }

  # Made first, or ECS would make a log group of its own without retention and without the key.
  depends_on = [aws_cloudwatch_log_group.cluster]
}
