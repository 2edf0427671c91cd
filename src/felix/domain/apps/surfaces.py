"""Surfaces: the lists, boards, forms, charts and reports that people look at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Bounds
from pydantic import model_validator

from felix.domain.apps.base import AppRole, Condition, Label, Spec, SpecName

MAX_COLUMNS = 30
Roles = Annotated[list[AppRole], Bounds(max_length=3)]


class Column(Spec):
    """A field in a list, under its own label or another."""

    field: SpecName
    label: Label | None = None


class Order(Spec):
    """By which field, and which way round."""

    field: SpecName
    descending: bool = False


class Measure(Spec):
    """What is worked out of a group of records; ``count`` needs no field."""

    function: Literal["count", "sum", "average", "minimum", "maximum"]
    field: SpecName | None = None
    label: Label | None = None

    @model_validator(mode="after")
    def _field_where_needed(self) -> Measure:
        if (self.field is None) != (self.function == "count"):
            raise ValueError("count takes no field, every other function needs one")
        return self


class Grouping(Spec):
    """What records are grouped by: a field, and for days and moments a period."""

    field: SpecName
    by: Literal["day", "week", "month", "quarter", "year"] | None = None


class _View(Spec):
    entity: SpecName
    title: Label
    #: Who sees it; empty: everybody in the company.
    roles: Roles = []
    where: Condition | None = None


class ListView(_View):
    """Records as rows."""

    kind: Literal["list"]
    columns: Annotated[list[Column], Bounds(min_length=1, max_length=MAX_COLUMNS)]
    order: Annotated[list[Order], Bounds(max_length=3)] = []


class BoardView(_View):
    """Records as cards in columns: one for each option of a choice."""

    kind: Literal["board"]
    group_by: SpecName
    card: Annotated[list[SpecName], Bounds(min_length=1, max_length=10)]


class Section(Spec):
    """Some fields of a form under a title."""

    title: Label
    fields: Annotated[list[SpecName], Bounds(min_length=1, max_length=100)]


class FormView(_View):
    """One record to read and to fill in."""

    kind: Literal["form"]
    sections: Annotated[list[Section], Bounds(min_length=1, max_length=20)]


class ChartView(_View):
    """A picture of many records."""

    kind: Literal["chart"]
    chart: Literal["bar", "line", "pie"] = "bar"
    group_by: Grouping
    measure: Measure


View = Annotated[ListView | BoardView | FormView | ChartView, Bounds(discriminator="kind")]


class Report(Spec):
    """A table of figures that is made on demand or by a schedule."""

    title: Label
    entity: SpecName
    group_by: Annotated[list[Grouping], Bounds(min_length=1, max_length=3)]
    measures: Annotated[list[Measure], Bounds(min_length=1, max_length=10)]
    where: Condition | None = None
    format: Literal["csv", "xlsx", "pdf"] = "csv"
