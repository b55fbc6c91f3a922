"""The page about one prompt: heat maps over the picture, flows, answers, kept tokens, cuts. One file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from himap import numbers
from himap.figures._labels import CURVES, EXTENTS, FLOWS, LAYER, VARIANTS
from himap.figures._page import page_groups, page_legend
from himap.figures._panels import Curve, Curves, Line, Panel
from himap.files import write_text
from himap.report.gallery import dropped_path
from himap.report.kept_maps import MOST, heat_map
from himap.report.single_pages import FOLDER, picture_address, template

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.experiments.inspection import CutAnswer, Inspection, MethodAnswer
KINDS = {
    "attention": "attention",
    "paper": f"saliency, {VARIANTS['paper']}",
    "released": f"saliency, {VARIANTS['released']}",
}
GROUPS = ("system", "image", "instruction")
STAGES = 4  # shown of a method that has more


@dataclass(frozen=True)
class Page:
    """A page as text: a notebook shows it, `save` writes it."""

    html: str

    def save(self, path: str | Path) -> Path:
        """Write the page to a file."""
        write_text(path, self.html)
        return Path(path)

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, where the notebook's styles and it leave each other alone."""
        return f'<iframe srcdoc="{escape(self.html)}" width="100%" height="900" style="border: 0"></iframe>'


def render(look: Inspection, picture: Image, titles: Mapping[str, str] | None = None) -> Page:
    """Return the page of one inspected prompt. `picture` is the image as the model sees it."""
    flows, cuts = flow_panels(look), cut_panels(look)
    html = template("inspection/page.html.j2").render(
        look=look,
        picture=picture_address(picture),
        shape=picture.size,
        tokens=sum(look.sizes.values()),
        probability=percent(look.probability),
        maps={kind: [layer_map(look, number, kind) for number in range(len(look.layers))] for kind in KINDS},
        kinds=KINDS,
        start=first_shown(look),
        flows=page_groups(flows),
        flow_legend=page_legend(flows),
        answers=[answer_part(answer, titles or {}) for answer in look.answers],
        cuts=page_groups(cuts),
        cut_legend=page_legend(cuts),
        # Only these are listed; `tried` says of how many.
        changed=[changed_answer(cut) for cut in look.cuts if cut.text != look.clean],
        tried=len(look.cuts),
        style=Markup((FOLDER / "inspection" / "style.css").read_text(encoding="utf-8")),  # our own text
        script=Markup((FOLDER / "inspection" / "script.js").read_text(encoding="utf-8")),
    )
    return Page(html)


def first_shown(look: Inspection) -> int:
    """Return the layer that the page opens with: where what the instruction reads off the picture matters most."""
    return max(range(len(look.layers)), key=lambda layer: flow(look, layer, "paper", "instruction", "image"))


def percent(share: float) -> str:
    """Return a probability in percent, with three digits that count."""
    return f"{numbers.significant(100 * share, 3)} %"


def layer_map(look: Inspection, number: int, kind: str) -> dict[str, str]:
    """Return one layer's heat map, light where it has most, and what it says in words."""
    values = look.layers[number].maps[kind]
    most = float(values.max(initial=0.0))
    # [3, 3]: rows receive, columns give, both in the order of GROUPS.
    share = look.layers[number].flows[kind]
    # All that the instruction receives, from the system prompt, the picture and itself.
    whole = float(share[GROUPS.index("instruction")].sum())
    of_all = percent(float(values.sum()) / whole) if whole else percent(0)
    peak = numbers.significant(most / float(values.mean()), 3) if most else "0"
    noun = "attention" if kind == "attention" else "saliency"
    return {
        # Each layer has a scale of its own: layers differ by orders of magnitude, and a map compares places within one.
        "address": heat_map(MOST * look.layout.density(values, look.layout.grid) / (most or 1.0)),
        "words": f"Layer {number}: {of_all} of the instruction's {noun} goes to the picture; its lightest token has {peak} times the mean.",
    }


# ---- charts


