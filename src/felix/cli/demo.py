"""``felix demo``: five synthetic clients whose apps use tokens.

Everything here has a fixed id or key, so making it again changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from felix.cli.demo_app import seed_app
from felix.cli.installation import keep_secret, recorded_processes
from felix.cli.options import Acting, Showing
from felix.cli.output import print_json, tokens
from felix.cli.session import Session
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.bootstrap import Endpoints
    from felix.domain.base import Command
    from felix.eventstore.tenants import TenantPlace

DEMO = UUID("7a1c0c4e-55d5-5b6f-9a63-2f8f6a0c9d11")
KEYS_FILE = "demo.json"

#: Short name, name, and what was bought at the beginning, in tokens; the last one buys too little and runs dry.
CLIENTS: tuple[tuple[str, str, int], ...] = (
    ("bloom-and-vine", "Bloom & Vine Florists", 40_000),
    ("harbor-coffee", "Harbor Coffee Roasters", 60_000),
    ("northside-bikes", "Northside Bike Repair", 30_000),
    ("casa-luna", "Casa Luna Interiors", 50_000),
    ("tidewater-legal", "Tidewater Legal", 2_000),
)
CLIENT_WITH_AN_APP = "bloom-and-vine"
PROMO_TOKENS = 1_000
METERS = (
    ("llm.input_tokens", "token", "Tokens that went into a language model"),
    ("llm.output_tokens", "token", "Tokens that came out of a language model"),
    ("emails.sent", "email", "E-mails that the automator sent"),
    ("orders.synced", "order", "Orders that were fetched from a shop"),
    ("reports.generated", "report", "Reports that were made"),
)
#: Millitokens for 1,000 input and 1,000 output tokens.
MODELS = {"gpt-4o": (2_500, 10_000), "claude-sonnet": (3_000, 15_000), "llama-3-8b": (150, 600)}
MODULES = {"emails.sent": 50, "orders.synced": 20}


@dataclass(frozen=True)
class DemoClient:
    """A synthetic client, its key and its account, and the person who owns it."""

    slug: str
    name: str
    tenant_id: str
    key: str
    account_id: str
    available_mtok: int
    owner_email: str
    owner_password: str


def demo(*, showing: Showing | None = None) -> None:
    """Make five synthetic tenants and let their apps use tokens until Ctrl-C.

    Needs a running `felix up`. Making them again changes nothing; with --json only makes them and prints their keys.
    """
    from felix import bootstrap
    from felix.cli.demo_traffic import run

    showing = showing or Showing()
    settings = Settings()
    clients = seed(settings, bootstrap.Endpoints.locate(settings))
    if showing.json:
        print_json([asdict(client) for client in clients])
        return
    url = recorded_processes(settings.data_dir).get("url") or f"http://{settings.host}:{settings.port}"
    show(clients, url)
    print("Their apps use tokens now. Ctrl-C stops that.", flush=True)
    run(url, settings.data_dir, should_stop=lambda: False)


def seed(settings: Settings, endpoints: Endpoints, say: Callable[[str], None] | None = None) -> list[DemoClient]:
    """Make the clients, unless they are there, and answer them."""
    began_at = time.monotonic()
    session = Session(endpoints, settings)
    try:
        clients = [_seed_client(session, settings.data_dir, *each) for each in CLIENTS]
    finally:
        session.close()
    _keep(settings.data_dir, clients)
    if say is not None:
        say(f"{len(clients)} synthetic clients are ready after {time.monotonic() - began_at:.1f} s")
    return clients


def show(clients: list[DemoClient], url: str) -> None:
    """Say who they are, and how to ask as one of them."""
    print("Synthetic clients:\n")
    for client in clients:
        print(f"  {client.slug:<16} {client.key}  {tokens(client.available_mtok):>10} tokens")
        print(f"  {'':<16} {client.owner_email}, password {client.owner_password}")
        print(f'    curl -s {url}/v1/token-accounts/{client.account_id} -H "Authorization: Bearer {client.key}"\n')


def known_clients(data_dir: Path) -> dict[str, dict[str, Any]]:
    """The clients that were made here before, by short name."""
    with suppress(OSError, ValueError):
        found: dict[str, dict[str, Any]] = json.loads((data_dir / KEYS_FILE).read_text())
        return found
    return {}


def _keep(data_dir: Path, clients: list[DemoClient]) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    keep_secret(data_dir / KEYS_FILE, json.dumps({client.slug: asdict(client) for client in clients}))


def _seed_client(session: Session, data_dir: Path, slug: str, name: str, bought_tokens: int) -> DemoClient:
    from felix.application.api_keys import make_key
    from felix.domain.ledger.messages import GrantTokens, OpenTokenAccount
    from felix.domain.ledger.token_account import TokenAccount
    from felix.domain.metering.messages import DefineMeter
    from felix.domain.tenancy.tenant import OnboardTenant
    from felix.projections.history import aggregate_at

    place = session.directory.pin(uuid5(DEMO, slug), slug, name)
    _once(session, place, "onboard", OnboardTenant(slug=slug, name=name))
    for meter, unit, description in METERS:
        _once(session, place, f"meter-{meter}", DefineMeter(name=meter, unit=unit, description=description))
    _once(session, place, "rates", _rate_card())
    opened = _once(session, place, "open", OpenTokenAccount(name="main"))
    account_id: str = opened["account_id"]
    promo = GrantTokens(
        account_id=account_id, amount_mtok=1000 * PROMO_TOKENS, kind="promo", priority=10, reason="welcome"
    )
    _once(session, place, "promo", promo)
    bought = GrantTokens(
        account_id=account_id, amount_mtok=1000 * bought_tokens, cost_minor=bought_tokens // 10, currency="EUR"
    )
    _once(session, place, "bought", bought)
    if slug == CLIENT_WITH_AN_APP:
        seed_app(session, place, account_id)
    account = session.ask(place, lambda tx: aggregate_at(tx, TokenAccount, account_id))
    key = known_clients(data_dir).get(slug, {}).get("key")
    if key is None:
        key, _ = make_key(session.performer, place.tenant_id, "demo", actor="system:demo")
    email = f"owner@{slug}.example"
    password = _seed_owner(session, place, email, name)
    available_mtok = account.balance["available_mtok"] if account else 0
    return DemoClient(slug, name, str(place.tenant_id), key, account_id, available_mtok, email, password)


def _seed_owner(session: Session, place: TenantPlace, email: str, called: str) -> str:
    """The person who owns a client, invited and accepted, and their password.

    It follows from the root key, so it is the same whenever it is asked for and nobody else's.
    """
    from felix import bootstrap
    from felix.adapters.passwords import Argon2Passwords
    from felix.application.identity import Invited
    from felix.domain.identity.invitation import SendInvitation

    acting = Acting(actor="system:demo", key="demo-owner")
    sent = session.invitation(place.tenant_id, called, email, acting, by_mail=False)
    command = SendInvitation(
        role="client_owner", invitation_id=sent.invitation_id, email_commitment=sent.email_commitment
    )
    session.send(place, command, acting, enclosed=sent.enclosed)
    invited = Invited(place.tenant_id, place.partition, sent.invitation_id, email)
    root_keys = bootstrap.root_keys(session.settings)
    password = urlsafe_b64encode(root_keys.index("demo-password", email))[:20].decode()
    passwords = Argon2Passwords()
    try:
        password_hash = asyncio.run(passwords.accept(password, (email,)))
    finally:
        passwords.close()
    vault = bootstrap.open_vault(session.settings)()
    for step in (
        invited.registration(vault, root_keys, f"Owner of {called}", password_hash),
        invited.acceptance(invited.user_id),
    ):
        _ = session.performer.perform_blocking(*step).result
    return password


def _once(session: Session, place: TenantPlace, what: str, command: Command) -> dict[str, Any]:
    return session.send(place, command, Acting(actor="system:demo", key=f"demo-{what}")).result


def _rate_card() -> Command:
    from felix.domain.metering.messages import PublishRateCard

    prices: list[dict[str, Any]] = []
    for model, (for_input, for_output) in MODELS.items():
        for meter, price_mtok in (("llm.input_tokens", for_input), ("llm.output_tokens", for_output)):
            prices.append({"meter": meter, "model": model, "kind": "per_unit", "price_mtok": price_mtok, "per": 1_000})
    prices += [{"meter": meter, "kind": "per_unit", "price_mtok": each} for meter, each in MODULES.items()]
    prices.append(
        {
            "meter": "reports.generated",
            "kind": "tiered",
            "tiers": [{"up_to": 10, "price_mtok": 2_000}, {"price_mtok": 1_500}],
        }
    )
    # In force since long ago, so that usage of the past can be imported too.
    return PublishRateCard.model_validate(
        {"prices": prices, "note": "demo prices", "effective_from": "2020-01-01T00:00:00Z"}
    )
