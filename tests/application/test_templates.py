"""Mails from templates: what people write shows up, and what would not end does."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "domain" / "apps"))

from sample_app import FILES

from felix.application.apps.templates import Mail, TemplateBroken, faults, render_mail
from felix.domain.apps.references import check
from felix.domain.apps.shapes import compile_app
from felix.domain.apps.tree import AppTree

#: What a rendering may take here: a hundred times what it takes, on a machine that others use too.
AT_MOST_S = 3.0
LONG = '{% assign s = "' + "a" * 15_000 + '" %}'


def mail(text: str, subject: str = "Thank you", **values: Any) -> Mail:
    files = FILES | {
        "templates/thanks.liquid": text,
        "templates/thanks.json": FILES["templates/thanks.json"] | {"subject": subject},
    }
    return render_mail(compile_app("r", check(AppTree(files))), "thanks", "deal", {"title": "Bread"} | values)


def test_fields_show_as_people_write_them() -> None:
    sent = mail("{{ deal.title }} {{ deal.value }} {{ deal.closes_on }}|{{ deal.email }}|", value=1250)
    assert sent.text == "Bread 12.50 EUR ||" and sent.html is None
    assert mail("{{ deal.value }}", value=-5).text == "-0.05 EUR"


def test_a_page_is_escaped_and_has_a_text_beside_it() -> None:
    sent = mail("<p>Dear {{ deal.title }}</p><p>Bye</p>", title="<script>alert(1)</script>")
    assert sent.html is not None and "<script>" not in sent.html and "&lt;script&gt;" in sent.html
    assert sent.text == "Dear <script>alert(1)</script>\nBye\n"


def test_a_subject_is_one_line() -> None:
    assert (
        mail("x", "Order {{ deal.title }}", title="a\r\nBcc: eve@example.com").subject == "Order a Bcc: eve@example.com"
    )


@pytest.mark.parametrize("name", ["deal.titel", "contact.name", "deal.__class__", "environment"])
def test_a_name_that_is_nowhere_is_an_error_that_says_which(name: str) -> None:
    with pytest.raises(TemplateBroken, match=r"titel|contact|__class__|environment"):
        mail(f"Dear {{{{ {name} }}}}")


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in (1..99999) %}{% for b in (1..99999) %}{{ a }}{% endfor %}{% endfor %}",
        "{{ (1..100000000) | join: '' }}",
        "{% assign a = (1..100000000) | reverse %}{{ a.size }}",
        '{% assign s = "aaaaaaaaaa" %}' + "{% assign s = s | append: s %}" * 60 + "{{ s }}",
        "{% capture s %}aaaaaaaaaa{% endcapture %}" + "{% capture s %}{{ s }}{{ s }}{% endcapture %}" * 60,
        LONG + '{{ s | replace: "a", s | size }}',
        LONG + '{% assign l = s | split: "" %}{{ l | join: s | size }}',
        LONG + "{{ s" + " | upcase | downcase" * 2_000 + " | size }}",
        "{% assign n = 999999999 %}" + "{% assign n = n | times: n %}" * 30 + "{{ n }}",
        "{% for i in (1..5000) %}" + "{% if i %}{% endif %}" * 2_000 + "{% endfor %}",
        "{% if a %}" * 3_000 + "{% endif %}" * 3_000,
        '{% include "passwd" %}',
        "{{ 'a' | base64_encode }}",
        "{% tablerow a in (1..9999999) %}x{% endtablerow %}",
        "{{ 9" + "9" * 6_000 + " | times: 1 }}",
        "{{ 1 | divided_by: 0 }}",
    ],
    ids=range(16),
)
def test_what_would_not_end_is_stopped(text: str) -> None:
    began = time.process_time()
    with pytest.raises(TemplateBroken):
        mail(text)
    assert time.process_time() - began < AT_MOST_S


def test_the_limits_leave_room_for_a_long_mail() -> None:
    rows = "".join(f"<tr><td>{{{{ deal.title | upcase }}}}</td><td>{number}</td></tr>" for number in range(300))
    assert (mail(f"<table>{rows}</table>").html or "").count("BREAD") == 300
    assert mail("{% for i in (1..100) %}{{ i }},{% endfor %}").text.startswith("1,2,3,")


def test_what_could_never_be_sent_is_found_without_an_example() -> None:
    wrong = FILES | {"templates/thanks.liquid": "Dear {{ deal.titel }}"}
    assert faults(compile_app("r", check(AppTree(FILES)))) == []
    (said,) = faults(compile_app("r", check(AppTree(wrong))))
    assert "thanks" in said and "deal.titel is undefined" in said
