"""What planners may read, and the secrets and the GitHub App with which it is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from felix.adapters.pdf import read_pdf
from felix.application.documents import DocumentDesk, SourceReader
from felix.application.performer import Performer
from felix.application.secrets import Secrets, TenantSecretStore, User
from felix.bootstrap.endpoints import Endpoints
from felix.bootstrap.keys import following_root_keys
from felix.bootstrap.objects import open_objects
from felix.domain.context.reading import Reading
from felix.domain.errors import Invalid
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.connections import connect
from felix.eventstore.context_index import ContextIndex
from felix.eventstore.foreign_schema import read_schema
from felix.eventstore.tenant_secrets import MarkShelf, SecretShelf
from felix.settings import Settings

if TYPE_CHECKING:
    # Imported where they are used: an HTTP client takes longer to load than most commands take.
    from felix.adapters.github import GitHubApp

#: The secret of the platform that is the private key of its GitHub App.
GITHUB_APP_KEY = "github.app-key"


class NoGitHubApp(Invalid):
    """Felix is no GitHub App here. Set FELIX_GITHUB_APP_ID and the secret github.app-key of the platform."""


def open_secrets(
    endpoints: Endpoints, performer: Performer, partition_of: Callable[[UUID], int], settings: Settings
) -> TenantSecretStore:
    """Tenants' secrets, for the adapters of a worker; who uses one is written down first."""
    url = endpoints.as_role("felix_projector")
    return TenantSecretStore(performer, SecretShelf(lambda: connect(url)), partition_of, following_root_keys(settings))


def open_github(settings: Settings, secrets: Secrets) -> GitHubApp | None:
    """The GitHub App that Felix acts as, if there is one; each signature uses its key, a secret of the platform."""
    if settings.github_app_id is None:
        return None

    from felix.adapters.github import GitHubApp

    def private_key(user: User) -> AbstractContextManager[str]:
        return secrets.use(PLATFORM, GITHUB_APP_KEY, purpose="github.app-jwt", user=user)

    return GitHubApp(settings.github_app_id, private_key, api_url=settings.github_api_url)


def open_context_index(endpoints: Endpoints) -> ContextIndex:
    """The index of what planners may read."""
    writer, reader = endpoints.writer_url, endpoints.as_role("felix_reader")
    return ContextIndex(lambda: connect(writer), lambda: connect(reader))


def open_documents(endpoints: Endpoints, settings: Settings) -> DocumentDesk:
    """Where documents are read and indexed; close its index."""
    marks = open_marks(endpoints, settings)
    return DocumentDesk(open_context_index(endpoints), cache(lambda: open_objects(settings)), read_pdf, marks.of)


def open_marks(endpoints: Endpoints, settings: Settings) -> MarkShelf:
    """What clients' secrets are found by in texts."""
    reader = endpoints.as_role("felix_reader")
    return MarkShelf(lambda: connect(reader), following_root_keys(settings))


def open_source_reader(settings: Settings) -> SourceReader:
    """Reads databases and repositories for a worker."""

    def read(secrets: Secrets, tenant_id: UUID, source: Mapping[str, Any], user: User) -> Reading:
        if source["kind"] == "database":
            from felix.adapters.safe_addresses import safe_addresses

            safe = partial(safe_addresses, private=settings.private_sources)
            with secrets.use(tenant_id, source["secret"], purpose="documents.read-schema", user=user) as url:
                return Reading.of(read_schema(url, safe))

        from felix.adapters.repository_reader import RepositoryReader

        github = open_github(settings, secrets)
        if github is None:
            raise NoGitHubApp()
        try:
            return RepositoryReader(github).read(source["repository"], source["branch"], user)
        finally:
            github.close()

    return read
