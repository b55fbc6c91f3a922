"""Rows of an open question are read as the job wrote them."""

from __future__ import annotations

import csv
from pathlib import Path

from himap.figures._questions import read_question
from himap.paths import Paths


def test_an_answer_that_pandas_takes_for_missing_stays_a_text(tmp_path: Path) -> None:
    path = Path(Paths(str(tmp_path)).question("mini", "kinds", "oq2"))
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["sample_id", "answer", "cost"], ["007", "None", "0.5"], ["008", "", ""]])
    rows = read_question({"cells": [["mini", "kinds"]]}, str(tmp_path), "oq2")
    assert rows["sample_id"].tolist() == ["007", "008"]
    assert rows["answer"].tolist() == ["None", ""]
    assert rows["cost"].isna().tolist() == [False, True]
