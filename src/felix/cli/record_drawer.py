"""An entity of an app that runs for a client, as the commands about its records find it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from felix.cli.errors import UsageError
from felix.cli.session import Session

if TYPE_CHECKING:
    from felix.application.records import Sealing
    from felix.domain.apps.entities import Field
    from felix.domain.apps.shapes import CompiledApp, Shape
    from felix.eventstore.tenants import TenantPlace
    from felix.projections.tenant_tx import TenantTx

Environment = Literal["production", "sandbox"]
InApp = Annotated[str, Parameter(help="The app, as felix apps list names it.")]
OfEntity = Annotated[str, Parameter(help="What is kept, such as deal.")]
RecordId = Annotated[str, Parameter(help="Its id, as felix records list shows it.")]
Expected = Annotated[
    int | None,
    Parameter(help="The version that you have seen: nothing happens if it is another by now.", show_default=False),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Where a record is kept, and who pays for it."""

    account: str | None = None
    "The token account that pays; without it the client's oldest."
    environment: Environment = "production"
    "Where the app runs."


@dataclass(frozen=True, slots=True)
class Drawer:
    """An entity of an app that runs for a client."""

    session: Session
    client: TenantPlace
    name: str
    environment: Environment
    app: CompiledApp
    shape: Shape

    @classmethod
    def open(cls, session: Session, tenant: str | None, name: str, entity: str, environment: Environment) -> Drawer:
        from felix import bootstrap
        from felix.application.records import no_app, shape_of
        from felix.projections import records

        client = session.tenant(tenant)
        pointer = session.ask(client, lambda tx: records.pointer(tx, name, environment))
        if pointer is None:
            raise no_app(name)
        compiled = bootstrap.open_releases(session.settings).app(pointer.stable)
        return cls(session, client, name, environment, compiled, shape_of(compiled, entity))

    def sealing(self) -> Sealing:
        """How what is personal is put apart."""
        from felix import bootstrap
        from felix.application.records import Sealing

        settings = self.session.settings
        return Sealing(lambda: bootstrap.root_keys(settings), bootstrap.open_vault(settings))

    def values(self, given: Sequence[str]) -> dict[str, Any]:
        """``title=Bread value=12500``, each read as its field is typed; nothing behind the sign is no value."""
        found = {}
        for each in given:
            name, sign, text = each.partition("=")
            if not sign:
                raise UsageError(f"{each} is not FIELD=VALUE.")
            found[name] = _read(name, text, self.shape.shown.get(name))
        return found

    def fields(self, account: str | None) -> dict[str, Any]:
        """Where a command is at home, and who pays."""
        from felix.projections import balances

        named = self.session.account_id(self.client, account) if account else None
        return {
            "app": self.name,
            "environment": self.environment,
            "entity": self.shape.name,
            "account_id": named or self.session.ask(self.client, balances.paying_account),
        }

    async def shown(self, tx: TenantTx, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows as people see them."""
        from felix import bootstrap
        from felix.projections import record_rows

        return await record_rows.shown(tx, rows, self.app, self.shape, bootstrap.open_vault(self.session.settings))


def _read(name: str, text: str, field: Field | None) -> Any:
    if not text:
        return None
    if field is None or field.type not in ("integer", "decimal", "money", "boolean", "choices"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f'{name} takes JSON such as 12500, true or ["a"], and {text} is none.') from None
