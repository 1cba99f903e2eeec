resource "aws_lb" "service" {
  #checkov:skip=CKV2_AWS_76:Log4j's hole is in AWSManagedRulesKnownBadInputsRuleSet, which is on; the list of anonymous addresses it also asks for would block VPNs and other companies' servers
  name                       = local.names.service
  subnets                    = data.aws_subnets.public.ids
  security_groups            = [aws_security_group.load_balancer.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = local.protected

  access_logs {
    bucket  = aws_s3_bucket.logs.id
    prefix  = local.access_log_prefix
    enabled = true
  }

  connection_logs {
    bucket  = aws_s3_bucket.logs.id
    prefix  = local.connection_log_prefix
    enabled = true
  }

  # ELB writes a test object when logging is turned on.
  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_lb_target_group" "service" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer; only it reaches the tasks, inside the VPC, where AWS encrypts traffic between instances
  name        = local.names.service
  vpc_id      = data.aws_vpc.network.id
  target_type = "ip"
  port        = local.container_port
  protocol    = "HTTP"

  # A task that is replaced has this long to answer what it has begun; clients are given new connections elsewhere.
  deregistration_delay = 30

  health_check {
    path                = "/health"
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

# One listener for both cases: two would fight for the port when a domain is given later. It is made again then, because
# the provider keeps the old action's settings in a changed one.
resource "terraform_data" "https" {
  input = local.https
}

resource "aws_lb_listener" "http" {
  #checkov:skip=CKV_AWS_2:Redirects to HTTPS; without a domain there is no certificate to serve HTTPS with
  load_balancer_arn = aws_lb.service.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type             = local.https ? "redirect" : "forward"
    target_group_arn = local.https ? null : aws_lb_target_group.service.arn

    dynamic "redirect" {
      for_each = local.https ? ["https"] : []

      content {
        protocol    = "HTTPS"
        port        = "443"
        status_code = "HTTP_301"
      }
    }
  }

  lifecycle {
    replace_triggered_by = [terraform_data.https]
  }
}

resource "aws_lb_listener" "https" {
  count = local.https ? 1 : 0

  load_balancer_arn = aws_lb.service.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = aws_acm_certificate_validation.service[0].certificate_arn

  # One year, as browsers' preload lists ask for.
  routing_http_response_strict_transport_security_header_value = "max-age=31536000"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.service.arn
  }
}
