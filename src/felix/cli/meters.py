"""``felix meters``: what is counted, and in which unit."""

from __future__ import annotations

from cyclopts import App

from felix.cli.options import Reading, Writing
from felix.cli.output import print_json, print_table
from felix.cli.session import open_session

app = App(name="meters", help="Define meters and list them.")


@app.command(name="list")
def list_meters(*, reading: Reading | None = None) -> None:
    """List the meters of a client."""
    from felix.domain.metering.catalogue import CATALOGUE_ID, MeterCatalogue
    from felix.projections.history import aggregate_at

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        catalogue = session.ask(place, lambda tx: aggregate_at(tx, MeterCatalogue, CATALOGUE_ID))
    rows = [{"name": name, **known} for name, known in sorted(catalogue.meters.items())] if catalogue else []
    if reading.json:
        print_json(rows)
    else:
        headings = {"name": "meter", "unit": "unit", "aggregation": "adds up by", "description": "description"}
        print_table(rows, headings, empty="No meter is defined yet. A rate card defines those that it prices.")


@app.command
def define(name: str, *, unit: str, description: str = "", writing: Writing | None = None) -> None:
    """Define a meter, or describe it anew; its unit never changes.

    Parameters
    ----------
    name
        Such as llm.input_tokens or emails.sent.
    unit
        What one of it is, such as token, email or second.
    description
        For people.
    """
    from felix.domain.metering.messages import DefineMeter

    writing = writing or Writing()
    with open_session() as session:
        command = DefineMeter(name=name, unit=unit, description=description)
        session.perform(session.tenant(writing.tenant), command, writing)
