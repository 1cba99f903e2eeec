# Which AWS account each environment lives in. The project's own account has the build repository, and what lives nowhere
# else. Roles and state are an account's, so everything of a project in one account is in one region.

locals {
  home_account = try(tostring(coalesce(local.settings.aws_account_id)), "")
  home_region  = try(tostring(coalesce(local.settings.aws_region)), "")

  # What an environment says of its account, with the project's where it says nothing.
  places = {
    for name, environment in local.environments : name => {
      account          = try(tostring(coalesce(environment.aws_account_id)), local.home_account)
      region           = try(tostring(coalesce(environment.aws_region)), local.home_region)
      profile          = try(tostring(coalesce(environment.aws_profile)), "")
      account_settings = try(tostring(coalesce(environment.account_settings)), local.home_place.account_settings)
    }
  }
  home_place = {
    account          = local.home_account
    region           = local.home_region
    profile          = try(tostring(coalesce(local.settings.aws_profile)), "")
    account_settings = try(tostring(coalesce(local.settings.account_settings)), "")
  }
  # Those of an account; checks.tf refuses two that differ.
  places_of = {
    for account in distinct(concat([local.home_account], values(local.places)[*].account)) :
    account => [for place in concat([local.home_place], values(local.places)) : place if place.account == account]
  }
  regions = { for account, places in local.places_of : account => places[0].region }

  accounts = {
    for account, places in local.places_of : account => {
      region       = places[0].region
      profile      = try([for place in places : place.profile if place.profile != ""][0], "")
      environments = sort([for name, place in local.places : name if place.account == account])
    }
  }

  # The account that is asked for.
  account          = var.account != null ? var.account : try(local.places[var.environment].account, local.home_account)
  account_settings = try(local.places_of[local.account][0].account_settings, "")

  # The registry of images, which is the project's: a name, so that whoever may pull needs to look for nothing.
  registry = {
    account_id = local.home_account
    region     = local.home_region
    arn        = "arn:${local.partition}:ecr:${local.home_region}:${local.home_account}:repository"
    host       = "${local.home_account}.dkr.ecr.${local.home_region}.${local.dns_suffix}"
  }

  # The zone in Route 53 that has an environment's records: the domain's in the account of prod, where there is only one
  # account in this one; elsewhere the environment's own, to which the domain's delegates.
  zone = local.host == "" || length(local.accounts) == 1 || try(local.places["prod"].account, "") == local.account ? local.domain : "${local.environment}.${local.domain}"

  account_contradictions = concat(
    flatten([
      for account, places in local.places_of : [
        for setting in ["region", "profile", "account_settings"] :
        "environments: ${join(", ", local.accounts[account].environments)}: account ${account} has one ${local.account_words[setting]}, not ${join(" and ", distinct([for place in places : place[setting] if place[setting] != ""]))}"
        if length(distinct([for place in places : place[setting] if place[setting] != ""])) > 1
      ]
    ]),
    [
      for name, place in local.places : "environments.${name}.aws_region: ${place.region} is in another partition than the project's ${local.home_region}"
      if can(regex("^${local.region_pattern}$", place.region)) && (local.partition_of[place.region][0] != local.partition_of[local.home_region][0])
    ],
    [
      # Endpoints of a VPC lead to their own region.
      for name, place in local.places : "environments.${name}.aws_region: images are in ${local.home_region}, and without internet_egress: nat-gateway nothing in ${place.region} can pull them"
      if can(regex("^${local.region_pattern}$", place.region)) && place.account != local.home_account && place.region != local.home_region && try(local.settings.internet_egress, "nat-gateway") == "none"
    ],
    [
      for account, settings in local.accounts : "aws_profile of account ${account}: this is the name of a key: what project.yaml holds, everybody reads"
      if can(regex("^A[A-Z]IA[A-Z0-9]{12,}$", settings.profile))
    ],
    var.account == null || contains(keys(local.places_of), coalesce(var.account, "-")) ? [] : [
      "account ${coalesce(var.account, "-")}: not in project.yaml, which has ${join(", ", keys(local.places_of))}"
    ],
  )
  account_words = { region = "aws_region", profile = "aws_profile", account_settings = "account_settings" }
  partition_of = {
    for region in concat([local.home_region], values(local.places)[*].region) :
    region => startswith(region, "cn-") ? "aws-cn" : startswith(region, "us-gov-") ? "aws-us-gov" : "aws"...
  }
}
