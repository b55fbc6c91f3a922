"""Measure a mini checkpoint for its card: scores with and without the picture (test), pruning and flow (validation)."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap import files
from himap.workflow.jobs import script

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.models.model import Model

PARTS = ("test", "places", "schedules", "captions", "flow")
CHOICES = ("scienceqa", "aokvqa")
QUESTIONS = ("vqav2", "aokvqa", "scienceqa")
PLACED = ("random", "instruction_attention", "image_attention", "last_token_attention")
Stage = tuple[int, float, str]
SHALLOW, DEEP, FASTV, RANDOM = "instruction_attention", "image_attention", "last_token_attention", "random"


def candidates() -> dict[str, list[Stage]]:
    """Return schedules for questions: HiMAP at several layers and sizes, with other criteria, and FastV at several layers."""
    stages: dict[str, list[Stage]] = {"no pruning": []}
    for k1, k2 in ((2, 6), (3, 6), (3, 8), (4, 6), (4, 7), (4, 8), (5, 8), (6, 8), (6, 9)):
        for r1, r2 in ((0.5, 0.125), (0.25, 0.0625)):
            stages[f"himap {k1} {r1} {k2} {r2}"] = [(k1, r1, SHALLOW), (k2, r2, DEEP)]
    for first, second in ((DEEP, SHALLOW), (DEEP, DEEP), (SHALLOW, SHALLOW), (FASTV, FASTV), (RANDOM, RANDOM)):
        stages[f"himap 3 0.5 8 0.125 {first} {second}"] = [(3, 0.5, first), (8, 0.125, second)]
    return stages | {f"fastv {k} 0.5": [(k, 0.5, FASTV)] for k in (2, 3, 4, 5, 6, 7, 8, 9)}


def caption_candidates() -> dict[str, list[Stage]]:
    """Return schedules for captions, which need their tokens up to deeper layers."""
    stages: dict[str, list[Stage]] = {"no pruning": []}
    for k1, k2 in ((4, 8), (6, 8), (6, 9), (7, 9)):
        for r2 in (0.25, 0.125):
            stages[f"himap {k1} 0.5 {k2} {r2}"] = [(k1, 0.5, SHALLOW), (k2, r2, DEEP)]
    return stages | {f"fastv {k} 0.5": [(k, 0.5, FASTV)] for k in (2, 4, 6, 7, 8, 9)}


class Exam:
    """A model and the samples of the benchmarks, which it answers under a schedule."""

    def __init__(self, model: Model):
        self.model = model
        self.drawn: dict[tuple[str, str, int | None], tuple[Benchmark, list[Sample]]] = {}

    def samples(self, name: str, split: str, number: int | None) -> tuple[Benchmark, list[Sample]]:
        """Return a benchmark and its samples, which are drawn only once."""
        from himap import benchmarks
        from himap.mini import benchmarks as mini

        if (name, split, number) not in self.drawn:
            benchmark = benchmarks.get(name)
            rows = mini.make(name, split, samples=number)
            samples = [benchmark.sample(row, index) for index, row in enumerate(rows)]
            if benchmark.rows_per_id > 1:  # ids repeat, so each gets its number
                samples = [replace(sample, sample_id=f"{sample.sample_id}#{i}") for i, sample in enumerate(samples)]
            self.drawn[name, split, number] = benchmark, samples
        return self.drawn[name, split, number]

    def answers(
        self, name: str, split: str, number: int | None, stages: Iterable[Stage] = (), blind: bool = False
    ) -> dict[str, str]:
        """Return greedy answers by sample id; `blind` replaces every picture by a gray one."""
        from himap.experiments.answers import Question, answer_all

        benchmark, samples = self.samples(name, split, number)
        family = self.model.family
        questions = [
            Question(sample.sample_id, [gray()] if blind else sample.images, benchmark.prompt(sample, family))
            for sample in samples
        ]
        method = {
            "name": "exam",
            "stages": [{"layer": layer, "keep": keep, "criterion": criterion} for layer, keep, criterion in stages],
        }
        limit = benchmark.max_new_tokens(family)
        rows = answer_all(self.model, questions, method, max_new_tokens=limit, batch_size=32)
        return {row["sample_id"]: row["prediction"] for row in rows}

    def score(self, name: str, split: str, number: int | None, **run: Any) -> dict[str, Any]:
        """Return a benchmark's numbers; for a judged one, how often the answer has every part of the reference."""
        from himap import benchmarks

        benchmark, samples = self.samples(name, split, number)
        answers = self.answers(name, split, number, **run)
        if benchmark.judged:
            hits = [all(part in answers[s.sample_id] for part in s.references[0].split("<AND>")) for s in samples]
            return {"n": len(samples), "headline": 100 * sum(hits) / len(hits), "metric": "whole reference met"}
        result = benchmarks.score(benchmark, samples, answers)
        topics = {s.sample_id: s.metadata["topic"] for s in samples if s.metadata.get("topic")}
        groups = result.per_sample.assign(topic=result.per_sample["sample_id"].map(topics)).groupby("topic")["score"]
        return {
            "n": result.n,
            "headline": result.headline,
            "interval": result.interval,
            "metric": result.metric,
            "scores": result.scores,
            "kinds": {topic: [len(hits), round(100 * hits.mean(), 1)] for topic, hits in groups},
        }