def flow_panels(look: Inspection) -> list[Panel]:
    """Return the flows between the groups of tokens, layer by layer."""
    panels: list[Panel] = []
    for receiver in ("instruction", "image"):
        curves = [
            Curve(giver, [(n, attention_share(look, n, receiver, giver)) for n in range(len(look.layers))], place)
            for place, giver in enumerate(GROUPS)
            if giver != "instruction" or receiver != "image"  # an image token sees none of the instruction after it
        ]
        panels.append(
            Curves(title=f"attention of the {receiver} tokens", x_label=LAYER, y_label="share", curves=curves, y_range=(0, 1))
        )  # fmt: skip
    for kind in ("paper", "released"):
        pairs = {"image_from_image": ("image", "image"), "instruction_from_image": ("instruction", "image")}
        curves = [
            Curve(CURVES[name], [(n, flow(look, n, kind, *pair)) for n in range(len(look.layers))], place)
            # Colors after those of the three groups above, which mean other things.
            for place, (name, pair) in enumerate(pairs.items(), start=3)
        ]
        panels.append(Curves(title=KINDS[kind], x_label=LAYER, y_label="sum", curves=curves))
    return panels


def flow(look: Inspection, layer: int, kind: str, receiver: str, giver: str) -> float:
    """Return the sum of a map over one block."""
    return float(look.layers[layer].flows[kind][GROUPS.index(receiver), GROUPS.index(giver)])


def attention_share(look: Inspection, layer: int, receiver: str, giver: str) -> float:
    """Return which share of its attention a group pays to another, on average over its tokens."""
    return flow(look, layer, "attention", receiver, giver) / max(1, look.sizes[receiver])


def cut_panels(look: Inspection) -> list[Panel]:
    """Return how likely the unpruned answer's first token is after each cut."""
    panels: list[Panel] = []
    # dict.fromkeys: each once, in the order in which they were run.
    for extent in dict.fromkeys(cut.extent for cut in look.cuts):
        cuts = [cut for cut in look.cuts if cut.extent == extent]
        curves = [
            Curve(FLOWS[name], [(cut.layer, cut.probability) for cut in cuts if cut.flow == name], place)
            for place, name in enumerate(dict.fromkeys(cut.flow for cut in cuts))
        ]
        line = Line(at=look.probability, label="nothing cut")
        panels.append(
            Curves(title=EXTENTS[extent], x_label=LAYER, y_label="probability", curves=curves, lines=[line], y_range=(0, 1.02))
        )  # fmt: skip
    return panels


def changed_answer(cut: CutAnswer) -> dict[str, Any]:
    """Return a cut after which the answer is another one."""
    return {
        "layer": cut.layer,
        "flow": FLOWS[cut.flow],
        "extent": EXTENTS[cut.extent],
        "text": cut.text.strip() or "(nothing)",
        "probability": percent(cut.probability),
    }


# ---- answers


def answer_part(answer: MethodAnswer, titles: Mapping[str, str]) -> dict[str, Any]:
    """Return one method's answer: text, probabilities, and the tiles of its stages."""
    return {
        "title": titles.get(answer.method, answer.method),
        "text": answer.text.strip() or "(nothing)",
        "probability": percent(answer.probability),
        "tokens": [(text, percent(chance)) for text, chance in answer.tokens],
        "likeliest": [(text, percent(chance)) for text, chance in answer.likeliest],
        "grid": answer.layout.grid,
        "tiles": tiles(answer),
    }


def tiles(answer: MethodAnswer) -> list[dict[str, str]]:
    """Return the dark cells over the picture after each stage, or after some of them where there are many."""
    if not answer.stages:
        return [{"dropped": "", "note": f"all {answer.image_tokens} tokens", "criterion": ""}]
    many = len(answer.kept)
    shown = range(many) if many <= STAGES else sorted({0, many // 3, 2 * many // 3, many - 1})
    parts = []
    for number in shown:
        mask = np.zeros(answer.image_tokens, dtype=bool)
        # `kept` holds original positions among the image tokens.
        mask[answer.kept[number]] = True
        stage = answer.stages[number]
        note = f"from layer {stage.layer}: {len(answer.kept[number])} of {answer.image_tokens}"
        parts.append(
            {"dropped": dropped_path(answer.layout.shown(mask, answer.layout.grid)), "note": note, "criterion": stage.criterion}
        )  # fmt: skip
    return parts
