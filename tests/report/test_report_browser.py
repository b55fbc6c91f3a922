"""The page in a real browser, wide and narrow, light and dark: it runs, asks nobody, fits, sorts, and can be read by all."""

from __future__ import annotations

import itertools
import re
import time
from typing import Any

import pytest
from report_page import Rendered, Visit, settle, visit

pytestmark = pytest.mark.browser


def test_runs_without_errors_and_requests_nothing(opened: Visit, rendered: Rendered) -> None:
    opened.page.mouse.wheel(0, 4000)
    assert opened.errors == []
    asked = [url for url in opened.requests if not url.startswith("data:")]
    assert asked == [rendered.page.as_uri()]


def test_does_not_scroll_sideways(opened: Visit) -> None:
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    wide, room = opened.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    outside = opened.page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((one) => {
             const box = one.getBoundingClientRect();
             return box.width && box.right > innerWidth + 1 && !one.closest('.scroll, svg, pre, .sr');
           }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    opened.page.evaluate("document.querySelectorAll('details:not(.fold)').forEach((one) => { one.open = false })")
    assert wide == room
    assert outside == []


def test_every_image_is_there_and_whole(opened: Visit) -> None:
    broken, count = opened.page.evaluate(
        """async () => {
             const sources = [...document.querySelectorAll('img')].map((one) => one.src)
               .concat([...document.querySelectorAll('svg image')].map((one) => one.getAttribute('href')));
             const broken = [];
             for (const source of sources) {
               const image = new Image();
               image.src = source;
               try { await image.decode(); } catch { broken.push(source.slice(0, 60)); }
               if (image.naturalWidth < 2) broken.push(source.slice(0, 60));
             }
             for (const one of document.querySelectorAll('svg use')) {
               if (!document.querySelector(one.getAttribute('href'))) broken.push(one.getAttribute('href'));
             }
             return [broken, sources.length];
           }"""
    )
    assert broken == []
    assert count > 20


def test_opens_in_two_seconds(chromium: Any, rendered: Rendered) -> None:
    """By the clock, or where other work holds the machine by the processor time that the page itself takes."""
    taken = []
    for _ in range(3):
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        meter = page.context.new_cdp_session(page)
        meter.send("Performance.enable", {"timeDomain": "threadTicks"})
        started = time.perf_counter()
        page.goto(rendered.page.as_uri())
        clock = time.perf_counter() - started
        metrics = {one["name"]: one["value"] for one in meter.send("Performance.getMetrics")["metrics"]}
        assert metrics["TaskDuration"] > 0
        taken.append(min(clock, metrics["TaskDuration"]))
        page.close()
    assert min(taken) < 2


WATCH = """(() => {
  const plain = Element.prototype.getBoundingClientRect;
  window.measured = { all: 0, closed: [] };
  Element.prototype.getBoundingClientRect = function () {
    window.measured.all += 1;
    if (this.parentElement.closest('details:not([open])') && !this.closest('summary')) window.measured.closed.push(this.outerHTML.slice(0, 99));
    return plain.call(this);
  };
})()"""


def test_opening_and_scrolling_measures_nothing_in_a_closed_section(chromium: Any, rendered: Rendered) -> None:
    """One such measure makes a browser lay out the whole section, half a second in a large run."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(WATCH)
    page.goto(rendered.page.as_uri())
    page.mouse.wheel(0, 700)
    page.wait_for_function("scrollY > 300")
    settle(page)
    measured = page.evaluate("measured")
    page.close()
    assert measured["all"] > 0
    assert measured["closed"] == []


def column(page: Any, table: str, head: int) -> list[str]:
    """The texts of a table's column."""
    return page.eval_on_selector_all(
        f"{table} tbody tr", f"rows => rows.map((row) => row.cells[{head}].dataset.v ?? row.cells[{head}].textContent)"
    )


def test_sorting_by_pointer_and_keyboard_says_so(opened: Visit) -> None:
    page, table = opened.page, "#table1 table"
    before = column(page, table, 3)
    button = page.get_by_role("button", name="VQAv2, ours").first
    button.click()
    values = [float(one) for one in column(page, table, 3)]
    assert values == sorted(values, reverse=True)
    assert page.locator(f"{table} th[aria-sort]").count() == 1
    assert page.locator(f"{table} th[aria-sort]").get_attribute("aria-sort") == "descending"
    button.focus()
    page.keyboard.press("Enter")
    values = [float(one) for one in column(page, table, 3)]
    assert values == sorted(values)
    assert page.locator(f"{table} th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert column(page, table, 3) == before
    assert page.locator(f"{table} th[aria-sort]").count() == 0
    method = page.locator(table).get_by_role("button", name="method")
    method.scroll_into_view_if_needed()
    settle(page)  # a click that the layout shifts under is a click on something else
    method.click()
    names = [one.lower() for one in column(page, table, 0)]
    assert names == sorted(names)
    method.click()
    method.click()
    assert column(page, table, 3) == before


def test_a_cell_without_a_value_sorts_last_either_way(opened: Visit) -> None:
    page, table = opened.page, "#table1 table"
    page.evaluate(f"document.querySelector('{table} tbody tr').cells[4].dataset.v = ''")
    button = page.get_by_role("button", name="POPE, ours").first
    for _ in range(2):
        button.click()
        values = column(page, table, 4)
        known = [one for one in values if one]
        assert values[: len(known)] == known
        assert len(known) < len(values)
    button.click()


def test_pointing_at_a_cell_shows_interval_and_test(opened: Visit) -> None:
    page = opened.page
    cell = page.locator("#table1 td.ours[aria-describedby]").nth(6)
    cell.scroll_into_view_if_needed()
    cell.hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    text = tip.text_content()
    assert re.search(r"95 % interval .+ to .+, n = \d+", text)
    assert re.search(r"p [=<] ", text)
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    page.mouse.move(0, 0)


def test_footnotes_open_by_their_button(opened: Visit) -> None:
    page = opened.page
    button, notes = page.locator("#table1 .toggle"), page.locator("#table1 .footnotes")
    assert not notes.is_visible()
    button.press("Enter")
    assert notes.is_visible()
    assert button.get_attribute("aria-expanded") == "true"
    button.press("Enter")
    assert not notes.is_visible()


def test_a_chart_is_read_with_the_arrow_keys_and_the_pointer(opened: Visit) -> None:
    page = opened.page
    plot = page.locator("#figure4 .plot").first
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    text = page.locator("#tip").text_content()
    assert text.startswith("layer (from 0) 1\n")
    figure = page.locator("#figure4 figure").first
    figure.locator("details.numbers").evaluate("(numbers) => { numbers.open = true; }")
    figure.locator("tbody").wait_for()
    for value in figure.locator("tbody tr").nth(1).locator("td").all_text_contents():
        assert value in text
    figure.locator("thead button").first.click()
    assert figure.locator("thead th").first.get_attribute("aria-sort") == "descending"
    figure.locator("details.numbers").evaluate("(numbers) => { numbers.open = false; }")
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
    plot.hover()
    assert page.locator("#tip").is_visible()
    page.mouse.move(0, 0)


def test_print_shows_footnotes_and_what_is_folded(opened: Visit) -> None:
    page = opened.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#table1 .footnotes").is_visible()
    assert page.locator("#table1 sup").first.is_visible()
    assert page.locator("#gallery details.rest .sample").first.is_visible()
    assert page.locator("#provenance details details pre").is_visible()
    assert not page.locator("nav").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("details[open]:not(.fold)").count() == 0


def test_model_output_shows_as_text(opened: Visit) -> None:
    import small_run

    assert opened.dialogs == []
    said = opened.page.locator("#gallery q").all_text_contents()
    assert any(small_run.SCRIPT in one and small_run.BROKEN_IMAGE in one for one in said)


# ---- for everybody


def test_headings_come_in_order(opened: Visit) -> None:
    levels = opened.page.eval_on_selector_all("h1,h2,h3,h4,h5,h6", "all => all.map((one) => Number(one.tagName[1]))")
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_everything_has_a_name(opened: Visit) -> None:
    nameless = opened.page.evaluate(
        """() => {
             const named = (one) => (one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.getAttribute('alt')
               || one.textContent).trim();
             const bad = (selector, good) => [...document.querySelectorAll(selector)].filter((one) => !good(one)).map((one) => one.outerHTML.slice(0, 140));
             return [
               ...bad('img', (one) => one.alt.trim()),
               ...bad('svg', (one) => one.getAttribute('aria-hidden') === 'true' || (one.getAttribute('role') === 'img' && named(one))),
               ...bad('table', (one) => one.caption || one.getAttribute('aria-labelledby')),
               ...bad('button, a, summary, [role=region], [role=group], section', named),
               ...bad('[tabindex="0"]', (one) => one.getAttribute('role') && named(one)),
               ...bad('[aria-labelledby], [aria-describedby], [aria-controls]', (one) =>
                 ['aria-labelledby', 'aria-describedby', 'aria-controls'].every((name) =>
                   !one.hasAttribute(name) || document.getElementById(one.getAttribute(name)))),
               ...bad('a[href^="#"]', (one) => document.getElementById(one.getAttribute('href').slice(1))),
               ...bad('figure.chart', (one) => one.querySelector('figcaption')),
             ];
           }"""
    )
    ids = opened.page.eval_on_selector_all("[id]", "all => all.map((one) => one.id)")
    assert nameless == []
    assert len(ids) == len(set(ids))
    assert opened.page.evaluate("document.documentElement.lang") == "en"


CONTRAST = """() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return { rgb: found.slice(0, 3), alpha: found.length > 3 ? found[3] : 1 };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const back = parse(getComputedStyle(at).backgroundColor);
      if (back.alpha === 1) return back.rgb;
    }
    return [255, 255, 255];
  };
  const bad = [];
  let seen = 0;
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || one.closest('script, style, [hidden], .sr')) continue;
    const style = getComputedStyle(one);
    const inside = one.closest('svg');
    const colour = parse(inside ? style.fill : style.color);
    const value = ratio(colour.rgb, behind(one));
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    seen += 1;
    if (value < (large ? 3 : 4.5)) bad.push(`${value.toFixed(2)} ${one.outerHTML.slice(0, 100)}`);
  }
  for (const one of document.querySelectorAll('svg path[class], svg circle[class^=f], svg circle.best, svg .ideal, svg .whisker, svg .bar')) {
    if (one.matches('.dropped, .grid')) continue;
    const style = getComputedStyle(one);
    const drawn = style.stroke !== 'none' ? style.stroke : style.fill;
    seen += 1;
    if (ratio(parse(drawn).rgb, behind(one)) < 3) bad.push(`mark ${one.outerHTML.slice(0, 100)}`);
  }
  return [seen, [...new Set(bad)].slice(0, 20)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_text_and_marks_in_both_schemes(chromium: Any, rendered: Rendered, scheme: str) -> None:
    seen = visit(chromium, rendered.page, scheme=scheme)
    back = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    seen.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    count, bad = seen.page.evaluate(CONTRAST)
    seen.page.close()
    assert count > 1000
    assert bad == []


def test_the_mini_world_is_the_first_thing_said(opened: Visit) -> None:
    page = opened.page
    notice = page.locator(".notice")
    assert notice.is_visible()
    assert notice.bounding_box()["y"] < 700
    assert float(page.eval_on_selector(".notice-title", "one => parseFloat(getComputedStyle(one).fontSize)")) >= 20
    assert "not the paper" in page.locator(".notice-title").text_content()
    assert "embedded world" in page.title()
    assert page.locator("#tables caption .mark").count() == page.locator("#tables table.sortable caption").count()
