"""Sentences about modules, integrations and the client's own rules."""

from __future__ import annotations

from felix.domain.apps.behaviour import Policy
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.integrations import MapIntegrationField
from felix.domain.changes.operations.modules import DisableModule, InstallModule, UpgradeModule
from felix.domain.changes.operations.policy import SetPolicy
from felix.domain.changes.planning.grammar.notation import Bound, Pattern
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene
from felix.domain.changes.planning.grammar.values import number_of


def _version(scene: Scene, bound: Bound) -> str:
    version = scene.catalogue.get(bound["module"])
    if version is None:
        raise Missing(f"There is no module {bound['module']} to be had.", sorted(scene.catalogue))
    return version


def _install(scene: Scene, bound: Bound) -> list[Operation]:
    return [InstallModule(module=bound["module"], version=_version(scene, bound))]


def _upgrade(scene: Scene, bound: Bound) -> list[Operation]:
    return [UpgradeModule(module=bound["module"], version=_version(scene, bound))]


def _upgrade_ours(scene: Scene, bound: Bound) -> list[Operation]:
    return [UpgradeModule(module=bound["module"], version=_version(scene, bound), prefer="ours")]


def _upgrade_theirs(scene: Scene, bound: Bound) -> list[Operation]:
    return [UpgradeModule(module=bound["module"], version=_version(scene, bound), prefer="theirs")]


def _disable(scene: Scene, bound: Bound) -> list[Operation]:
    return [DisableModule(module=bound["module"])]


def _map(scene: Scene, bound: Bound) -> list[Operation]:
    if bound.get("other", bound["integration"]) != bound["integration"]:
        raise NoReading
    source, field = bound["source"].name, bound["field"].field
    return [MapIntegrationField(integration=bound["integration"], source=source, field=field)]


def _approvals(scene: Scene, bound: Bound) -> list[Operation]:
    number = number_of(bound["number"])
    if number is None or number != number.to_integral_value() or not 1 <= number <= 5:
        raise Missing("How many approvals, from 1 to 5?")
    policy = scene.app.policy.model_dump(mode="json", exclude_defaults=True)
    policy["approvals"] = {**policy.get("approvals", {}), bound["risk"]: int(number)}
    return [SetPolicy(policy=Policy.model_validate(policy))]


SENTENCES = (
    Pattern("(install|<add>) {module}", "Install the inventory module", _install),
    Pattern("(upgrade|update) {module} [to the latest version|to the newest version]", "", _upgrade),
    Pattern(
        "(upgrade|update) {module} keeping our changes", "Upgrade the crm module keeping our changes", _upgrade_ours
    ),
    Pattern("(upgrade|update) {module} taking theirs", "Upgrade the crm module taking theirs", _upgrade_theirs),
    Pattern("(<turn off>|uninstall|<remove>) {module}", "Turn off the crm module", _disable),
    Pattern(
        "map {other:integration_alone} 's {source:code} to {field} (in|of) {integration}",
        "Map the shop's customer_email to email in the Shop integration",
        _map,
    ),
    Pattern(
        "{risk} risk changes (need|require|must have) {number} approvals",
        "High risk changes need three approvals",
        _approvals,
    ),
    Pattern(
        "require {number} (approvals|approval) for {risk} risk changes",
        "Require two approvals for medium risk changes",
        _approvals,
    ),
    Pattern(
        "changes (of|with) {risk} risk (need|require|must have) {number} approvals",
        "Changes of high risk need three approvals",
        _approvals,
    ),
)
