"""``felix changes``: ask for a change of an app in words, look at what it would do, agree, and let it go live."""

from __future__ import annotations

from cyclopts import App

from felix.cli import change_asking, change_deciding, change_exporting, change_following

app = App(name="changes", help="Ask for changes of apps in words, look at them, agree, deploy and roll back.")

app.command(change_following.list_changes, name="list")
for _command in (
    change_asking.ask,
    change_asking.answer,
    change_asking.revise,
    change_asking.raise_ceiling,
    change_asking.cancel,
    change_following.show,
    change_following.plan,
    change_following.diff,
    change_following.timeline,
    change_following.watch,
    change_exporting.export,
    change_deciding.approve,
    change_deciding.reject,
    change_deciding.withdraw,
    change_deciding.override,
    change_deciding.confirm_override,
    change_deciding.close_review,
    change_deciding.deploy,
    change_deciding.abort,
    change_deciding.pause,
    change_deciding.resume,
    change_deciding.rollback,
):
    app.command(_command)
