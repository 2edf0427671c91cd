"""The private key of the GitHub App is a secret of the platform, and each signature is a use of it."""

from __future__ import annotations

import pytest
from fake_github import new_private_key, running_github
from offices import PARTITIONS, Office, new_key

from felix import bootstrap
from felix.adapters.github import Scope
from felix.application.performer import new_context
from felix.application.secrets import User, setting
from felix.domain.errors import NotFound
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.settings import Settings


def test_a_token_costs_one_recorded_use_of_the_key(office: Office, database: str) -> None:
    private_key, root_key = new_private_key(), new_root_key()
    endpoints = bootstrap.Endpoints(database, None, None)
    directory = bootstrap.open_directory(endpoints, partitions=PARTITIONS)
    job = User("policy:of_the_test", "job:81")
    scope = Scope.of(["acme/shop"], {"contents": "write"})
    with running_github(private_key) as github:
        settings = Settings(_env_file=None, root_key=root_key, github_app_id="4711", github_api_url=github.url)
        secrets = bootstrap.open_secrets(endpoints, office.performer, directory.partition_of, settings)
        app = bootstrap.open_github(settings, secrets)
        assert app is not None
        installed = github.install("acme", "shop").number
        with pytest.raises(NotFound):
            app.token(installed, scope, job)
        fields = {"name": bootstrap.GITHUB_APP_KEY, "kind": "private_key"}
        command, enclosed = setting(RootKeys([root_key]), PLATFORM, fields, private_key)
        context = new_context(PLATFORM, new_key(), "founder:a", enclosed=enclosed)
        assert office.performer.perform_blocking(command, context).accepted
        first = app.token(installed, scope, job)
        assert app.token(installed, scope, job) is first
        app.close()
    directory.close()
    told = "select tenant_id, actor, convert_from(state, 'UTF8')::json from felix.events where type = %s"
    ((tenant_id, actor, used),) = office.rows(told, "secrets.secret_used")
    assert (tenant_id, actor) == (PLATFORM, "policy:of_the_test")
    assert (used["name"], used["purpose"], used["reference"]) == ("github.app-key", "github.app-jwt", "job:81")


def test_without_an_app_there_is_none(office: Office, database: str) -> None:
    settings = Settings(_env_file=None)
    secrets = bootstrap.open_secrets(bootstrap.Endpoints(database, None, None), office.performer, int, settings)  # type: ignore[arg-type]
    assert bootstrap.open_github(settings, secrets) is None
