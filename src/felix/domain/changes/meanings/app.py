"""The app itself, its modules, and the rules that it has for changes to it."""

from __future__ import annotations

from felix.domain.apps.places import ABSENT, at, pointer_of
from felix.domain.changes.meanings.difference import Difference, Said
from felix.domain.changes.risk import Risk
from felix.domain.changes.words import counted, listed, quoted


def app(d: Difference) -> Said:
    match d.parts:
        case ("title",):
            return "app_renamed", "low", f"Calls the app {quoted(d.after)} instead of {quoted(d.before)}"
        case ("locale",):
            return "locale_changed", "low", f"Changes the language of the app to {quoted(d.after)}"
        case ("modules", module) if d.before is ABSENT:
            return "module_installed", "medium", f"Installs the module {module} {d.after}"
        case ("modules", module) if d.after is ABSENT:
            return "module_removed", "destructive", f"Takes the module {module} out; what it did is done no more"
        case ("modules", module):
            return "module_upgraded", "medium", f"Changes the module {module} from {d.before} to {d.after}"
    return d.unknown()


def lock(d: Difference) -> Said | None:
    module = d.parts[1] if len(d.parts) > 1 else ""
    versions = [at(words.tree, "app.json", pointer_of(("modules", module))) for words in (d.old, d.new)]
    if module and versions[0] != versions[1]:
        return None
    return "lock_changed", "high", "Changes what the next upgrade of a module is compared with"


def module(d: Difference) -> Said | None:
    title = d.words.title("modules", d.name)
    match d.parts:
        case () if d.after is ABSENT:
            # That a module is taken out is said of the app itself.
            out = at(d.new.tree, "app.json", pointer_of(("modules", d.name))) is ABSENT
            return None if out else ("module_unset", "medium", f"Forgets how the module {title} is set")
        case ():
            return _allowed(d, title, set(d.after.get("capabilities", ())))
        case ("capabilities",):
            before, after = (set() if side is ABSENT else set(side) for side in (d.before, d.after))
            return _allowed(d, title, after - before)
        case ("title",):
            return "module_renamed", "low", f"Calls the module {quoted(d.before)} {quoted(d.after)}"
        case ("config", key):
            setting = at(d.words.tree, d.path, pointer_of(("config_schema", "properties", key, "title")))
            value = "what it is by default" if d.after is ABSENT else d.value
            said = quoted(setting if isinstance(setting, str) else key)
            return "module_configured", "medium", f"Sets {said} of the module {title} to {value}"
        case ("config_schema", *_):
            return "module_settings_changed", "medium", f"Changes what can be set of the module {title}"
    return d.unknown()


def _allowed(d: Difference, title: str, capabilities: set[str]) -> Said:
    entities = sorted(one.removeprefix("records:write:") for one in capabilities if one.startswith("records:write:"))
    may = [f"write {listed(d.words.entity(entity) for entity in entities)}"] if entities else []
    may += ["send mail"] if "mail:send" in capabilities else []
    may += ["run by the clock"] if "schedules:run" in capabilities else []
    risk: Risk = "high" if "mail:send" in capabilities else "medium"
    return "module_allowed", risk, f"Lets the module {title} {'; '.join(may) if may else 'do no more than show things'}"


def policy(d: Difference) -> Said:
    match d.parts:
        case ("approvals", risk):
            was, becomes = (0 if side is ABSENT else side for side in (d.before, d.after))
            loosens, said = (
                becomes < was,
                f"{counted(becomes, 'approval')} for a change of {risk} risk, instead of {was}",
            )
        case ("max_change_mtok",):
            loosens = d.before is not ABSENT and (d.after is ABSENT or d.after > d.before)
            said = f"a price of at most {quoted(d.after)} mtok, instead of {quoted(d.before)}"
        case ("deploy_window",):
            loosens, said = d.before is not ABSENT, f"deploys at {quoted(d.after)}, instead of {quoted(d.before)}"
        case ("watch", "critical"):
            was, becomes = (set() if side is ABSENT else set(side) for side in (d.before, d.after))
            ends = listed(sorted(becomes)) or "nothing more"
            loosens, said = bool(was - becomes), f"a deployment that ends at the first failure of {ends}"
        case ("watch", *what):
            loosens = d.before is not ABSENT and (d.after is ABSENT or d.after > d.before)
            was, becomes = ("the platform's" if side is ABSENT else side for side in (d.before, d.after))
            said = f"{' '.join(what).replace('_', ' ')} of {becomes}, instead of {was}, while a release is new"
        case ():
            loosens = d.before is not ABSENT
            said = "nothing beyond the platform's rules" if d.after is ABSENT else "more than the platform's rules do"
        case _:
            return d.unknown()
    return (
        ("policy_loosened", "high", f"Asks less of later changes: {said}")
        if loosens
        else ("policy_tightened", "medium", f"Asks more of later changes: {said}")
    )
