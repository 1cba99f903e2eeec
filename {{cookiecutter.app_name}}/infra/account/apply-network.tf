# What an apply role may do with its environment's network, and the preview role with the security groups of previews.
# EC2 decides on each resource of a call: one that is made by the tags that the request gives it, those that are there by
# the tags they have. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html

locals {
  apply_network = {
    for key, owner in local.owners : key => [
      {
        Sid    = "MakeNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AllocateAddress", "ec2:CreateFlowLogs", "ec2:CreateInternetGateway", "ec2:CreateNatGateway",
          "ec2:CreateRouteTable", "ec2:CreateSubnet", "ec2:CreateVpc", "ec2:CreateVpcEndpoint",
        ]
        Resource = [
          for kind in ["elastic-ip", "internet-gateway", "natgateway", "route-table", "subnet", "vpc", "vpc-endpoint", "vpc-flow-log"] :
          "${local.arn.ec2}:${kind}/*"
        ]
        Condition = local.made[key]
      },
      {
        Sid    = "ChangeOwnNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:CreateFlowLogs", "ec2:CreateNatGateway",
          "ec2:CreateRoute", "ec2:CreateRouteTable", "ec2:CreateSubnet", "ec2:CreateVpcEndpoint", "ec2:DeleteFlowLogs",
          "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable",
          "ec2:DeleteSubnet", "ec2:DeleteVpc", "ec2:DeleteVpcEndpoints", "ec2:DetachInternetGateway",
          "ec2:DisassociateRouteTable", "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:ReleaseAddress",
          "ec2:DisassociateAddress",                                                           # while one is in use
          "ec2:ModifySubnetAttribute", "ec2:ReplaceRoute", "ec2:ReplaceRouteTableAssociation", # when these change
        ]
        Resource  = "${local.arn.ec2}:*"
        Condition = local.own[key]
      },
      {
        # Before Terraform releases a NAT gateway's address it takes it from the gateway, which is gone by then with all
        # that EC2 could decide about: the call names an association, and where there is one it is about an address.
        Sid       = "ForgottenAssociations"
        Effect    = "Allow"
        Action    = ["ec2:DisassociateAddress"]
        Resource  = "*"
        Condition = { Null = { "ec2:AllocationId" = "true" } }
      },
      {
        # The group that AWS makes with a VPC has no tags. It may be labelled and closed, but no rule be added to it.
        Sid       = "CloseDefaultGroup"
        Effect    = "Allow"
        Action    = "ec2:RevokeSecurityGroup*"
        Resource  = ["${local.arn.ec2}:security-group/*", "${local.arn.ec2}:security-group-rule/*"]
        Condition = local.untagged
      },
      {
        # Terraform labels it before it closes it.
        Sid       = "CloseOwnGroups"
        Effect    = "Allow"
        Action    = "ec2:RevokeSecurityGroup*"
        Resource  = "${local.arn.ec2}:security-group/*"
        Condition = local.own[key]
      },
      {
        Sid      = "LabelDefaultGroup"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.arn.ec2}:security-group/*"
        Condition = merge(local.untagged, {
          StringEquals = merge(local.requested[key].StringEquals, { "aws:RequestTag/Name" = module.environment[owner.environment].names.default_security_group })
        })
      },
      {
        # When owner or github_repository changes in project.yaml; the tags that keep it closed stay.
        Sid       = "TagDefaultGroup"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = "${local.arn.ec2}:security-group/*"
        Condition = merge(local.own[key], { "ForAllValues:StringEquals" = { "aws:TagKeys" = ["owner", "repository"] } })
      },
      {
        # What Lambda leaves in the subnets, without tags, until it has forgotten a function: AWS refuses those in use.
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
        Sid       = "LeftoverInterfaces"
        Effect    = "Allow"
        Action    = ["ec2:DeleteNetworkInterface", "ec2:DetachNetworkInterface"]
        Resource  = ["${local.arn.ec2}:network-interface/*", "${local.arn.ec2}:instance/*"]
        Condition = local.untagged
      },
      {
        # The private names of interface endpoints.
        # https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
        Sid      = "NameEndpoints"
        Effect   = "Allow"
        Action   = "route53:AssociateVPCWithHostedZone"
        Resource = "${local.arn.route53}:hostedzone/*"
      },
    ]
  }

  # Of the database and of each service too.
  apply_groups = {
    for key, owner in local.owners : key => [
      {
        Sid       = "MakeSecurityGroups"
        Effect    = "Allow"
        Action    = "ec2:CreateSecurityGroup"
        Resource  = "${local.arn.ec2}:security-group/*"
        Condition = local.made[key]
      },
      {
        Sid       = "InTheNetwork"
        Effect    = "Allow"
        Action    = "ec2:CreateSecurityGroup"
        Resource  = "${local.arn.ec2}:vpc/*"
        Condition = local.of_environment[key]
      },
      {
        Sid    = "OwnSecurityGroups"
        Effect = "Allow"
        Action = [
          "ec2:AuthorizeSecurityGroup*", "ec2:DeleteSecurityGroup",
          "ec2:RevokeSecurityGroup*",                                                 # of previews, which have no CloseOwnGroups
          "ec2:ModifySecurityGroupRules", "ec2:UpdateSecurityGroupRuleDescriptions*", # when rules change
        ]
        Resource  = "${local.arn.ec2}:security-group/*"
        Condition = merge(local.own[key], local.not_default[key])
      },
      {
        # A rule is in a group, and only in an own one can it be made or changed.
        Sid      = "OwnSecurityGroupRules"
        Effect   = "Allow"
        Action   = ["ec2:AuthorizeSecurityGroup*", "ec2:ModifySecurityGroupRules", "ec2:RevokeSecurityGroup*"]
        Resource = "${local.arn.ec2}:security-group-rule/*"
      },
      {
        # EC2 documents ec2:CreateAction for what creates, and a rule is authorized.
        Sid       = "TagRules"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = "${local.arn.ec2}:security-group-rule/*"
        Condition = local.made[key]
      },
      {
        # Only what the same call makes: nobody's resource becomes one's own by a tag.
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
        Sid       = "TagWhatIsMade"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = "${local.arn.ec2}:*"
        Condition = merge(local.requested[key], { StringLike = merge(try(local.requested[key].StringLike, {}), { "ec2:CreateAction" = "*" }) })
      },
      {
        # When tags change.
        Sid       = "TagOwn"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags", "ec2:DeleteTags"]
        Resource  = "${local.arn.ec2}:*"
        Condition = merge(local.own[key], local.not_default[key])
      },
    ]
  }

  # The group that LabelDefaultGroup labels stays closed.
  not_default = {
    for key, owner in local.owners : key => {
      StringNotEquals = { "aws:ResourceTag/Name" = module.environment[owner.environment].names.default_security_group }
    }
  }
}