def gray() -> bytes:
    """Return a picture without content, as PNG."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (96, 96), (128, 128, 128)).save(data, "PNG")
    return data.getvalue()


def score_of_guessing(samples: Sequence[Sample]) -> float:
    """Return the score of picking an option at random."""
    from himap.metrics.statistics import floor_of_guessing

    return floor_of_guessing([len(sample.options) for sample in samples])


def test(exam: Exam) -> dict[str, Any]:
    """Score all twelve benchmarks, with their pictures and blind."""
    from himap.mini import benchmarks as mini

    results = {}
    for name in mini.NAMES:
        seen, blind = (exam.score(name, "test", None, blind=blind) for blind in (False, True))
        results[name] = {**seen, "blind": blind["headline"], "blind_scores": blind.get("scores", {})}
        if name in CHOICES:
            results[name]["guess"] = score_of_guessing(exam.samples(name, "test", None)[1])
        print(
            f"| {name} | {seen['metric']} | {seen['n']} | {seen['headline']:.1f} | {blind['headline']:.1f} |",
            flush=True,
        )
    return results


def places(exam: Exam) -> dict[str, Any]:
    """Score one stage that keeps a quarter of the image tokens, at several layers, by several criteria."""
    results: dict[str, Any] = {}
    for layer in (1, 2, 3, 4, 5, 6, 7, 8):
        cells = []
        for criterion in PLACED:
            both = [
                exam.score(name, "validation", 120, stages=[(layer, 0.25, criterion)])["headline"]
                for name in ("vqav2", "aokvqa")
            ]
            results[f"{layer} {criterion}"] = both
            cells.append(" / ".join(f"{value:.1f}" for value in both))
        print(f"| {layer} | {' | '.join(cells)} |", flush=True)
    return results


def schedules(exam: Exam) -> dict[str, Any]:
    """Score the candidate schedules for questions."""
    results: dict[str, Any] = {}
    for label, stages in candidates().items():
        values = [exam.score(name, "validation", 200, stages=stages)["headline"] for name in QUESTIONS]
        results[label] = values
        print(f"| {label} | {' | '.join(f'{value:.1f}' for value in values)} |", flush=True)
    return results


def captions(exam: Exam) -> dict[str, Any]:
    """Score the candidate schedules for captions."""
    results: dict[str, Any] = {}
    for label, stages in caption_candidates().items():
        results[label] = exam.score("nocaps", "validation", 80, stages=stages)["headline"]
        print(f"| {label} | {results[label]:.1f} |", flush=True)
    return results


def flow(exam: Exam) -> dict[str, Any]:
    """Measure on A-OKVQA the saliency shares of each layer, and how many answers stay the same when paths are cut."""
    import numpy as np
    from himap.experiments.answers import Question, encode
    from himap.experiments.disruption import run_undisturbed, sweep
    from himap.experiments.saliency import saliency

    benchmark, samples = exam.samples("aokvqa", "validation", 40)
    model = exam.model
    sums = np.zeros((len(model.layers), 3, 3))  # [layers, query group, key group]
    same: dict[str, list[list[bool]]] = {}
    for sample in samples:
        prompt = encode(model, [Question(sample.sample_id, sample.images, benchmark.prompt(sample, model.family))])
        token = model.answer_ids(sample.references[0])[0]
        blocks = saliency(model, prompt, token, ("paper",)).blocks["paper"].numpy()
        sums += blocks / blocks.sum((1, 2), keepdims=True)
        clean = run_undisturbed(model, prompt, 2)
        answer = model.detokenize(clean.ids)
        if not benchmark.rows([sample], [answer])[0]["score"]:  # a wrong answer can only change for the better
            continue
        for outcome in sweep(
            model, clean, list(range(len(model.layers))), ["img2txt", "img2img", "random"], ["single", "suffix"],
            block="pre", seed=0, window=5, new_tokens=2,
        ):  # fmt: skip
            kept = same.setdefault(f"{outcome.flow} {outcome.extent}", [[] for _ in model.layers])
            kept[outcome.layer].append(model.detokenize(outcome.ids) == answer)
    shares = 100 * sums / len(samples)
    names = ("system", "image", "instruction")
    results: dict[str, Any] = {
        f"share {names[k]} to {names[q]}": [round(float(value), 1) for value in shares[:, q, k]]
        for q in (1, 2)
        for k in (1, 2)
    }
    results |= {
        f"same answers {name}": [round(100 * float(np.mean(hits))) for hits in kept] for name, kept in same.items()
    }
    for name, values in results.items():
        print(f"| {name} | {' | '.join(str(value) for value in values)} |", flush=True)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen parts and add them to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/mini", help="the checkpoint's folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; parts measured earlier stay in it")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args(argv)

    import himap

    exam = Exam(himap.load(args.model))
    results = files.read_json(args.out) if args.out.exists() else {}
    for part in args.parts:
        print(f"\n{part}", flush=True)
        results[part] = globals()[part](exam)  # each part is a function of the same name
        files.write_json(args.out, results)
    return 0


if __name__ == "__main__":
    script.run(main)
