"""Who may do what: one table of actions, roles and conditions. What is not in it nobody may do.

A command's action is its name; a read's is the noun that is read. :func:`grant_of` is asked at every door, every
endpoint names its action, the page ``docs/access.md`` is made from the table, and the tests send every request as
every role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from felix.domain.identity.roles import HUMAN_ROLES, PLATFORM_ROLES, ROLES, Role

#: ``stepped_up``: a person has proved again, within the last minutes, who they are; machines' keys need not.
Condition = Literal["stepped_up"]
#: Where an action takes place: in the tenant that the caller is in or names, on the platform itself, about the
#: caller's own person whatever they are a member of, or in front of the door, before anybody says who they are.
Place = Literal["tenant", "platform", "own", "door"]


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done, and what each role needs for it; a role that is missing may not do it."""

    name: str
    place: Place
    writes: bool
    grants: Mapping[Role, frozenset[Condition]]
    #: Shows what is the client's: when staff read it, the client's access log says so.
    watched: bool = False

    def needs(self, role: Role) -> str:
        """What a role needs for it, in words: yes is nothing more, and nothing is never."""
        conditions = self.grants.get(role)
        if conditions is None:
            return ""
        return " and ".join(sorted(condition.replace("_", " ") for condition in conditions)) or "yes"


FREELY: frozenset[Condition] = frozenset()
STEPPED_UP: frozenset[Condition] = frozenset({"stepped_up"})

EVERYBODY: frozenset[Role] = frozenset(ROLES)
#: Everybody but machines.
PEOPLE: frozenset[Role] = HUMAN_ROLES
#: Who spends a client's tokens and runs its apps.
OWNERS: frozenset[Role] = frozenset({"founder", "client_owner", "service"})
#: Who decides for a client in person.
HEADS: frozenset[Role] = frozenset({"founder", "client_owner"})
#: Who works for a client, in whatever part.
STAFF: frozenset[Role] = OWNERS | {"client_approver", "client_member"}
#: Who asks for changes, and who of them decides: people, whatever key they have, and no service.
CLIENTS: frozenset[Role] = STAFF - {"service"}
DECIDERS: frozenset[Role] = CLIENTS - {"client_member"}
FOUNDERS: frozenset[Role] = PLATFORM_ROLES
FOUNDER: frozenset[Role] = frozenset({"founder"})
#: What only Felix itself does, at no door.
NOBODY: frozenset[Role] = frozenset()


def read(
    name: str,
    roles: Iterable[Role],
    condition: frozenset[Condition] = FREELY,
    *,
    place: Place = "tenant",
    watched: bool = False,
) -> Action:
    """A row of the table: something that changes nothing. ``watched`` where it shows what is the client's."""
    return Action(name, place, False, {role: condition for role in ROLES if role in roles}, watched)


def write(
    name: str, roles: Iterable[Role], condition: frozenset[Condition] = FREELY, *, place: Place = "tenant"
) -> Action:
    """A row of the table: something that changes the books, or who may open them."""
    return Action(name, place, True, {role: condition for role in ROLES if role in roles})


