"""Puts the rooms together: the only place that knows every one of them."""

from __future__ import annotations

from felix.bootstrap.apps import open_apps_at_work
from felix.bootstrap.books import (
    listen_to_doorbell,
    open_directory,
    open_doorbell,
    open_job_book,
    open_key_uses,
    open_performer,
    open_read_pool,
    open_schedule,
)
from felix.bootstrap.changes import REPOSITORIES_DIR, open_planners, open_stepper, opening_code_target
from felix.bootstrap.endpoints import (
    DATABASE_ERRORS,
    PROCESSES_FILE,
    RUN_FILE,
    Endpoints,
    NotAnAddress,
    NotRunning,
    connect_owner,
    ensure_database,
    public_url,
)
from felix.bootstrap.following import POLICIES, bring_up_to_date, open_rebuilder, open_runner, projection_orders
from felix.bootstrap.keys import ROOT_KEY_FILE, NoRootKey, erasure_key, following_root_keys, open_vault, root_keys
from felix.bootstrap.looks import look_around
from felix.bootstrap.objects import open_objects, open_releases
from felix.bootstrap.people import (
    MAIL_DIR,
    make_link,
    open_inviter,
    open_post,
    open_sign_in_book,
    open_sign_in_provider,
)
from felix.bootstrap.privacy import erase_again, forget_outside, kept_outside
from felix.bootstrap.serving import open_services
from felix.bootstrap.sources import (
    GITHUB_APP_KEY,
    NoGitHubApp,
    open_context_index,
    open_documents,
    open_github,
    open_secrets,
    open_source_reader,
)
from felix.bootstrap.telemetry import observing, supervise_metrics
from felix.bootstrap.verifying import verify_ledger

__all__ = [
    "DATABASE_ERRORS",
    "GITHUB_APP_KEY",
    "MAIL_DIR",
    "POLICIES",
    "PROCESSES_FILE",
    "REPOSITORIES_DIR",
    "ROOT_KEY_FILE",
    "RUN_FILE",
    "Endpoints",
    "NoGitHubApp",
    "NoRootKey",
    "NotAnAddress",
    "NotRunning",
    "bring_up_to_date",
    "connect_owner",
    "ensure_database",
    "erase_again",
    "erasure_key",
    "following_root_keys",
    "forget_outside",
    "kept_outside",
    "listen_to_doorbell",
    "look_around",
    "make_link",
    "observing",
    "open_apps_at_work",
    "open_context_index",
    "open_directory",
    "open_documents",
    "open_doorbell",
    "open_github",
    "open_inviter",
    "open_job_book",
    "open_key_uses",
    "open_objects",
    "open_performer",
    "open_planners",
    "open_post",
    "open_read_pool",
    "open_rebuilder",
    "open_releases",
    "open_runner",
    "open_schedule",
    "open_secrets",
    "open_services",
    "open_sign_in_book",
    "open_sign_in_provider",
    "open_source_reader",
    "open_stepper",
    "open_vault",
    "opening_code_target",
    "projection_orders",
    "public_url",
    "root_keys",
    "supervise_metrics",
    "verify_ledger",
]
