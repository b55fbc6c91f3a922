"""What the captioning benchmarks share: CIDEr of each image, and its mean."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._sample import Sample
from himap.metrics.cider import cider_scores


def caption_rows(samples: list[Sample], predictions: list[str]) -> list[dict[str, Any]]:
    """Return CIDEr of each image among these, on the metric's own scale (the result is their mean times 100)."""
    for one in samples:
        if not one.references:
            raise ValueError(
                f"sample {one.sample_id} has no reference captions; test splits are scored by their server"
            )
    # CIDEr weighs a word by how many of these images mention it, so all of them are scored in one call.
    references = {one.sample_id: one.references for one in samples}
    scores = cider_scores(references, dict(zip(references, predictions, strict=True)))
    return [{"score": scores[one.sample_id]} for one in samples]


def caption_headline(frame: Any) -> Any:
    """Return the mean over images times 100; CIDEr of one image lies between 0 and 10."""
    from himap.metrics.statistics import mean_of

    # No clusters: each picture has one row here.
    return mean_of(frame["score"], top=1000.0)
