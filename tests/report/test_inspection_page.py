"""./reproduce inspect and answer.page(): one offline page about one prompt, and what is wrong with a picture said in one line."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import himap
import pytest
from himap.mini.scenes import generator, make_scene, png
from himap.workflow import inspect_prompt
from report_page import visit

pytestmark = pytest.mark.slow

QUESTION = "How many circles are there?\nAnswer the question using a single word or phrase."


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn scene as a file."""
    path = tmp_path_factory.mktemp("scene") / "picture.png"
    path.write_bytes(png(make_scene("shapes", generator("test", 0))))
    return path


@pytest.fixture(scope="module")
def written(picture: Path) -> tuple[Path, str]:
    """The page that the command writes beside the picture, and what it prints."""
    page = picture.parent / "page.html"
    words = [str(picture), QUESTION, "--methods", "himap", "downsample", "himap_released", "--out", str(page)]
    with redirect_stdout(io.StringIO()) as printed:
        inspect_prompt.main(words)
    return page, printed.getvalue()


def test_the_page_shows_every_layer_and_method_and_the_command_prints_the_answers(written: tuple[Path, str]) -> None:
    page, said = written
    html = page.read_text(encoding="utf-8")
    assert html.count("data-words=") == 3 * 12  # kinds of map, layers
    for title in ("Vanilla", "HiMAP", "Smaller image", "HiMAP (released code)"):
        assert f"<h3>{title}</h3>" in html
    lines = said.splitlines()
    assert len(lines) == 5
    assert all(" % " in line for line in lines[:4])
    assert lines[-1] == f"{page} written"
    assert "http" not in html.replace("http://www.w3.org", "")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_walks_through_the_layers_without_a_request_or_sideways_scrolling(
    chromium: Any, written: tuple[Path, str], width: int
) -> None:
    seen = visit(chromium, written[0], width)
    page = seen.page
    page.focus("#layer")
    page.keyboard.press("Home")
    assert page.inner_text("#map-words").startswith("Layer 0:")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#map-words").startswith("Layer 1:")
    page.check("input[value=paper]")
    assert "saliency" in page.inner_text("#map-words")
    assert page.locator(".kind:visible").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.errors == []
    assert {address.partition(":")[0] for address in seen.requests} <= {"file", "data"}
    page.close()


def test_a_notebook_gets_the_same_page_from_an_answer_and_text_stays_text(picture: Path) -> None:
    model = himap.load("models/mini")
    answer = himap.generate(model, picture, "<script>alert(1)</script>", method="himap", max_new_tokens=2)
    page = answer.page("random")
    assert "<script>alert" not in page.html
    assert [title in page.html for title in ("Baseline", "HiMAP", "Random")] == [True] * 3
    assert page._repr_html_().startswith("<iframe srcdoc=")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png", "What?"], r"missing\.png: no such picture; give the path of a PNG, JPEG or WebP file"),
        (["no-picture.png", "What?"], "cannot be read as a picture .*; give a PNG, JPEG or WebP file"),
        (["picture.png", " "], "QUESTION is empty"),
        (["picture.png", "What?", "--methods", "himapp"], r"unknown method 'himapp' \(did you mean 'himap'\?\)"),
        (
            ["picture.png", "What?", "--model", "minni"],
            r"--model: 'minni' is neither a model of the config \(mini, mini-seed1, .*\), nor",
        ),
    ],
)
def test_what_cannot_be_inspected_is_named_before_a_model_is_loaded(
    picture: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setenv("HIMAP_CALLED_FROM", str(picture.parent))
    (picture.parent / "no-picture.png").write_bytes(b"\x89PNG\r\n broken")
    with pytest.raises(ValueError, match=message):
        inspect_prompt.main(words)
