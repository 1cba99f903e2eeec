# prod answers at domain_name, the others below it: module.config.host.

data "aws_route53_zone" "domain" {
  count = local.https ? 1 : 0

  name         = module.config.zone
  private_zone = false
}

resource "aws_acm_certificate" "service" {
  count = local.https ? 1 : 0

  domain_name       = module.config.host
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

# One name, so one record proves it.
resource "aws_route53_record" "certificate" {
  count = local.https ? 1 : 0

  zone_id         = data.aws_route53_zone.domain[0].zone_id
  name            = one(aws_acm_certificate.service[0].domain_validation_options).resource_record_name
  type            = one(aws_acm_certificate.service[0].domain_validation_options).resource_record_type
  records         = [one(aws_acm_certificate.service[0].domain_validation_options).resource_record_value]
  ttl             = 300
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "service" {
  count = local.https ? 1 : 0

  certificate_arn         = aws_acm_certificate.service[0].arn
  validation_record_fqdns = [aws_route53_record.certificate[0].fqdn]
}

resource "aws_route53_record" "service" {
  count = local.https ? 1 : 0

  zone_id = data.aws_route53_zone.domain[0].zone_id
  name    = module.config.host
  type    = "A"

  alias {
    name                   = aws_lb.service.dns_name
    zone_id                = aws_lb.service.zone_id
    evaluate_target_health = true
  }
}
