"""Jobs that tidy up after secrets and keys were rotated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.application.jobs.kinds import JobContext, job
from felix.domain.errors import NotFound
from felix.domain.secrets.tenant_secrets import EndSecretVersion, SealSecretsAnew, TenantKeyNotReplaced


@job("secrets.end_version")
def end_version(context: JobContext) -> Mapping[str, Any]:
    """Delete a version of a secret whose overlap has ended."""
    told = context.job.payload
    return context.perform(EndSecretVersion(name=told["name"], version=told["version"])).result


@job("secrets.seal_anew", lease_s=60)
def seal_anew(context: JobContext) -> Mapping[str, Any]:
    """Seal a tenant's secrets with its new key; a key that was replaced again leaves that to the job of the next."""
    tenant_id, key_version = context.job.tenant_id, context.job.payload["key_version"]
    if tenant_id is None:
        raise NotFound("A job of the platform has no secrets to seal.")
    enclosed = context.secrets.under_old_keys(tenant_id, key_version)
    outcome = context.perform(SealSecretsAnew(key_version=key_version), enclosed=enclosed)
    if not outcome.accepted and isinstance(outcome.refusal, TenantKeyNotReplaced):
        return {"replaced_by": outcome.refusal.facts["key_version"]}
    return outcome.result
