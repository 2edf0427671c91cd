"""What jobs run apps with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from felix.adapters.mail import open_mailer
from felix.application.apps.at_work import AppsAtWork
from felix.bootstrap.books import open_directory
from felix.bootstrap.endpoints import Endpoints
from felix.bootstrap.keys import open_vault
from felix.bootstrap.objects import open_releases
from felix.bootstrap.people import MAIL_DIR
from felix.eventstore.app_measurements import AppMeasurements
from felix.eventstore.connections import connect
from felix.eventstore.effects import EffectBook
from felix.eventstore.vault_shelf import VaultShelf
from felix.projections.app_shelf import AppShelf
from felix.settings import Settings


@contextmanager
def open_apps_at_work(endpoints: Endpoints, settings: Settings) -> Iterator[AppsAtWork]:
    """What jobs run apps with; closed in order."""
    from felix.adapters.webhooks import Webhooks

    reader, projector = endpoints.as_role("felix_reader"), endpoints.as_role("felix_projector")
    writer = endpoints.writer_url
    smtp_url = settings.smtp_url.get_secret_value() if settings.smtp_url else None
    with (
        closing(AppShelf(lambda: connect(reader))) as shelf,
        closing(EffectBook(lambda: connect(projector))) as book,
        closing(AppMeasurements(lambda: connect(writer))) as measurements,
        closing(VaultShelf(lambda: connect(reader), open_vault(settings))) as vault,
        closing(open_directory(endpoints, partitions=settings.partitions)) as directory,
    ):
        yield AppsAtWork(
            releases=open_releases(settings),
            shelf=shelf,
            effects=book,
            mailer=open_mailer(smtp_url, settings.mail_from, settings.data_dir / MAIL_DIR),
            webhooks=Webhooks(private=settings.private_sources),
            measurements=measurements,
            personal=vault.open,
            partition_of=directory.partition_of,
        )
