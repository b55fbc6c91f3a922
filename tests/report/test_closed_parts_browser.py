"""Closed parts of the page: one text each until a reader comes to them, plain page where no scripts run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from report_page import ALL_READ, Rendered, settle

pytestmark = pytest.mark.browser
UNREAD = "document.querySelectorAll('noscript.later').length"


@pytest.fixture
def busy(chromium: Any, rendered: Rendered) -> Iterator[Any]:
    """The page in a browser that never finds leisure, so that nothing is read before somebody asks for it."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script("window.requestIdleCallback = () => 0")
    page.goto(rendered.page.as_uri())
    yield page
    page.close()


def test_a_closed_part_is_one_text_until_it_is_opened(busy: Any) -> None:
    before = busy.evaluate(UNREAD)
    assert before > 10
    assert busy.locator("#table1 td.ours").count() > 0  # open from the start
    assert busy.locator("#table4 td.ours, #figures figure.chart, #gallery article").count() == 0
    busy.locator("#table4 > details > summary").click()
    busy.wait_for_selector("#table4 td.ours")
    assert busy.evaluate(UNREAD) == before - 1
    busy.locator("#figures > details > summary").click()
    busy.wait_for_selector("#figures figure.chart")  # of the figure that is open in its section, and of no other
    assert busy.evaluate(UNREAD) == before - 2


def test_a_link_and_the_search_find_what_is_not_read_yet(busy: Any) -> None:
    busy.locator(".strip .chip").first.click()
    busy.wait_for_selector("#verdicts tr[id^=claim-]")
    assert busy.locator("#gallery article").count() == 0
    busy.keyboard.press("/")
    busy.keyboard.type("nocaps himap")
    assert "Table 8" in "".join(busy.locator("#hits li").all_text_contents())


def test_a_link_ends_at_its_place_though_what_is_above_it_opens_too(busy: Any) -> None:
    busy.evaluate("location.hash = '#figure5'")
    busy.wait_for_selector("#figures figure.chart")
    settle(busy)
    assert abs(busy.evaluate("document.getElementById('figure5').getBoundingClientRect().top")) < 100


@pytest.mark.parametrize("way", ["print", "open all"])
def test_print_and_open_all_leave_nothing_unread(busy: Any, way: str) -> None:
    if way == "print":
        busy.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    else:
        busy.get_by_role("button", name="Open all").click()
    assert busy.evaluate(ALL_READ)
    assert busy.locator("#gallery figure.tile").count() > 0


def test_without_scripts_everything_is_plain_page(chromium: Any, rendered: Rendered) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(rendered.page.as_uri())
    page.locator("#gallery > details > summary").click()
    assert page.locator("#gallery figure.tile").first.is_visible()
    assert page.locator("#table4 td.ours").count() > 0
    context.close()
