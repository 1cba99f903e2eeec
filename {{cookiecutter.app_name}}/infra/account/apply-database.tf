# What an apply role may do with its environment's database and role manager.

locals {
  apply_database = {
    for key, owner in local.owners : key => [
      {
        Sid    = "OwnDatabase"
        Effect = "Allow"
        Action = [
          "rds:AddTagsToResource", "rds:CreateDBCluster*", "rds:CreateDBInstance", "rds:CreateDBSubnetGroup", "rds:DeleteDBCluster",
          "rds:DeleteDBClusterParameterGroup", "rds:DeleteDBInstance", "rds:DeleteDBSubnetGroup", "rds:ModifyDBCluster",
          "rds:ModifyDBClusterParameterGroup",
          "rds:ModifyDBInstance", "rds:ModifyDBSubnetGroup", "rds:RemoveTagsFromResource", "rds:ResetDBClusterParameterGroup", # when these change
        ]
        Resource = flatten([
          for name in owner.names : [
            for kind in ["cluster", "cluster-pg", "cluster-snapshot", "db", "subgrp"] : "${local.arn.rds}:${kind}:${name}"
          ]
        ])
      },
      {
        # The default groups belong to AWS; a cluster and an instance name them.
        Sid    = "DefaultGroups"
        Effect = "Allow"
        Action = [
          "rds:CreateDBCluster",
          "rds:CreateDBInstance", "rds:ModifyDBCluster", "rds:ModifyDBInstance", # no parameter of theirs names one today
        ]
        Resource = ["${local.arn.rds}:og:default*", "${local.arn.rds}:pg:default*"]
      },
      {
        # Aurora keeps the master password in a secret that it makes in the caller's name, and then labels it with its
        # cluster. https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html
        Sid    = "SecretOfTheDatabase"
        Effect = "Allow"
        Action = [
          "secretsmanager:CreateSecret", "secretsmanager:TagResource",
          "secretsmanager:DescribeSecret", "secretsmanager:RotateSecret", # the page asks for them when the password is managed later
        ]
        Resource = "${local.arn.secretsmanager}:secret:rds!cluster-*"
        Condition = { StringEqualsIfExists = {
          "aws:ResourceTag/aws:rds:primaryDBClusterArn" = "${local.arn.rds}:cluster:${module.environment[owner.environment].names.database_cluster}"
        } }
      },
      {
        Sid    = "RoleManager"
        Effect = "Allow"
        Action = [
          "lambda:AddPermission", "lambda:CreateFunction", "lambda:DeleteFunction*", "lambda:InvokeFunction",
          "lambda:PutFunctionEventInvokeConfig", "lambda:RemovePermission", "lambda:TagResource",
          "lambda:UntagResource", "lambda:UpdateFunctionCode",                            # when tags and code change
          "lambda:UpdateFunctionConfiguration", "lambda:UpdateFunctionEventInvokeConfig", # when settings change
        ]
        Resource = "${local.arn.lambda}:function:${module.environment[owner.environment].names.role_manager}"
      },
    ]
  }
}