TABLE: tuple[Action, ...] = (
    # What everybody in a tenant sees.
    read("ledger.read", EVERYBODY, watched=True),
    read("metering.read", EVERYBODY, watched=True),
    read("log.read", EVERYBODY, watched=True),
    read("audit.read", EVERYBODY, watched=True),
    read("jobs.read", EVERYBODY),
    read("live.follow", EVERYBODY, watched=True),
    read("metering.quote_usage", STAFF),
    # What spends a client's tokens, and what limits that.
    write("ledger.open_token_account", OWNERS),
    write("ledger.close_token_account", OWNERS),
    write("ledger.hold_tokens", OWNERS),
    write("ledger.capture_hold", OWNERS),
    write("ledger.release_hold", OWNERS),
    write("ledger.extend_hold", OWNERS),
    write("ledger.debit_tokens", OWNERS),
    write("ledger.transfer_tokens", OWNERS),
    write("ledger.book_expiries", OWNERS),
    write("ledger.set_spend_cap", OWNERS),
    write("ledger.remove_spend_cap", OWNERS),
    write("metering.debit_usage_batch", OWNERS),
    write("ledger.announce_lot_expiry", NOBODY),
    # What makes, moves or takes tokens by hand: overrides.
    write("ledger.grant_tokens", FOUNDER, STEPPED_UP),
    write("ledger.void_lot", FOUNDER, STEPPED_UP),
    write("ledger.expire_lot", FOUNDER, STEPPED_UP),
    write("ledger.extend_lot", FOUNDER, STEPPED_UP),
    write("ledger.claw_back_tokens", FOUNDER, STEPPED_UP),
    write("ledger.reverse_debit", FOUNDER, STEPPED_UP),
    write("ledger.freeze_lot", FOUNDER, STEPPED_UP),
    write("ledger.unfreeze_lot", FOUNDER, STEPPED_UP),
    write("ledger.freeze_token_account", FOUNDER, STEPPED_UP),
    write("ledger.unfreeze_token_account", FOUNDER, STEPPED_UP),
    write("ledger.set_credit_limit", FOUNDER, STEPPED_UP),
    write("ledger.propose_adjustment", FOUNDER, STEPPED_UP),
    write("ledger.approve_adjustment", FOUNDER, STEPPED_UP),
    write("ledger.reject_adjustment", FOUNDER, STEPPED_UP),
    # What a client pays for, and how much.
    write("metering.define_meter", FOUNDER),
    write("metering.publish_rate_card", FOUNDER),
    # What planners may read of a client, beside its apps; staff pays for indexing it.
    read("documents.read", EVERYBODY, watched=True),
    write("documents.add_document", STAFF),
    write("documents.replace_document", STAFF),
    write("documents.remove_document", STAFF),
    write("documents.connect_source", HEADS, STEPPED_UP),
    write("documents.refresh_source", STAFF),
    write("documents.record_reading", NOBODY),
    write("documents.record_failed_reading", NOBODY),
    # What of a client's apps runs where, and how they change. People decide; what Felix does by itself nobody asks for.
    read("apps.read", EVERYBODY, watched=True),
    read("changes.read", EVERYBODY, watched=True),
    read("changes.export", HEADS | {"client_approver"}, watched=True),
    read("modules.read", EVERYBODY),
    write("changes.request_change", CLIENTS),
    write("changes.answer_clarification", CLIENTS),
    write("changes.revise_plan", CLIENTS),
    write("changes.raise_ceiling", CLIENTS),
    write("changes.cancel_change", CLIENTS),
    write("changes.approve_change", DECIDERS),
    write("changes.reject_change", DECIDERS),
    write("changes.withdraw_approval", DECIDERS),
    write("changes.deploy_change", DECIDERS),
    write("changes.abort_deploy", DECIDERS),
    write("changes.pause_deploy", DECIDERS),
    write("changes.resume_deploy", DECIDERS),
    write("changes.request_rollback", DECIDERS),
    write("changes.override_policy", FOUNDER, STEPPED_UP),
    write("apps.create_app", HEADS),
    write("apps.force_unlock", FOUNDER, STEPPED_UP),
    write("apps.force_rollback", FOUNDER, STEPPED_UP),
    write("apps.lift_quarantine", FOUNDER, STEPPED_UP),
    write("apps.confirm_override", FOUNDER, STEPPED_UP),
    write("apps.close_review", FOUNDER, STEPPED_UP),
    write("apps.follow_repository", NOBODY),
    write("changes.start_ingestion", NOBODY),
    write("changes.record_ingested", NOBODY),
    write("changes.start_planning", NOBODY),
    write("changes.hold_for_request", NOBODY),
    write("changes.settle_request", NOBODY),
    write("changes.record_plan", NOBODY),
    write("changes.ask_clarification", NOBODY),
    write("changes.record_diff", NOBODY),
    write("changes.start_checks", NOBODY),
    write("changes.record_checks", NOBODY),
    write("changes.record_pull_request", NOBODY),
    write("changes.request_approval", NOBODY),
    write("changes.record_export", NOBODY),
    write("changes.start_deploy", NOBODY),
    write("changes.start_canary", NOBODY),
    write("changes.record_measurement", NOBODY),
    write("changes.hold_canary", NOBODY),
    write("changes.promote", NOBODY),
    write("changes.succeed", NOBODY),
    write("changes.start_rollback", NOBODY),
    write("changes.finish_rollback", NOBODY),
    write("changes.block_rollback", NOBODY),
    write("changes.fail_step", NOBODY),
    write("changes.expire_change", NOBODY),
    write("changes.supersede_change", NOBODY),
    write("changes.rebase_change", NOBODY),
    write("changes.record_conflict", NOBODY),
    write("changes.unblock_change", NOBODY),
    # API keys: of a client in the client, of the founders in the platform.
    read("api_keys.read", HEADS | {"founder_readonly", "auditor"}, watched=True),
    write("identity.create_api_key", HEADS, STEPPED_UP),
    write("identity.rotate_api_key", HEADS, STEPPED_UP),
    write("identity.revoke_api_key", HEADS),
    # A tenant's secrets: set and never shown; the platform's are in its own tenant.
    read("secrets.read", HEADS | {"founder_readonly", "auditor"}, watched=True),
    write("secrets.set_secret", HEADS, STEPPED_UP),
    write("secrets.remove_secret", HEADS, STEPPED_UP),
    write("secrets.rotate_tenant_key", FOUNDER, STEPPED_UP),
    write("secrets.seal_secrets_anew", NOBODY),
    write("secrets.make_secret", NOBODY),
    write("secrets.end_secret_version", NOBODY),
    write("secrets.use_secret", NOBODY),
    # What staff read of a client, and with whose eyes: for the client to see.
    read("access_log.read", HEADS | {"founder_readonly", "auditor"}, watched=True),
    read("impersonations.read", EVERYBODY),
    write("access.begin_impersonation", FOUNDER, STEPPED_UP),
    write("access.end_impersonation", FOUNDER),
    write("access.record_read", NOBODY),
    # Who is a member of what: of a client in the client, of the founders in the platform.
    read("members.read", PEOPLE, watched=True),
    read("invitations.read", HEADS | {"founder_readonly", "auditor"}, watched=True),
    write("members.send_invitation", HEADS, STEPPED_UP),
    write("members.withdraw_invitation", HEADS),
    write("members.change_role", HEADS, STEPPED_UP),
    write("members.end_membership", HEADS, STEPPED_UP),
    read("users.read", FOUNDERS, place="platform", watched=True),
    write("identity.disable_user", FOUNDER, STEPPED_UP, place="platform"),
    write("identity.enable_user", FOUNDER, STEPPED_UP, place="platform"),
    write("identity.erase_user", FOUNDER, STEPPED_UP, place="platform"),
    read("me.read", EVERYBODY, place="own"),
    read("my_data.read", PEOPLE, place="own"),
    write("members.accept_invitation", EVERYBODY, place="door"),
    write("identity.register_user", NOBODY, place="platform"),
    write("members.expire_invitation", NOBODY),
    # What is personal about a client's own customers; of users it is above.
    write("privacy.erase_personal_data", HEADS, STEPPED_UP),
    # What a client keeps in its apps; which of it is for which role, the app says.
    read("records.read", EVERYBODY, watched=True),
    write("records.create_record", STAFF),
    write("records.change_record", STAFF),
    write("records.take_step", STAFF),
    write("records.remove_record", STAFF),
    write("records.restore_record", STAFF),
    # What apps did by themselves, and what was worked out of their records.
    read("app_runs.read", EVERYBODY, watched=True),
    read("app_reports.read", EVERYBODY, watched=True),
    write("automation.run_automations", NOBODY),
    write("automation.plan_schedules", NOBODY),
    write("automation.run_schedule", NOBODY),
    write("automation.settle_effect", NOBODY),
    # The platform.
    write("tenancy.onboard_tenant", FOUNDER, place="platform"),
    read("tenancy.read", FOUNDERS, place="platform"),
    read("projections.read", FOUNDERS, place="platform"),
    read("operations.read", FOUNDERS, place="platform"),
    write("projections.rebuild", FOUNDER, place="platform"),
    write("projections.retry", FOUNDER, place="platform"),
    write("jobs.retry", FOUNDER, place="platform"),
    write("jobs.cancel", FOUNDER, place="platform"),
    # What people do about their own account, whatever they are a member of.
    read("sessions.read", PEOPLE, place="own"),
    write("identity.step_up_session", PEOPLE, place="own"),
    write("identity.sign_out", PEOPLE, place="own"),
    write("identity.end_session", PEOPLE, place="own"),
    write("identity.end_sessions", PEOPLE, place="own"),
    write("identity.set_password", PEOPLE, place="own"),
    write("identity.enrol_second_factor", PEOPLE, place="own"),
    write("identity.remove_second_factor", PEOPLE, STEPPED_UP, place="own"),
    write("identity.issue_recovery_codes", PEOPLE, STEPPED_UP, place="own"),
    # In front of the door.
    write("identity.begin_session", EVERYBODY, place="door"),
    write("identity.send_link", EVERYBODY, place="door"),
    write("identity.reset_password", EVERYBODY, place="door"),
    write("identity.book_end_of_sessions", NOBODY),
    write("identity.bind_identity", NOBODY),
    read("health.read", EVERYBODY, place="door"),
)

ACTIONS: dict[str, Action] = {row.name: row for row in TABLE}
if len(ACTIONS) != len(TABLE):
    raise TypeError("an action is in the table twice")


def grant_of(action: str, role: Role) -> frozenset[Condition] | None:
    """What a role needs for an action; None where it may not do it at all."""
    return ACTIONS[action].grants.get(role)
