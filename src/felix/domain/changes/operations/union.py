"""The closed union of operations, and how a list of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pydantic_core
from pydantic import Field, TypeAdapter, ValidationError

from felix.domain.apps.places import pointer_of
from felix.domain.apps.tree import MAX_PROBLEMS
from felix.domain.changes.limits import check_operations, check_size
from felix.domain.changes.operations.automations import (
    AddAutomation,
    DisableAutomation,
    EnableAutomation,
    RemoveAutomation,
)
from felix.domain.changes.operations.base import Operation, Undo
from felix.domain.changes.operations.entities import AddEntity, HideEntity, RenameEntity, ShowEntity
from felix.domain.changes.operations.fields import (
    AddField,
    AddOption,
    HideField,
    MarkPersonal,
    PurgeField,
    RelaxField,
    RemoveOption,
    RenameField,
    RenameOption,
    RequireField,
    SetFieldDefault,
    SetFieldHelp,
    SetFieldLimits,
    SetFieldType,
    ShowField,
)
from felix.domain.changes.operations.integrations import MapIntegrationField, SetConfig
from felix.domain.changes.operations.modules import DisableModule, InstallModule, SetModuleConfig, UpgradeModule
from felix.domain.changes.operations.policy import AddExample, RemoveExample, SetPolicy
from felix.domain.changes.operations.reports import (
    AddReport,
    AddSchedule,
    DisableSchedule,
    EnableSchedule,
    SetReport,
    SetSchedule,
)
from felix.domain.changes.operations.templates import AddTemplate, SetTemplate
from felix.domain.changes.operations.views import (
    AddBoardView,
    AddChartView,
    AddFormField,
    AddFormView,
    AddListView,
    AddViewColumn,
    MoveViewColumn,
    RemoveView,
    RemoveViewColumn,
    RenameView,
    SetViewFilter,
    SetViewOrder,
    SetViewRoles,
)
from felix.domain.changes.operations.workflows import AddTransition, AddWorkflow, RemoveTransition
from felix.domain.errors import Invalid

#: What a planner may propose. Its JSON Schema is what a model sees.
Proposed = Annotated[
    AddEntity | HideEntity | ShowEntity | RenameEntity
    | AddField | RenameField | HideField | ShowField | PurgeField | RequireField | RelaxField
    | SetFieldDefault | SetFieldHelp | AddOption | RenameOption | RemoveOption
    | SetFieldLimits | MarkPersonal | SetFieldType
    | AddListView | AddBoardView | AddFormView | AddChartView | RemoveView | RenameView
    | AddViewColumn | RemoveViewColumn | MoveViewColumn | SetViewOrder | SetViewFilter | AddFormField | SetViewRoles
    | AddWorkflow | AddTransition | RemoveTransition
    | AddAutomation | EnableAutomation | DisableAutomation | RemoveAutomation
    | AddTemplate | SetTemplate
    | AddReport | SetReport | AddSchedule | SetSchedule | EnableSchedule | DisableSchedule
    | InstallModule | UpgradeModule | DisableModule | SetModuleConfig | SetConfig | MapIntegrationField
    | SetPolicy | AddExample | RemoveExample,
    Field(discriminator="op"),
]  # fmt: skip
#: What a change may hold: an undo is made by Felix, never proposed.
Recorded = Annotated[Proposed | Undo, Field(discriminator="op")]

PROPOSED: TypeAdapter[list[Proposed]] = TypeAdapter(list[Proposed])
RECORDED: TypeAdapter[list[Recorded]] = TypeAdapter(list[Recorded])


class InvalidOperations(Invalid):
    """These are not operations that Felix knows."""


def read_proposed(stored: bytes | str) -> list[Operation]:
    """Operations from JSON that somebody else wrote. Raises :class:`InvalidOperations`, ``ChangeTooLarge``."""
    return _read(PROPOSED, stored)


def read_recorded(stored: bytes | str) -> list[Operation]:
    """Operations from JSON that :func:`written` gave. Raises what :func:`read_proposed` raises."""
    return _read(RECORDED, stored)


def written(operations: Sequence[Operation]) -> list[dict[str, Any]]:
    """Operations as JSON, without what is so anyway."""
    return [
        {"op": operation.op, **operation.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
        for operation in operations
    ]


def _read(adapter: TypeAdapter[list[Any]], stored: bytes | str) -> list[Any]:
    check_size(len(stored))
    try:
        found = pydantic_core.from_json(stored, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidOperations(errors=[{"pointer": "", "rule": "json", "detail": str(error)[:200]}]) from None
    check_operations(found)
    try:
        return adapter.validate_json(pydantic_core.to_json(found))
    except ValidationError as error:
        entries = error.errors(include_url=False, include_context=False, include_input=False)
    wrong = [{"pointer": _place(*entry["loc"]), "rule": entry["type"], "detail": entry["msg"]} for entry in entries]
    raise InvalidOperations(errors=wrong[:MAX_PROBLEMS])


def _place(*location: int | str) -> str:
    """The pointer to what is wrong. Pydantic names the operation that it read; that is no member, and is left out."""
    return pointer_of(str(part) for number, part in enumerate(location) if number != 1)
