# The apply role of an environment: makes, changes and removes that environment's network, database and service, and
# nothing else. What has a name is limited by name; what has none is limited by the tags that every resource of this
# project carries, or where AWS takes neither, by region. Roles it makes must carry the boundary.

locals {
  # "<app>-dev" and "<app>-dev-…", but not "<app>-develop".
  owned = { for name in local.project.environment_names : name => ["${local.app}-${name}", "${local.app}-${name}-*"] }

  tagged = {
    for name in local.project.environment_names : name => {
      resource = { StringEquals = { "aws:ResourceTag/application" = local.app, "aws:ResourceTag/environment" = name } }
      request  = { StringEquals = { "aws:RequestTag/application" = local.app, "aws:RequestTag/environment" = name } }
    }
  }

  apply_network = {
    for name in local.project.environment_names : name => [
      {
        Sid    = "MakeNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AllocateAddress", "ec2:AssociateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway",
          "ec2:AuthorizeSecurityGroup*", "ec2:CreateFlowLogs", "ec2:CreateInternetGateway", "ec2:CreateNatGateway",
          "ec2:CreateRoute", "ec2:CreateRouteTable", "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateTags",
          "ec2:CreateVpc", "ec2:CreateVpcEndpoint", "ec2:ModifySecurityGroupRules", "ec2:ModifySubnetAttribute",
          "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:RevokeSecurityGroup*",
          "ec2:UpdateSecurityGroupRuleDescriptions*",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
      {
        # The private names of interface endpoints.
        # https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
        Sid      = "NameEndpoints"
        Effect   = "Allow"
        Action   = "route53:AssociateVPCWithHostedZone"
        Resource = "${local.arn.route53}:hostedzone/*"
      },
      {
        Sid    = "UnmakeOwnNetwork"
        Effect = "Allow"
        Action = [
          "ec2:DeleteFlowLogs", "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute",
          "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc",
          "ec2:DeleteVpcEndpoints", "ec2:DetachInternetGateway", "ec2:DisassociateAddress",
          "ec2:DisassociateRouteTable", "ec2:ReleaseAddress", "ec2:ReplaceRoute", "ec2:ReplaceRouteTableAssociation",
        ]
        Resource  = "*"
        Condition = local.tagged[name].resource
      },
      {
        Sid       = "MakeKeys"
        Effect    = "Allow"
        Action    = ["kms:CreateKey", "kms:TagResource"]
        Resource  = "*"
        Condition = local.tagged[name].request
      },
      {
        Sid    = "ChangeOwnKeys"
        Effect = "Allow"
        Action = [
          "kms:CreateAlias", "kms:CreateGrant", "kms:Decrypt", "kms:DeleteAlias", "kms:DescribeKey",
          "kms:EnableKeyRotation", "kms:Encrypt", "kms:GenerateDataKey*", "kms:PutKeyPolicy",
          "kms:ScheduleKeyDeletion", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
        ]
        Resource  = "${local.arn.kms}:key/*"
        Condition = local.tagged[name].resource
      },
      {
        Sid      = "OwnKeyAliases"
        Effect   = "Allow"
        Action   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
        Resource = [for owned in local.owned[name] : "${local.arn.kms}:alias/${owned}"]
      },
      {
        Sid    = "OwnLogGroups"
        Effect = "Allow"
        Action = [
          "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteRetentionPolicy",
          "logs:DisassociateKmsKey", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:PutRetentionPolicy",
          "logs:TagResource", "logs:UntagResource",
        ]
        Resource = concat(
          ["${local.arn.logs}:log-group:/${local.app}/${name}/*"],
          [for owned in local.owned[name] : "${local.arn.logs}:log-group:/aws/*/${owned}*"],
          [for owned in local.owned[name] : "${local.arn.logs}:log-group:aws-waf-logs-${owned}"],
        )
      },
    ]
  }

  apply_data = {
    for name in local.project.environment_names : name => concat(
      [for statement in [
        {
          Sid    = "OwnDatabase"
          Effect = "Allow"
          Action = [
            "rds:AddTagsToResource", "rds:CreateDBCluster*", "rds:CreateDBInstance", "rds:CreateDBParameterGroup",
            "rds:CreateDBSubnetGroup", "rds:DeleteDB*", "rds:FailoverDBCluster", "rds:ModifyDB*",
            "rds:RebootDBInstance", "rds:RemoveTagsFromResource", "rds:ResetDB*", "rds:RestoreDBCluster*",
          ]
          # The default groups belong to AWS; creating a cluster or an instance names them.
          Resource = concat(["${local.arn.rds}:og:default*", "${local.arn.rds}:pg:default*"], flatten([
            for owned in local.owned[name] : [
              for kind in ["cluster", "cluster-pg", "cluster-snapshot", "db", "pg", "subgrp"] : "${local.arn.rds}:${kind}:${owned}"
            ]
          ]))
        },
        {
          # Aurora keeps the master password in a secret that it makes in the caller's name.
          Sid      = "SecretOfTheDatabase"
          Effect   = "Allow"
          Action   = ["secretsmanager:CreateSecret", "secretsmanager:DescribeSecret", "secretsmanager:RotateSecret", "secretsmanager:TagResource"]
          Resource = "${local.arn.secretsmanager}:secret:rds!cluster-*"
        },
        {
          Sid    = "OwnFunctions"
          Effect = "Allow"
          Action = [
            "lambda:AddPermission", "lambda:CreateFunction", "lambda:DeleteFunction*", "lambda:InvokeFunction",
            "lambda:Put*", "lambda:RemovePermission", "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateFunction*",
          ]
          Resource = [for owned in local.owned[name] : "${local.arn.lambda}:function:${owned}"]
        },
      ] : statement if local.project.database != "none"],
      [
        {
          Sid    = "OwnRoles"
          Effect = "Allow"
          Action = ["iam:AttachRolePolicy", "iam:CreateRole", "iam:DetachRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"]
          # A role without the boundary cannot be made or given a policy.
          Resource  = [for owned in local.owned[name] : "${local.arn.iam}:role/${owned}"]
          Condition = { StringEquals = { "iam:PermissionsBoundary" = local.boundary_arn } }
        },
        {
          Sid      = "OwnRolesThatExist"
          Effect   = "Allow"
          Action   = ["iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole*"]
          Resource = [for owned in local.owned[name] : "${local.arn.iam}:role/${owned}"]
        },
        {
          Sid      = "GiveOwnRolesToServices"
          Effect   = "Allow"
          Action   = "iam:PassRole"
          Resource = [for owned in local.owned[name] : "${local.arn.iam}:role/${owned}"]
          Condition = { StringEquals = { "iam:PassedToService" = [
            "appconfig.amazonaws.com", "ecs-tasks.amazonaws.com", "ecs.amazonaws.com", "events.amazonaws.com",
            "lambda.amazonaws.com", "monitoring.rds.amazonaws.com", "scheduler.amazonaws.com", "vpc-flow-logs.amazonaws.com",
          ] } }
        },
        {
          Sid      = "RolesOfServices"
          Effect   = "Allow"
          Action   = "iam:CreateServiceLinkedRole"
          Resource = "${local.arn.iam}:role/aws-service-role/*"
          Condition = { StringEquals = { "iam:AWSServiceName" = [
            "ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com",
            "rds.amazonaws.com", "wafv2.amazonaws.com",
          ] } }
        },
        {
          Sid    = "OwnState"
          Effect = "Allow"
          Action = "s3:PutObject"
          Resource = flatten([
            for layer in ["network", "database", "service"] : [
              "${local.state_bucket_arn}/${layer}/${name}.tfstate",
              "${local.state_bucket_arn}/env:/*/${layer}/${name}.tfstate",
            ]
          ])
        },
        {
          # A finished temporary environment leaves no state behind.
          Sid      = "StateOfTemporaryEnvironments"
          Effect   = "Allow"
          Action   = "s3:DeleteObject"
          Resource = "${local.state_bucket_arn}/env:/*/service/${name}.tfstate"
        },
      ],
    )
  }

  apply_service = {
    for name in local.project.environment_names : name => concat(
      [
        {
          Sid    = "OwnLoadBalancer"
          Effect = "Allow"
          Action = "elasticloadbalancing:*"
          Resource = flatten([
            for owned in local.owned[name] : [
              for kind in ["listener-rule/app", "listener/app", "loadbalancer/app", "targetgroup"] : "${local.arn.elasticloadbalancing}:${kind}/${owned}/*"
            ]
          ])
        },
        {
          Sid    = "OwnService"
          Effect = "Allow"
          Action = "ecs:*"
          Resource = flatten([
            for owned in local.owned[name] : [
              "${local.arn.ecs}:cluster/${owned}", "${local.arn.ecs}:service/${owned}/*", "${local.arn.ecs}:service-deployment/${owned}/*",
              "${local.arn.ecs}:task/${owned}/*", "${local.arn.ecs}:task-definition/${owned}:*",
            ]
          ])
        },
        {
          # These take no name: AWS documents "*" as their only resource.
          Sid    = "ActionsWithoutResources"
          Effect = "Allow"
          Action = [
            "ecs:CreateCluster", "ecs:DeregisterTaskDefinition", "elasticloadbalancing:SetWebAcl", "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery", "logs:DescribeResourcePolicies", "logs:GetLogDelivery", "logs:ListLogDeliveries",
            "logs:PutResourcePolicy", "logs:UpdateLogDelivery",
          ]
          Resource  = "*"
          Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
        },
        {
          Sid    = "OwnScaling"
          Effect = "Allow"
          Action = [
            "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:PutScalingPolicy", "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:TagResource", "application-autoscaling:UntagResource",
          ]
          Resource  = "*"
          Condition = { StringEquals = { "application-autoscaling:service-namespace" = "ecs", "aws:RequestedRegion" = local.region } }
        },
        {
          Sid      = "OwnLogBuckets"
          Effect   = "Allow"
          Action   = "s3:*"
          Resource = flatten([for owned in local.owned[name] : ["${local.arn.s3}:${owned}-logs-${local.account_id}", "${local.arn.s3}:${owned}-logs-${local.account_id}/*"]])
        },
        {
          Sid    = "OwnAlarms"
          Effect = "Allow"
          Action = [
            "cloudwatch:DeleteAlarms", "cloudwatch:DeleteDashboards", "cloudwatch:PutCompositeAlarm", "cloudwatch:PutDashboard",
            "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource",
            "events:DeleteRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource", "events:UntagResource",
            "sns:*",
          ]
          Resource = flatten([
            for owned in local.owned[name] : [
              "${local.arn.cloudwatch}:alarm:${owned}", "arn:${module.config.partition}:cloudwatch::${local.account_id}:dashboard/${owned}",
              "${local.arn.events}:rule/${owned}", "${local.arn.sns}:${owned}",
            ]
          ])
        },
        {
          Sid      = "OwnWebAcl"
          Effect   = "Allow"
          Action   = "wafv2:*"
          Resource = concat([for owned in local.owned[name] : "${local.arn.wafv2}:regional/webacl/${owned}/*"], ["${local.arn.wafv2}:regional/managedruleset/*/*"])
        },
        {
          Sid      = "OwnParameters"
          Effect   = "Allow"
          Action   = ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:PutParameter", "ssm:RemoveTagsFromResource"]
          Resource = "${local.arn.ssm}:parameter/${local.app}/${name}/*"
        },
      ],
      [for statement in [
        {
          Sid       = "MakeFlags"
          Effect    = "Allow"
          Action    = ["appconfig:CreateApplication", "appconfig:CreateDeploymentStrategy", "appconfig:TagResource"]
          Resource  = "*"
          Condition = local.tagged[name].request
        },
        {
          Sid       = "OwnFlags"
          Effect    = "Allow"
          Action    = ["appconfig:Create*", "appconfig:Delete*", "appconfig:St*Deployment", "appconfig:TagResource", "appconfig:UntagResource", "appconfig:Update*"]
          Resource  = ["${local.arn.appconfig}:application/*", "${local.arn.appconfig}:deploymentstrategy/*"]
          Condition = local.tagged[name].resource
        },
      ] : statement if local.project.feature_flags != "none"],
      [for statement in [
        {
          Sid       = "MakeCertificates"
          Effect    = "Allow"
          Action    = ["acm:AddTagsToCertificate", "acm:RequestCertificate"]
          Resource  = "*"
          Condition = local.tagged[name].request
        },
        {
          Sid       = "RemoveOwnCertificates"
          Effect    = "Allow"
          Action    = ["acm:DeleteCertificate", "acm:RemoveTagsFromCertificate"]
          Resource  = "${local.arn.acm}:certificate/*"
          Condition = local.tagged[name].resource
        },
        {
          Sid      = "OwnDnsRecords"
          Effect   = "Allow"
          Action   = "route53:ChangeResourceRecordSets"
          Resource = "${local.arn.route53}:hostedzone/*"
          # prod's host is the parent of the others': below it prod has only the records that prove a certificate.
          Condition = { "ForAllValues:StringLike" = { "route53:ChangeResourceRecordSetsNormalizedRecordNames" = [
            module.environment[name].host, "${name == "prod" ? "_*" : "*"}.${module.environment[name].host}",
          ] } }
        },
      ] : statement if local.project.domain_name != ""],
    )
  }

  # IAM's limit is 6,144 characters a policy, so an apply role has three.
  apply_policies = merge([
    for name in local.project.environment_names : {
      for part, statements in { network = local.apply_network[name], data = local.apply_data[name], service = local.apply_service[name] } :
      "${name}-${part}" => { environment = name, document = jsonencode({ Version = "2012-10-17", Statement = statements }) }
    }
  ]...)
}

resource "aws_iam_policy" "apply" {
  for_each = local.apply_policies

  name        = "${local.app}-github-apply-${each.key}"
  description = "What GitHub's jobs may change in ${each.value.environment}"
  policy      = each.value.document
}

resource "aws_iam_role_policy_attachment" "apply" {
  for_each = local.apply_policies

  role       = aws_iam_role.apply[each.value.environment].name
  policy_arn = aws_iam_policy.apply[each.key].arn
}
