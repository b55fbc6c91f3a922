"""What a reader meets first, in a real browser: the first screen, the way to everything else, tables that fit, files inside the page."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_page import Rendered, Visit, visit

pytestmark = pytest.mark.browser
SIZES = [(1280, 800), (768, 1024), (390, 844)]
AXE = "axe-core@4.14.1"


@pytest.fixture(params=SIZES, ids=["desk", "tablet", "phone"])
def fresh(request: pytest.FixtureRequest, chromium: Any, rendered: Rendered) -> Iterator[Visit]:
    """The page as it opens, on three sizes of screen."""
    width, height = request.param
    seen = visit(chromium, rendered.page, width=width)
    seen.page.set_viewport_size({"width": width, "height": height})
    yield seen
    seen.page.close()


@pytest.fixture
def desk(chromium: Any, rendered: Rendered) -> Iterator[Visit]:
    """The page as it opens on a desk."""
    seen = visit(chromium, rendered.page)
    yield seen
    assert seen.errors == []
    seen.page.close()


def top_of(page: Any, selector: str) -> float:
    """Return how far below the top of the page an element begins."""
    return float(page.eval_on_selector(selector, "one => one.getBoundingClientRect().top + scrollY"))


def test_the_first_screen_says_what_was_run_and_what_was_found(desk: Visit) -> None:
    page = desk.page
    facts = page.locator(".run-facts div").all_text_contents()
    assert facts[:2] == ["Modelmini 12 layers", "Benchmarks7 16 to 32 samples each"]
    assert "cpu (x86_64)" in facts[3]
    headlines = page.locator(".finding h2").all_text_contents()
    assert len(headlines) == 3
    assert all(top_of(page, f"#finding-{number}") < 900 for number in (1, 2, 3))
    assert top_of(page, "#tradeoff svg") < 600
    assert page.locator("#tradeoff .whisker").count() == 4  # all methods but the unpruned one


def test_a_strip_has_one_mark_per_claim_that_leads_to_it_by_the_arrow_keys(desk: Visit) -> None:
    page = desk.page
    chips = page.locator(".strip .chip")
    assert chips.count() == page.locator("#verdicts tr[id^=claim-]").count()
    chips.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    name = chips.nth(1).get_attribute("href")
    assert page.locator(name).is_visible()
    assert page.url.endswith(name)


def test_the_first_table_comes_within_three_screens(fresh: Visit) -> None:
    assert top_of(fresh.page, "#table1 table") < 3 * fresh.page.viewport_size["height"]


def test_the_tab_key_comes_to_the_end_of_the_contents_and_of_the_page_in_under_sixty_stops(fresh: Visit) -> None:
    stops = []
    for _ in range(90):
        fresh.page.keyboard.press("Tab")
        stops.append(
            fresh.page.evaluate("(document.activeElement.closest('nav, main, footer') || document.body).tagName")
        )
        if len(stops) > 3 and stops[-1] == "BODY":
            break
    assert stops[-1] == "BODY", "the page has no end"
    last = len(stops) - 1 - stops[::-1].index("NAV")
    assert last < 25
    assert len(stops) < 60


def test_a_cell_is_found_with_the_keyboard_alone(fresh: Visit) -> None:
    page = fresh.page
    page.keyboard.press("/")
    page.keyboard.type("nocaps himap")
    assert page.locator("#hits").is_visible()
    wanted = page.locator("#hits li[aria-selected=true] span")
    assert "Table 2" in wanted.first.text_content()
    page.keyboard.press("ArrowDown")
    name, value = wanted.all_text_contents()
    assert "Table 8" in name  # which is closed
    page.keyboard.press("Enter")
    assert not page.locator("#hits").is_visible()
    cell = page.evaluate(
        "[document.activeElement.closest('article').id, document.activeElement.querySelector('.value').textContent]"
    )
    assert cell == ["table8", value]
    assert page.evaluate("document.activeElement.getBoundingClientRect().width > 0")


def test_a_link_to_a_place_opens_what_hides_it(chromium: Any, rendered: Rendered) -> None:
    page = chromium.new_page()
    page.goto(f"{rendered.page.as_uri()}#figure5")
    assert page.locator("#figure5 svg").first.is_visible()
    assert not page.locator("#figure4 .charts").first.is_visible()
    page.locator("#table4 > details > summary").scroll_into_view_if_needed()
    page.get_by_role("link", name="Cost", exact=True).click()
    assert page.locator("#cost > details").get_attribute("open") is not None
    page.wait_for_function("document.querySelector('nav [aria-current]').hash === '#figure8'")
    page.close()


def test_everything_opens_at_once_and_for_print(desk: Visit) -> None:
    page = desk.page
    folds = page.locator("details.fold").count()
    seen = page.locator("details.fold[open]:visible > summary").all_inner_texts()
    assert len(seen) == 2, seen  # the section of tables and its first table; the other sections are closed
    page.get_by_role("button", name="Open all").click()
    assert page.locator("details.fold[open]").count() == folds
    page.get_by_role("button", name="Close all").click()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.fold[open]").count() == folds


CUT = """() => {
  const cut = [];
  for (const scroll of document.querySelectorAll('.grid.scroll')) {
    const [box, name] = [scroll.getBoundingClientRect(), scroll.querySelector('th.name').getBoundingClientRect()];
    for (const cell of scroll.querySelectorAll('td, thead th:not(.name)')) {
      const range = document.createRange();
      range.selectNodeContents(cell);
      const text = range.getBoundingClientRect();
      for (const edge of [box.right, name.right])
        if (text.left < edge - 1 && text.right > edge + 1 && text.width) cut.push(`${scroll.ariaLabel}: ${cell.textContent.trim()}`);
    }
  }
  return cut;
}"""


def test_no_number_of_a_table_is_cut_and_more_columns_are_announced(fresh: Visit) -> None:
    page = fresh.page
    page.evaluate("document.querySelectorAll('details.fold:has(.window)').forEach((one) => { one.open = true })")
    page.evaluate("document.getElementById('with-paper').click()")
    assert page.evaluate(CUT) == []
    hidden = page.eval_on_selector_all(
        ".window",
        "all => all.filter((one) => one.querySelector('.scroll').scrollWidth > one.querySelector('.scroll').clientWidth + 1).length",
    )
    page.wait_for_function(f"document.querySelectorAll('.more-columns:not([hidden])').length === {hidden}")
    assert hidden or page.viewport_size["width"] > 1000
    first = page.locator(".more-columns:not([hidden])").first
    for _ in range(3 if hidden else 0):
        first.click()
        page.wait_for_timeout(500)
        assert page.evaluate(CUT) == []


def test_the_papers_values_come_on_demand(desk: Visit) -> None:
    page = desk.page
    theirs = page.locator("#table1 .theirs").first
    assert not theirs.is_visible()
    page.get_by_role("button", name="Paper's values and differences").click()
    assert theirs.is_visible()


def test_a_report_copied_alone_has_only_links_that_work(chromium: Any, rendered: Rendered, tmp_path: Path) -> None:
    alone = Path(shutil.copy(rendered.page, tmp_path))
    seen = visit(chromium, alone)
    page = seen.page
    page.context.set_offline(True)
    dead = page.eval_on_selector_all(
        "a[href]",
        """all => all.filter((one) => !one.href.startsWith('data:') && !(one.getAttribute('href').startsWith('#')
           && document.getElementById(one.hash.slice(1)))).map((one) => one.outerHTML.slice(0, 120))""",
    )
    assert dead == []
    page.evaluate("document.querySelectorAll('details.fold').forEach((one) => { one.open = true })")
    files = page.eval_on_selector_all("a[data-file]", "all => all.map((one) => one.dataset.file)")
    assert len(files) == len(set(files)) > 30
    for name in ("tables/table1.csv", "tables/table1.tex", "tables/table2.md", "figures/data/figure5.csv", "figures/figure7.svg", "figures/figure7.pdf", "figures/figure7.png"):  # fmt: skip
        with page.expect_download() as saved:
            page.locator(f'a[data-file="{name}"]').click()
        assert saved.value.suggested_filename == Path(name).name
        assert Path(saved.value.path()).read_bytes() == (rendered.results / name).read_bytes()
    with page.expect_download() as saved:
        page.locator("#archive").click()
    with zipfile.ZipFile(saved.value.path()) as whole:
        assert whole.testzip() is None
        assert sorted(whole.namelist()) == sorted(files)
    assert seen.errors == []
    assert all(url.startswith(("data:", "blob:")) or url == alone.as_uri() for url in seen.requests)
    page.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The accessibility checker from npm; the tests that need it are skipped where it cannot be fetched."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, so no axe-core: install Node.js with npm")
    folder = tmp_path_factory.mktemp("axe")
    words = [npm, "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), AXE]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:  # what npm does without a network, where others end at once
        pytest.skip(f"npm could not fetch {AXE} within 120 s")
    if done.returncode:
        pytest.skip(f"npm could not fetch {AXE}: {done.stderr.strip().splitlines()[-1:]}")
    return folder / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme", "opened"), [(1280, "light", True), (390, "dark", False)])
def test_axe_has_no_serious_finding(
    chromium: Any, rendered: Rendered, axe: Path, width: int, scheme: str, opened: bool
) -> None:
    seen = visit(chromium, rendered.page, width=width, scheme=scheme)
    if opened:
        seen.page.evaluate("document.querySelectorAll('details.fold').forEach((one) => { one.open = true })")
    seen.page.add_script_tag(path=str(axe))
    found = seen.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    seen.page.close()
    serious = [
        (rule["id"], rule["help"], rule["nodes"][0]["html"][:160], len(rule["nodes"]))
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert serious == []
