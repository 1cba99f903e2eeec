# What an apply role may do with its environment's service, and the preview role with those of previews.

locals {
  apply_service = {
    for key, owner in local.owners : key => [
      {
        Sid    = "OwnLoadBalancer"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:AddTags", "elasticloadbalancing:CreateListener", "elasticloadbalancing:CreateLoadBalancer",
          "elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteLoadBalancer",
          "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:ModifyLoadBalancerAttributes", "elasticloadbalancing:ModifyTargetGroup*",
          "elasticloadbalancing:CreateWebACLAssociation", "elasticloadbalancing:DeleteWebACLAssociation", # by AWS WAF
          # When these change.
          "elasticloadbalancing:ModifyListener*", "elasticloadbalancing:RemoveTags",   # rules and certificate; tags
          "elasticloadbalancing:SetSecurityGroups", "elasticloadbalancing:SetSubnets", # the network
        ]
        Resource = flatten([
          for name in owner.names : [
            for kind in ["listener/app", "loadbalancer/app", "targetgroup"] : "${local.arn.elasticloadbalancing}:${kind}/${name}/*"
          ]
        ])
      },
      {
        Sid    = "OwnService"
        Effect = "Allow"
        Action = [
          "ecs:DeleteCluster", "ecs:DeleteService", "ecs:RegisterTaskDefinition", "ecs:TagResource",
          "ecs:StopTask",                            # a migration that hangs
          "ecs:UntagResource", "ecs:UpdateCluster*", # when these change
        ]
        Resource = flatten([
          for name in owner.names : [
            "${local.arn.ecs}:cluster/${name}", "${local.arn.ecs}:service/${name}/*", "${local.arn.ecs}:task/${name}/*",
            "${local.arn.ecs}:task-definition/${name}:*",
          ]
        ])
      },
      {
        # Of own task definitions: another's has its roles and secrets, and no right to these is asked for here.
        Sid       = "RunServices"
        Effect    = "Allow"
        Action    = ["ecs:CreateService", "ecs:UpdateService"]
        Resource  = [for name in owner.names : "${local.arn.ecs}:service/${name}/*"]
        Condition = { ArnLikeIfExists = { "ecs:task-definition" = [for name in owner.names : "${local.arn.ecs}:task-definition/${name}:*"] } }
      },
      {
        # In an own cluster too: the task's network is the caller's choice.
        Sid       = "RunTasks"
        Effect    = "Allow"
        Action    = "ecs:RunTask"
        Resource  = [for name in owner.names : "${local.arn.ecs}:task-definition/${name}:*"]
        Condition = { ArnLike = { "ecs:cluster" = [for name in owner.names : "${local.arn.ecs}:cluster/${name}"] } }
      },
      {
        # Some editions of AWS's reference give it a resource, some do not.
        Sid       = "MakeCluster"
        Effect    = "Allow"
        Action    = "ecs:CreateCluster"
        Resource  = "*"
        Condition = local.requested[key]
      },
      {
        # AWS documents no resource and no condition for these: any of the account. Of the deliveries, AWS WAF's.
        # https://docs.aws.amazon.com/waf/latest/developerguide/logging-cw-logs.html
        Sid    = "ActionsWithoutResources"
        Effect = "Allow"
        Action = concat([
          "ecs:DeregisterTaskDefinition", "elasticloadbalancing:SetWebAcl", "logs:CreateLogDelivery", "logs:DeleteLogDelivery",
          "logs:DescribeResourcePolicies", "logs:PutResourcePolicy",
          "logs:GetLogDelivery", "logs:ListLogDeliveries", "logs:UpdateLogDelivery", # AWS WAF asks for them when it looks or changes
          ],
          # The incident management's subscription, changed and deleted by Terraform.
          owner.temporary == null && local.project.incident_management != "none" ? [
            "sns:Unsubscribe",
            "sns:SetSubscriptionAttributes", # when it changes
          ] : [],
        )
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
      {
        Sid       = "MakeScaling"
        Effect    = "Allow"
        Action    = ["application-autoscaling:RegisterScalableTarget", "application-autoscaling:TagResource"]
        Resource  = "${local.arn.application-autoscaling}:scalable-target/*"
        Condition = local.made[key]
      },
      {
        Sid    = "OwnScaling"
        Effect = "Allow"
        Action = [
          "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:PutScalingPolicy",
          "application-autoscaling:RegisterScalableTarget",
          "application-autoscaling:TagResource", "application-autoscaling:UntagResource", # when tags change
        ]
        Resource  = "${local.arn.application-autoscaling}:scalable-target/*"
        Condition = local.own[key]
      },
      {
        Sid    = "OwnWebAcl"
        Effect = "Allow"
        Action = [
          "wafv2:AssociateWebACL", "wafv2:CreateWebACL", "wafv2:DeleteLoggingConfiguration", "wafv2:DeleteWebACL", "wafv2:DisassociateWebACL",
          "wafv2:PutLoggingConfiguration", "wafv2:TagResource",
          "wafv2:UntagResource", "wafv2:UpdateWebACL", # when tags and rules change
        ]
        Resource = concat(
          ["${local.arn.wafv2}:regional/managedruleset/*/*"],
          flatten([for name in owner.names : [
            "${local.arn.wafv2}:regional/webacl/${name}/*", "${local.arn.elasticloadbalancing}:loadbalancer/app/${name}/*",
          ]]),
        )
      },
    ]
  }

  # Alarms, and the components of project.yaml.
  apply_components = {
    for key, owner in local.owners : key => concat(
      [
        {
          Sid    = "OwnAlarms"
          Effect = "Allow"
          Action = [
            "cloudwatch:DeleteAlarms", "cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard", "cloudwatch:PutMetricAlarm",
            "cloudwatch:TagResource",
            "cloudwatch:UntagResource", # when tags change
          ]
          Resource = flatten([
            for name in owner.names : [
              "${local.arn.cloudwatch}:alarm:${name}", "arn:${module.config.partition}:cloudwatch::${local.account_id}:dashboard/${name}",
              # Of target tracking: whether its caller needs the right to them is not documented for every case.
              "${local.arn.cloudwatch}:alarm:TargetTracking-service/${name}/*",
            ]
          ])
        },
        {
          Sid    = "OwnEvents"
          Effect = "Allow"
          Action = [
            "events:DeleteRule", "events:PutRule", "events:RemoveTargets", "events:TagResource",
            "events:UntagResource", # when tags change
          ]
          Resource = [for name in owner.names : "${local.arn.events}:rule/${name}"]
        },
        {
          Sid      = "OwnTargets"
          Effect   = "Allow"
          Action   = "events:PutTargets"
          Resource = [for name in owner.names : "${local.arn.events}:rule/${name}"]
          # A rule has one target or several. https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html
          Condition = { "ForAllValues:ArnLike" = { "events:TargetArn" = flatten([
            for name in owner.names : ["${local.arn.lambda}:function:${name}", "${local.arn.sns}:${name}"]
          ]) } }
        },
        {
          Sid    = "OwnTopic"
          Effect = "Allow"
          Action = [
            "sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource",
            "sns:UntagResource", # when tags change
          ]
          Resource = [for name in owner.names : "${local.arn.sns}:${name}"]
        },
      ],
      [for statement in [
        {
          # Schedules have no tags; their group has.
          Sid    = "OwnSchedules"
          Effect = "Allow"
          Action = [
            "scheduler:CreateSchedule", "scheduler:CreateScheduleGroup", "scheduler:DeleteSchedule", "scheduler:DeleteScheduleGroup",
            "scheduler:TagResource",
            "scheduler:UntagResource", "scheduler:UpdateSchedule", # when tags, the schedule or the image change
          ]
          Resource = flatten([
            for name in owner.names : ["${local.arn.scheduler}:schedule/${name}/*", "${local.arn.scheduler}:schedule-group/${name}"]
          ])
        },
        {
          # make jobs. Messages of workers are nobody's but theirs.
          Sid      = "OwnDeadLetters"
          Effect   = "Allow"
          Action   = ["sqs:GetQueueUrl", "sqs:PurgeQueue", "sqs:ReceiveMessage"]
          Resource = "${local.arn.sqs}:${module.environment[owner.environment].names.jobs_dead_letters}"
        },
      ] : statement if owner.temporary == null && contains(local.with_jobs, owner.environment)],
      [for statement in [
        {
          Sid    = "OwnQueues"
          Effect = "Allow"
          Action = [
            "sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue",
            "sqs:UntagQueue", # when tags change
          ]
          Resource = [for name in owner.names : "${local.arn.sqs}:${name}" if strcontains(name, "*")]
        },
      ] : statement if length(module.config.workers) > 0 || (owner.temporary == null && contains(local.with_jobs, owner.environment))],
      [for statement in [
        {
          Sid       = "MakeFlags"
          Effect    = "Allow"
          Action    = ["appconfig:CreateApplication", "appconfig:CreateDeploymentStrategy", "appconfig:TagResource"]
          Resource  = "*"
          Condition = local.made[key]
        },
        {
          Sid    = "OwnFlags"
          Effect = "Allow"
          Action = [
            "appconfig:CreateConfigurationProfile", "appconfig:CreateEnvironment", "appconfig:CreateHostedConfigurationVersion", "appconfig:Delete*",
            "appconfig:StartDeployment",
            "appconfig:StopDeployment",                                                   # a rollout that is under way is taken back
            "appconfig:TagResource", "appconfig:UntagResource",                           # when tags change
            "appconfig:UpdateApplication", "appconfig:UpdateEnvironment",                 # when these change
            "appconfig:UpdateConfigurationProfile", "appconfig:UpdateDeploymentStrategy", # likewise
          ]
          Resource  = ["${local.arn.appconfig}:application/*", "${local.arn.appconfig}:deploymentstrategy/*"]
          Condition = local.own[key]
        },
        {
          # Versions have no tags, deployments of `make flag` have none, and a new environment or profile gets its own in a
          # second step. Each call names its application too, which must be an own one.
          Sid    = "InOwnFlags"
          Effect = "Allow"
          Action = [
            "appconfig:DeleteHostedConfigurationVersion",
            "appconfig:CreateConfigurationProfile", "appconfig:CreateEnvironment",     # those steps
            "appconfig:CreateHostedConfigurationVersion", "appconfig:StartDeployment", # before the tags have arrived
            "appconfig:StopDeployment",                                                # a rollout of `make flag`
          ]
          Resource  = ["${local.arn.appconfig}:application/*/configurationprofile/*", "${local.arn.appconfig}:application/*/environment/*"]
          Condition = local.untagged
        },
      ] : statement if local.project.feature_flags != "none"],
      [for statement in [
        {
          Sid       = "MakeCertificates"
          Effect    = "Allow"
          Action    = ["acm:AddTagsToCertificate", "acm:RequestCertificate"]
          Resource  = "*"
          Condition = local.made[key]
        },
        {
          Sid    = "OwnCertificates"
          Effect = "Allow"
          Action = [
            "acm:DeleteCertificate",
            "acm:AddTagsToCertificate", "acm:RemoveTagsFromCertificate", # when tags change
          ]
          Resource  = "${local.arn.acm}:certificate/*"
          Condition = local.own[key]
        },
        {
          # prod's host is the parent of the others': below it prod has only the records that prove a certificate.
          Sid       = "OwnDnsRecords"
          Effect    = "Allow"
          Action    = "route53:ChangeResourceRecordSets"
          Resource  = "${local.arn.route53}:hostedzone/*"
          Condition = { "ForAllValues:StringLike" = { "route53:ChangeResourceRecordSetsNormalizedRecordNames" = owner.hosts } }
        },
      ] : statement if local.project.domain_name != ""],
    )
  }
}
