"""Measure a mini checkpoint for its card: scores with and without the picture on test scenes, pruning and flow on validation ones."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap import files
from himap.pruning.stage import Schedule, Stage
from himap.workflow.jobs import script

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.models.model import Model

PARTS = ("test", "places", "schedules", "captions", "flow")
CHOICES = ("scienceqa", "aokvqa")
QUESTIONS = ("vqav2", "aokvqa", "scienceqa")
# Criteria compared at one stage, and what HiMAP's and FastV's stages rank by.
PLACED = ("random", "instruction_attention", "image_attention", "last_token_attention")
SHALLOW, DEEP, FASTV, RANDOM = "instruction_attention", "image_attention", "last_token_attention", "random"


def candidates() -> dict[str, list[Stage]]:
    """Schedules for questions: HiMAP at several places and sizes, its criteria replaced, and FastV at several places."""
    found: dict[str, list[Stage]] = {"no pruning": []}
    # The mini decoder has 12 layers, the paper's 32: its stages at 2 and 8 would be at 1 and 3 in proportion.
    for k1, k2 in ((2, 6), (3, 6), (3, 8), (4, 6), (4, 7), (4, 8), (5, 8), (6, 8), (6, 9)):
        for r1, r2 in ((0.5, 0.125), (0.25, 0.0625)):
            found[f"himap {k1} {r1} {k2} {r2}"] = [Stage(k1, r1, SHALLOW), Stage(k2, r2, DEEP)]
    for first, second in ((DEEP, SHALLOW), (DEEP, DEEP), (SHALLOW, SHALLOW), (FASTV, FASTV), (RANDOM, RANDOM)):
        found[f"himap 3 0.5 8 0.125 {first} {second}"] = [Stage(3, 0.5, first), Stage(8, 0.125, second)]
    return found | {f"fastv {k} 0.5": [Stage(k, 0.5, FASTV)] for k in (2, 3, 4, 5, 6, 7, 8, 9)}


def caption_candidates() -> dict[str, list[Stage]]:
    """Schedules for captions, which need their tokens longer."""
    found: dict[str, list[Stage]] = {"no pruning": []}
    for k1, k2 in ((4, 8), (6, 8), (6, 9), (7, 9)):
        for r2 in (0.25, 0.125):
            found[f"himap {k1} 0.5 {k2} {r2}"] = [Stage(k1, 0.5, SHALLOW), Stage(k2, r2, DEEP)]
    return found | {f"fastv {k} 0.5": [Stage(k, 0.5, FASTV)] for k in (2, 4, 6, 7, 8, 9)}


class Exam:
    """A model with the drawn rows of the benchmarks, asked under a schedule."""

    def __init__(self, model: Model):
        self.model = model
        self.held: dict[tuple[str, str, int | None], tuple[Benchmark, list[Sample]]] = {}

    def samples(self, name: str, split: str, number: int | None) -> tuple[Benchmark, list[Sample]]:
        """Return a benchmark and its samples, drawn once."""
        from himap import benchmarks
        from himap.mini import benchmarks as drawn

        if (name, split, number) not in self.held:
            benchmark = benchmarks.get(name)
            rows = [benchmark.sample(row, index) for index, row in enumerate(drawn.make(name, split, samples=number))]
            if benchmark.rows_per_id > 1:  # MME has two questions under one id, and answers are kept by id
                rows = [replace(row, sample_id=f"{row.sample_id}#{index}") for index, row in enumerate(rows)]
            self.held[name, split, number] = benchmark, rows
        return self.held[name, split, number]

    def answers(
        self, name: str, split: str, number: int | None, stages: Iterable[Stage] = (), blind: bool = False
    ) -> dict[str, str]:
        """Greedy answers by sample."""
        from himap.experiments.answers import Question
        from himap.experiments.batches import answer_all

        benchmark, samples = self.samples(name, split, number)
        family = self.model.family
        asked = [Question(s.sample_id, [gray()] if blind else s.images, benchmark.prompt(s, family)) for s in samples]
        rows = answer_all(
            self.model, asked, Schedule(tuple(stages)), max_new_tokens=benchmark.max_new_tokens(family), batch_size=32
        )
        return {row["sample_id"]: row["prediction"] for row in rows}

    def score(self, name: str, split: str, number: int | None, **run: Any) -> dict[str, Any]:
        """Return a benchmark's numbers; where a judge would be needed, how often the whole reference is met instead."""
        from himap import benchmarks

        benchmark, samples = self.samples(name, split, number)
        answers = self.answers(name, split, number, **run)
        if benchmark.judged:
            # MM-Vet writes "first<AND>second": all parts have to be in the answer.
            hits = [all(part in answers[s.sample_id] for part in s.references[0].split("<AND>")) for s in samples]
            return {"n": len(samples), "headline": 100 * sum(hits) / len(hits), "metric": "whole reference met"}
        found = benchmarks.score(benchmark, samples, answers)
        topics = {s.sample_id: s.metadata["topic"] for s in samples if s.metadata.get("topic")}
        kinds = found.per_sample.assign(topic=found.per_sample["sample_id"].map(topics)).groupby("topic")["score"]
        return {
            "n": found.n,
            "headline": found.headline,
            "interval": found.interval,
            "metric": found.metric,
            "scores": found.scores,
            "kinds": {kind: [len(hits), round(100 * hits.mean(), 1)] for kind, hits in kinds},
        }


