"""``docs/modules.md``: what apps can be made of, from the manifests of the modules and their files."""

from __future__ import annotations

from typing import Any

from felix.cli.docs.catalogue import GENERATED
from felix.cli.output import tokens
from felix.domain.apps.modules import Manifest
from felix.domain.changes.modules import Module, newest
from felix.domain.metering.prices import TieredPrice
from felix.modules.library import library

_FOLDERS = {
    "entities": "keeps",
    "views": "shows",
    "workflows": "leads through",
    "automations": "does by itself",
    "schedules": "does by the clock",
    "reports": "reports",
}


def page() -> str:
    """Every module: what it brings, may do and can be set to, how an app gets to its newest version, its examples."""
    lines = [
        "# Modules",
        "",
        GENERATED,
        "",
        "An app is made of modules: `felix apps create shop --module crm`, or a change such as “Install the inventory",
        "module”. Their files are copied into the app and are the client's from then on; an upgrade is a three-way",
        "merge in which what the client has changed is kept, and what both have changed is shown with both sides.",
        "Handlers are Python in the module and serve every version of it; they write what `capabilities` name, and",
        "nothing else. [tour.md](tour.md#new-app-module) makes a new one.",
        "",
        "| module | version | earlier | needs | |",
        "|---|---|---|---|---|",
    ]
    found = {name: library()[name, version] for name, version in sorted(newest(library()).items())}
    for name, module in found.items():
        said = module.manifest
        earlier = ", ".join(v for other, v in sorted(library()) if other == name and v != said.version) or "–"
        needs = ", ".join(f"{other} {least}" for other, least in said.requires.items()) or "–"
        lines.append(f"| [{name}](#{name}) | {said.version} | {earlier} | {needs} | {said.description} |")
    for name, module in found.items():
        lines += ["", f"## {name}", "", f"**{module.manifest.title}.** {module.manifest.description}"]
        lines += _brings(module) + _may(module.manifest) + _examples(module)
    return "\n".join(lines) + "\n"


def _brings(module: Module) -> list[str]:
    files = module.own.files
    lines = ["", "| | |", "|---|---|"]
    for folder, verb in _FOLDERS.items():
        titles = [_title(files[f"{folder}/{name}.json"]) for name in module.own.names(folder)]
        if titles:
            lines.append(f"| {verb} | {'; '.join(titles)} |")
    for other, linked in sorted(module.links.items()):
        titles = [_title(content) for path, content in sorted(linked.files.items()) if path.startswith("entities/")]
        lines.append(f"| beside {other} | {'; '.join(titles)} |")
    return lines


def _may(said: Manifest) -> list[str]:
    lines = ["", f"Capabilities: {', '.join(f'`{one}`' for one in said.capabilities) or 'none'}."]
    rails = [f"{rail.measure.replace('_', ' ')} above {rail.at_most_permille / 10:g} %" for rail in said.guardrails]
    if rails:
        lines += ["", f"While a release with it is tried out, it is rolled back on {' or '.join(rails)}."]
    if said.config_schema.properties:
        lines += ["", "| setting | default | says |", "|---|---|---|"]
    for name, setting in said.config_schema.properties.items():
        default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
        options = f" ({', '.join(setting.enum)})" if setting.enum else ""
        says = ". ".join(said for said in (setting.title, setting.description) if said)
        lines.append(f"| `{name}` | {default}{options} | {says} |")
    if said.price_card:
        lines += ["", "| price to publish, of | for | tokens |", "|---|---|---|"]
    for price in said.price_card:
        asked = "in tiers" if isinstance(price, TieredPrice) else tokens(price.price_mtok)
        lines.append(f"| `{price.meter}` | {price.model or 'everything'} | {asked} |")
    for migration in said.migrations:
        lines += ["", f"From {migration.from_}: {migration.why}"]
    return lines


def _examples(module: Module) -> list[str]:
    lines = ["", "Its examples, which are checked before every deploy:", ""]
    titles = [module.own.files[f"tests/{name}.json"]["title"] for name in module.own.names("tests")]
    return lines + [f"- {title}" for title in sorted(titles)]


def _title(content: Any) -> str:
    title: str = content.get("plural") or content["title"]
    return title
