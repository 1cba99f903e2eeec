"""What GitHub's jobs type, and what an administrator types about GitHub: `ops github-…`.

Workflows only name these commands, so that what they do can be run and tested without GitHub.
    api         GitHub's own command-line program, and what a job gives to its next steps
    changes     from changed files to what is tested and planned
    plans       plans that one job makes and another shows, or applies
    jobs        settings, image, sign-in
    pulls       the comment with the plans of a pull request; drift
    delivery    what may be deployed, and the deployment
    previews    services of pull requests
    repository  environments, rules, label and variable of the repository
"""

from ops.github import delivery, jobs, previews, pulls, repository

COMMANDS = (*jobs.COMMANDS, *pulls.COMMANDS, *delivery.COMMANDS, *previews.COMMANDS, *repository.COMMANDS)