def gray() -> bytes:
    """Return a picture without content."""
    from PIL import Image

    data = io.BytesIO()
    # The mini model's own picture size.
    Image.new("RGB", (96, 96), (128, 128, 128)).save(data, "PNG")
    return data.getvalue()


def guesses(samples: Sequence[Sample]) -> float:
    """Return the score of options picked at random."""
    from himap.metrics.statistics import floor_of_guessing

    return floor_of_guessing([len(sample.options) for sample in samples])


def test(exam: Exam) -> dict[str, Any]:
    """Score all twelve benchmarks, with their pictures and blind."""
    from himap.mini import benchmarks as drawn

    found = {}
    for name in drawn.names():
        seen, blind = (exam.score(name, "test", None, blind=blind) for blind in (False, True))
        found[name] = {**seen, "blind": blind["headline"], "blind_scores": blind.get("scores", {})}
        if name in CHOICES:
            found[name]["guess"] = guesses(exam.samples(name, "test", None)[1])
        print(
            f"| {name} | {seen['metric']} | {seen['n']} | {seen['headline']:.1f} | {blind['headline']:.1f} |",
            flush=True,
        )
    return found


def places(exam: Exam) -> dict[str, Any]:
    """Score one stage that keeps a quarter, at several layers, by several criteria."""
    found: dict[str, Any] = {}
    for layer in (1, 2, 3, 4, 5, 6, 7, 8):
        cells = []
        for criterion in PLACED:
            both = [
                # On validation scenes, so that a schedule chosen by these numbers has not seen the test scenes.
                exam.score(name, "validation", 120, stages=[Stage(layer, 0.25, criterion)])["headline"]
                for name in ("vqav2", "aokvqa")
            ]
            found[f"{layer} {criterion}"] = both
            cells.append(" / ".join(f"{value:.1f}" for value in both))
        print(f"| {layer} | {' | '.join(cells)} |", flush=True)
    return found


def schedules(exam: Exam) -> dict[str, Any]:
    """Candidates for questions."""
    found: dict[str, Any] = {}
    for label, stages in candidates().items():
        values = [exam.score(name, "validation", 200, stages=stages)["headline"] for name in QUESTIONS]
        found[label] = values
        print(f"| {label} | {' | '.join(f'{value:.1f}' for value in values)} |", flush=True)
    return found


def captions(exam: Exam) -> dict[str, Any]:
    """Candidates for captions."""
    found: dict[str, Any] = {}
    for label, stages in caption_candidates().items():
        found[label] = exam.score("nocaps", "validation", 80, stages=stages)["headline"]
        print(f"| {label} | {found[label]:.1f} |", flush=True)
    return found


def flow(exam: Exam) -> dict[str, Any]:
    """Saliency shares of each layer, and the answers that stay when paths are cut, on A-OKVQA."""
    import numpy as np
    from himap.experiments.answers import Question, encode
    from himap.experiments.cut_runs import run_undisturbed, sweep
    from himap.experiments.saliency import saliency

    benchmark, samples = exam.samples("aokvqa", "validation", 40)
    model = exam.model
    # [layers, receiving group, giving group], groups in the order system, image, instruction.
    sums = np.zeros((len(model.layers), 3, 3))
    same: dict[str, list[list[bool]]] = {}
    for sample in samples:
        prompt = encode(model, [Question(sample.sample_id, sample.images, benchmark.prompt(sample, model.family))])
        token = model.answer_ids(sample.references[0])[0]
        blocks = saliency(model, prompt, token, ("paper",)).blocks["paper"].numpy()
        # Each sample's layers as shares, so that samples with large gradients do not decide the mean.
        sums += blocks / blocks.sum((1, 2), keepdims=True)
        clean = run_undisturbed(model, prompt, 2)
        answer = model.detokenize(clean.ids)
        # As in the paper, only samples that the undisturbed model answers right are disrupted.
        if not benchmark.rows([sample], [answer])[0]["score"]:
            continue
        for outcome in sweep(
            model, clean, list(range(len(model.layers))), ["img2txt", "img2img", "random"], ["single", "suffix"],
            block="pre", seed=0, window=5, new_tokens=2,
        ):  # fmt: skip
            kept = same.setdefault(f"{outcome.flow} {outcome.extent}", [[] for _ in model.layers])
            kept[outcome.layer].append(model.detokenize(outcome.ids) == answer)
    shares = 100 * sums / len(samples)
    names = ("system", "image", "instruction")
    found: dict[str, Any] = {
        f"share {names[k]} to {names[q]}": [round(float(value), 1) for value in shares[:, q, k]]
        for q in (1, 2)
        for k in (1, 2)
    }
    found |= {f"same answers {name}": [round(100 * float(np.mean(hit))) for hit in kept] for name, kept in same.items()}
    for name, values in found.items():
        print(f"| {name} | {' | '.join(str(value) for value in values)} |", flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the parts that are asked for and add them to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/mini", help="the checkpoint's folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; parts measured earlier stay in it")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args(argv)

    import himap

    exam = Exam(himap.load(args.model))
    found = files.read_json(args.out) if args.out.exists() else {}
    for part in args.parts:
        print(f"\n{part}", flush=True)
        found[part] = globals()[part](exam)
        # After each part, since all together take long.
        files.write_json(args.out, found)
    return 0


if __name__ == "__main__":
    script.run(main)
