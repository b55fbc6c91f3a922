"""Is attention importance? Each criterion's ranking against what leaving a token out does to the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from himap.experiments.questions._base import Asked, OpenQuestion, Row, Settings
from himap.experiments.questions._samples import one_of_each

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.tokens import Rows
    from himap.models.model import Model
    from himap.pruning.stage import Stage

UNTRAINED = ", random weights"  # after a criterion's name
CRITERIA = ["instruction_attention", "image_attention", "last_token_attention", "embedding_norm", "gradient", "random"]


def measure(model: Model, group: Sequence[Asked], settings: Settings) -> Iterator[Row]:
    """Yield a row per layer of HiMAP's stages and criterion: agreement with true importance, and what a ranking by it costs."""
    from himap.experiments.answers import encode
    from himap.experiments.questions._schedules import reference

    (asked,) = group
    stages = reference(model).stages
    prompt = encode(model, [asked.question])
    for number, stage in enumerate(stages):
        for row in at_stage(model, asked, prompt, stage, settings):
            yield place_of(model, asked, number, stage) | row
    if settings["random_weights"]:
        yield from untrained(model, asked, stages, settings)


def place_of(model: Model, asked: Asked, number: int, stage: Stage) -> Row:
    """Return of which sample and stage a row is."""
    place = {"stage": number, "layer": stage.layer, "layers": len(model.layers)}
    return {"sample_id": asked.sample.sample_id, "kind": asked.kind, **place}


def untrained(model: Model, asked: Asked, stages: Sequence[Stage], settings: Settings) -> Iterator[Row]:
    """Yield as a control which evidence each stage's own criterion keeps in the same architecture with random weights."""
    from himap.costs.formulas import keep_count
    from himap.experiments import importance
    from himap.experiments.answers import encode
    from himap.experiments.sharing import sample_seed
    from himap.models.loading import redrawn_weights

    seed = sample_seed(settings["seed"], asked.sample.sample_id)
    with redrawn_weights(model, seed):  # others for each sample: one draw has a liking for some places
        prompt = encode(model, [asked.question])
        for number, stage in enumerate(stages):
            at = importance.entering(model, prompt, stage.layer)
            total = int((at.rows.image_index >= 0).sum())
            count = keep_count(stage.keep, total)
            scores = importance.scores(model, prompt, at, stage.layer, stage.criterion, seed, count).cpu()
            recall = share_of(importance.best(scores, count), asked.tokens_about(prompt.layouts[0]))
            row = {"criterion": f"{stage.criterion}{UNTRAINED}", "recall": recall, "count": count, "total": total}
            yield place_of(model, asked, number, stage) | row


def at_stage(model: Model, asked: Asked, prompt: Rows, stage: Stage, settings: Settings) -> Iterator[Row]:
    """Yield a row per criterion at one layer, where the stage keeps its count of all image tokens."""
    import torch

    from himap.costs.formulas import keep_count
    from himap.experiments import importance
    from himap.experiments.sharing import sample_seed

    layer = stage.layer
    at = importance.entering(model, prompt, layer)
    total = int((at.rows.image_index >= 0).sum())
    count, size = keep_count(stage.keep, total), settings["group"]
    # neighbors in the order of image tokens; with a group of 1 each token is left out alone
    parts = [range(begin, min(begin + size, total)) for begin in range(0, total, size)]
    target = importance.next_token(model, at.rows, layer)

    def kept_only(masks: Tensor) -> Tensor:
        return importance.log_probability(model, at.rows, layer, target, masks)

    clean = kept_only(torch.ones(1, total, dtype=torch.bool))[0]
    fall = (clean - kept_only(importance.left_out(parts, total))).cpu()  # [parts]
    # every token of a part counts as much as the whole part
    truth = torch.cat([fall[number].expand(len(part)) for number, part in enumerate(parts)])  # [total]
    seed = sample_seed(settings["seed"], asked.sample.sample_id)
    ranked = {
        name: importance.scores(model, prompt, at, layer, name, seed, count).cpu() for name in settings["criteria"]
    }
    chosen = {name: importance.best(scores, count) for name, scores in ranked.items()}
    # the ranking that no criterion can know: keep what costs most when it is left out
    truly = importance.best(truth, count)
    # what the answer loses if only the best are kept: by true importance first, then by each criterion
    values = kept_only(torch.stack([truly, *chosen.values()])).cpu()
    shuffled = torch.Generator().manual_seed(seed)
    about = asked.tokens_about(prompt.layouts[0])
    elsewhere = torch.randperm(total, generator=shuffled)[: len(about)].tolist()
    for number, (name, scores) in enumerate(ranked.items(), start=1):
        yield {
            "criterion": name,
            "agreement": agreement(scores, fall, parts),
            "influence": agreement(scores, fall.abs(), parts),  # however the answer's log-probability moves
            "precision": float((chosen[name] & truly).sum() / count),
            "recall": share_of(chosen[name], about),
            "recall_shuffled": share_of(chosen[name], elsewhere),  # a control: as many tokens anywhere
            "loss": float(clean - values[number]),
            "regret": float(values[0] - values[number]),
            "count": count,
            "total": total,
            "parts": len(parts),
        }


def agreement(scores: Tensor, fall: Tensor, parts: Sequence[range]) -> float | None:
    """Return the rank correlation of the scores of the parts with the fall that each causes; None where one does not vary."""
    from himap.metrics.ranks import spearman

    rho = spearman([float(scores[part.start : part.stop].sum()) for part in parts], fall.tolist())
    # NaN, where all values are equal
    return None if rho != rho else rho


def share_of(kept: Tensor, tokens: Sequence[int]) -> float | None:
    """Return the share of some tokens that are kept; None where there are none."""
    return float(kept[list(tokens)].float().mean()) if tokens else None


def prefills(settings: Settings, layers: int) -> float:
    """Return the prefills of a sample: about two thirds of one for each part that is left out, in two stages, and a third of samples."""
    return 1 + 0.55 * 2 * 144 / settings["group"] / 3


def criteria(settings: Settings) -> list[str]:
    """Return the criteria that are compared."""
    return list(settings["criteria"])


QUESTION = OpenQuestion(
    title="Is attention importance?",
    about="Whether attention finds the tokens that matter: leaving tokens out one by one, against each criterion's ranking.",
    measure=measure,
    prefills=prefills,
    groups=one_of_each,
    criteria=criteria,
    limit=36,
    settings={"criteria": CRITERIA, "group": 1, "random_weights": False},
)
