# What the mocked provider answers where the real one checks the form of a value or a test looks at it.

mock_resource "aws_lb" {
  defaults = {
    arn        = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/shop/0123456789abcdef"
    arn_suffix = "app/shop/0123456789abcdef"
    dns_name   = "shop-1.eu-west-1.elb.amazonaws.com"
    zone_id    = "Z32O12XQLNTSW2"
  }
}
mock_resource "aws_lb_target_group" {
  defaults = {
    arn        = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/0123456789abcdef"
    arn_suffix = "targetgroup/shop/0123456789abcdef"
  }
}
mock_resource "aws_lb_listener" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/shop/0123456789abcdef/0123456789abcdef" }
}
mock_resource "aws_acm_certificate" {
  defaults = {
    arn = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
    domain_validation_options = [{
      domain_name           = "dev.shop.example.com"
      resource_record_name  = "_proof.dev.shop.example.com."
      resource_record_type  = "CNAME"
      resource_record_value = "_value.acm-validations.aws."
    }]
  }
}
mock_resource "aws_s3_bucket" {
  defaults = { arn = "arn:aws:s3:::logs" }
}
mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
}
mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
}
mock_resource "aws_sns_topic" {
  defaults = { arn = "arn:aws:sns:eu-west-1:123456789012:alarms" }
}
mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:mocked" }
}
mock_resource "aws_cloudwatch_metric_alarm" {
  defaults = { arn = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:mocked" }
}
mock_resource "aws_sqs_queue" {
  defaults = { arn = "arn:aws:sqs:eu-west-1:123456789012:mocked", url = "https://sqs.eu-west-1.amazonaws.com/123456789012/mocked" }
}
mock_resource "aws_appautoscaling_policy" {
  defaults = { arn = "arn:aws:autoscaling:eu-west-1:123456789012:scalingPolicy:mocked" }
}
mock_resource "aws_wafv2_web_acl" {
  defaults = { arn = "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/shop/00000000-0000-0000-0000-000000000000" }
}
mock_resource "aws_ecs_cluster" {
  defaults = { id = "arn:aws:ecs:eu-west-1:123456789012:cluster/shop" }
}
mock_resource "aws_ecs_task_definition" {
  defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:1" }
}
mock_resource "aws_scheduler_schedule_group" {
  defaults = { arn = "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/shop-jobs" }
}
mock_resource "aws_appconfig_application" {
  defaults = { id = "abcd123" }
}
mock_resource "aws_appconfig_environment" {
  defaults = {
    environment_id = "efgh456"
    arn            = "arn:aws:appconfig:eu-west-1:123456789012:application/abcd123/environment/efgh456"
  }
}
mock_resource "aws_appconfig_configuration_profile" {
  defaults = { configuration_profile_id = "ijkl789" }
}
mock_resource "aws_appconfig_hosted_configuration_version" {
  defaults = { version_number = 1 }
}
mock_resource "aws_appconfig_deployment_strategy" {
  defaults = { id = "mnop012" }
}

mock_data "aws_vpc" {
  defaults = { id = "vpc-network" }
}
mock_data "aws_subnets" {
  defaults = { ids = ["subnet-a", "subnet-b"] }
}
mock_data "aws_ec2_managed_prefix_list" {
  defaults = { id = "pl-s3" }
}
mock_data "aws_rds_cluster" {
  defaults = {
    endpoint            = "shop.cluster-abc.eu-west-1.rds.amazonaws.com"
    cluster_resource_id = "cluster-ABCDEFGHIJKL"
  }
}
mock_data "aws_route53_zone" {
  defaults = { zone_id = "Z0123456789" }
}
mock_data "aws_ssm_parameters_by_path" {
  defaults = { names = [] }
}
