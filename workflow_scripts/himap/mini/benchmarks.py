"""Small counterparts of the twelve benchmarks: rows about generated pictures in the columns of the published sets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from himap.mini import conversations
from himap.mini import questions as q
from himap.mini.glyphs import COLOR_NAMES, SHAPE_NAMES
from himap.mini.scenes import PIXELS, Scene, generator, make_scene, png

Row = dict[str, Any]

TEXT, NUMBER = "string", "int64"
IMAGE = {"_type": "Image"}
COLUMNS: dict[str, dict[str, Any]] = {
    "vqav2": {
        "question_type": TEXT,
        "multiple_choice_answer": TEXT,
        "answers": [{"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER}],
        "image_id": NUMBER,
        "answer_type": TEXT,
        "question_id": NUMBER,
        "question": TEXT,
        "image": IMAGE,
    },
    "textvqa": {
        "image_id": TEXT,
        "question_id": "int32",
        "question": TEXT,
        "question_tokens": [TEXT],
        "image": IMAGE,
        "image_width": "int32",
        "image_height": "int32",
        "flickr_original_url": TEXT,
        "flickr_300k_url": TEXT,
        "answers": [TEXT],
        "image_classes": [TEXT],
        "set_name": TEXT,
        "ocr_tokens": [TEXT],
    },
    "mme": {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT, "category": TEXT},
    "scienceqa": {
        "image": IMAGE,
        "question": TEXT,
        "choices": [TEXT],
        "answer": "int8",
        "hint": TEXT,
        "task": TEXT,
        "grade": TEXT,
        "subject": TEXT,
        "topic": TEXT,
        "category": TEXT,
        "skill": TEXT,
        "lecture": TEXT,
        "solution": TEXT,
    },
    "aokvqa": {
        "image": IMAGE,
        "question_id": TEXT,
        "question": TEXT,
        "choices": [TEXT],
        "correct_choice_idx": "int8",
        "direct_answers": TEXT,
        "difficult_direct_answer": "bool",
        "rationales": [TEXT],
    },
    "pope": {
        "id": TEXT,
        "question_id": TEXT,
        "question": TEXT,
        "answer": TEXT,
        "image_source": TEXT,
        "image": IMAGE,
        "category": TEXT,
    },
    "nocaps": {
        "image": IMAGE,
        "image_coco_url": TEXT,
        "image_date_captured": TEXT,
        "image_file_name": TEXT,
        "image_height": "int32",
        "image_width": "int32",
        "image_id": "int32",
        "image_license": "int8",
        "image_open_images_id": TEXT,
        "annotations_ids": ["int32"],
        "annotations_captions": [TEXT],
    },
    "flickr30k": {"image": IMAGE, "caption": [TEXT], "sentids": [TEXT], "img_id": TEXT, "filename": TEXT},
    "llavabench": {
        "question_id": TEXT,
        "question": TEXT,
        "image": IMAGE,
        "category": TEXT,
        "image_id": TEXT,
        "gpt_answer": TEXT,
        "caption": TEXT,
    },
    "mmvet": {
        "question_id": TEXT,
        "image": IMAGE,
        "question": TEXT,
        "answer": TEXT,
        "image_source": TEXT,
        "capability": TEXT,
    },
    "chartqa": {"type": TEXT, "question": TEXT, "answer": TEXT, "image": IMAGE},
    "docvqa": {
        "questionId": TEXT,
        "question": TEXT,
        "question_types": [TEXT],
        "image": IMAGE,
        "docId": NUMBER,
        "ucsf_document_id": TEXT,
        "ucsf_document_page_no": TEXT,
        "answers": [TEXT],
        "data_split": TEXT,
    },
}
NAMES = tuple(COLUMNS)
SAMPLES = {  # rows, but images for MME (two rows each)
    "vqav2": 400,
    "textvqa": 300,
    "mme": 160,
    "scienceqa": 400,
    "aokvqa": 400,
    "pope": 720,
    "nocaps": 200,
    "flickr30k": 200,
    "llavabench": 60,
    "mmvet": 200,
    "chartqa": 300,
    "docvqa": 300,
}


class Drawer:
    """Scenes and random numbers of one benchmark and split, one after another."""

    def __init__(self, benchmark: str, split: str, seed: int):
        self.benchmark, self.split, self.seed = NAMES.index(benchmark), split, seed
        self.drawn = 0

    def scene(self, *kinds: str) -> tuple[Scene, np.random.Generator]:
        """The next scene, of one of the kinds."""
        rng = generator(self.split, 1000 + self.seed, self.benchmark, self.drawn)
        self.drawn += 1
        return make_scene(kinds[int(rng.integers(len(kinds)))], rng), rng

    def question(
        self, kinds: tuple[str, ...], makers: tuple[q.Maker, ...], accept: Callable[[q.Question], bool] = lambda _: True
    ) -> tuple[Scene, np.random.Generator, q.Question]:
        """The next scene with a question that is accepted; scenes without one are passed over."""
        while True:
            scene, rng = self.scene(*kinds)
            for index in rng.permutation(len(makers)):
                question = q.ask(makers[index], scene, rng, tries=3)
                if question is not None and accept(question):
                    return scene, rng, question


def picture(scene: Scene, name: str) -> Row:
    """An image as data sets store it: encoded bytes and a file name."""
    return {"bytes": png(scene), "path": name}


def _annotators(question: q.Question, rng: np.random.Generator) -> list[str]:
    """Ten people's answers: most agree, some word it differently, now and then one is wrong."""
    answers = []
    for _ in range(10):
        draw, answer = rng.random(), question.answer
        if draw < 0.05:
            answer = (
                question.wrong[int(rng.integers(min(3, len(question.wrong))))]
                if question.wrong
                else ("no" if answer == "yes" else "yes")
            )
        elif draw < 0.12:
            answer = (
                conversations.NUMBERS[int(answer)] if answer.isdigit() and 0 < int(answer) < 10 else answer.capitalize()
            )
        answers.append(answer)
    return answers


def vqav2(draw: Drawer, number: int) -> list[Row]:
    """Open questions with ten answers each, three about each picture."""
    makers = (*q.MARK_MAKERS[:10], q.word, q.bar_color, q.bar_count, q.count_is, q.color_is)
    rows: list[Row] = []
    while len(rows) < number:
        scene, rng = draw.scene("shapes", "shapes", "shapes", "few", "signs", "chart")
        image_id = 100_000 + draw.drawn
        asked: set[str] = set()
        for index in rng.permutation(len(makers)):
            question = q.ask(makers[index], scene, rng, tries=2)
            if question is None or question.text in asked or len(asked) == 3 or len(rows) == number:
                continue
            asked.add(question.text)
            answers = _annotators(question, rng)
            confidence = ("yes", "yes", "yes", "maybe", "no")
            rows.append(
                {
                    "question_type": " ".join(question.text.rstrip("?").lower().split()[:2]),
                    "multiple_choice_answer": Counter(answers).most_common(1)[0][0],
                    "answers": [
                        {"answer": answer, "answer_confidence": confidence[int(rng.integers(5))], "answer_id": i + 1}
                        for i, answer in enumerate(answers)
                    ],
                    "image_id": image_id,
                    "answer_type": question.answer_type,
                    "question_id": image_id * 1000 + len(asked) - 1,
                    "question": question.text,
                    "image": picture(scene, f"mini_{image_id:012d}.png"),
                }
            )
    return rows


def textvqa(draw: Drawer, number: int) -> list[Row]:
    """Reading words; the prompt will hold what a text reader found, in any order and not always all of it."""
    rows = []
    for index in range(number):
        scene, rng, question = draw.question(("signs",), (q.word, q.word_place))
        answers = [question.answer.lower() if rng.random() < 0.8 else question.answer for _ in range(10)]
        if len(scene.words) > 1 and rng.random() < 0.5:
            other = next(word.text for word in scene.words if word.text != question.answer)
            answers[int(rng.integers(10))] = other.lower()
        rows.append(
            {
                "image_id": f"{draw.split[:2]}{draw.drawn:014x}",
                "question_id": 30_000 + index,
                "question": question.text.lower(),
                "question_tokens": question.text.lower().rstrip("?").split(),
                "image": picture(scene, f"{draw.drawn:016x}.png"),
                "image_width": PIXELS,
                "image_height": PIXELS,
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "answers": answers,
                "image_classes": sorted({mark.shape for mark in scene.marks}),
                "set_name": "val",
                "ocr_tokens": conversations.ocr_tokens(scene, rng),
            }
        )
    return rows


MME_SUBTASKS: dict[str, tuple[tuple[str, ...], q.Maker]] = {
    "existence": (("shapes", "few"), q.exists),
    "count": (("shapes",), q.count_is),
    "position": (("shapes", "few"), q.relation),
    "color": (("shapes", "few"), q.color_is),
    "scene": (("shapes", "chart", "document", "sum"), q.scene_is),
    "OCR": (("signs",), q.word_is),
    "commonsense_reasoning": (("shapes", "few"), q.fact_exists),
    "numerical_calculation": (("sum",), q.total_is),
}


def mme(draw: Drawer, number: int) -> list[Row]:
    """Two questions about each picture, one to be answered Yes and one No, in those subtasks that such pictures can have."""
    rows = []
    subtasks = list(MME_SUBTASKS)
    counts: Counter[str] = Counter()
    for index in range(number):
        subtask = subtasks[index % len(subtasks)]
        kinds, maker = MME_SUBTASKS[subtask]
        while True:
            scene, rng = draw.scene(*kinds)
            found = [q.ask(maker, scene, rng, answer=answer, tries=25) for answer in ("yes", "no")]
            pair = [question for question in found if question is not None]
            if len(pair) == 2:
                break
        counts[subtask] += 1
        name = f"{subtask}/{counts[subtask]:04d}.png"
        image = picture(scene, f"{counts[subtask]:04d}.png")
        for question in pair:
            text = f"{question.text} Please answer yes or no."
            answer = question.answer.capitalize()
            rows.append({"question_id": name, "image": image, "question": text, "answer": answer, "category": subtask})
    return rows


def scienceqa(draw: Drawer, number: int) -> list[Row]:
    """Multiple choice with two to five options; many have a context, which some need and others do not."""
    makers = (
        q.story,
        q.story,
        q.story,
        q.like_thing,
        q.fact,
        q.color_of_shape,
        q.shape_of_color,
        q.count_shape,
        q.count_color,
        q.same_color,
        q.bar_extreme,
        q.bar_value,
        q.total,
    )
    kinds = ("shapes", "shapes", "few", "few", "chart", "sum")
    subjects = {"bar value": "mathematics", "bar extreme": "mathematics", "sum": "mathematics", "count": "mathematics"}
    rows = []
    for index in range(number):
        scene, rng, question = draw.question(kinds, makers, lambda question: bool(question.wrong))
        options, right = q.with_options(question, rng, int((2, 2, 3, 3, 4, 4, 4, 5)[index % 8]))
        hint = question.context
        rows.append(
            {
                "image": picture(scene, "image.png"),
                "question": question.text,
                "choices": options,
                "answer": right,
                "hint": hint,
                "task": "closed choice",
                "grade": f"grade{1 + index % 12}",
                "subject": subjects.get(question.kind, "natural science"),
                "topic": question.kind,
                "category": scene.kind,
                "skill": question.kind,
                "lecture": "",
                "solution": question.sentence,
            }
        )
    return rows


def aokvqa(draw: Drawer, number: int) -> list[Row]:
    """Four options; most questions need something everybody knows, or a second look."""
    makers = (
        q.like_thing,
        q.like_thing,
        q.fact,
        q.same_color,
        q.neighbour,
        q.color_of_shape,
        q.count_shape,
        q.word,
        q.word_color,
    )
    rows = []
    for index in range(number):
        scene, rng, question = draw.question(
            ("shapes", "shapes", "few", "signs"), makers, lambda question: bool(question.wrong)
        )
        options, right = q.with_options(question, rng, 4)
        rows.append(
            {
                "image": picture(scene, f"{index:012d}.png"),
                "question_id": f"mini{draw.split[:2]}{draw.drawn:016d}",
                "question": question.text,
                "choices": options,
                "correct_choice_idx": right,
                "direct_answers": repr(_annotators(question, rng)),
                "difficult_direct_answer": False,
                "rationales": [question.sentence] * 3,
            }
        )
    return rows


def pope(draw: Drawer, number: int) -> list[Row]:
    """Six questions about a picture in each of three settings with the same three positives.

    Negatives are any absent objects (random), the most frequent objects of the whole set that the picture lacks
    (popular), and absent objects whose color and shape both stand in the picture, on different objects (adversarial).
    """
    scenes: list[tuple[Scene, np.random.Generator, list[str]]] = []
    while len(scenes) * 18 < number:
        scene, rng = draw.scene("shapes")
        present = sorted({mark.name for mark in scene.marks})
        if len(present) >= 3 and len(_mixed(scene)) >= 3:
            scenes.append((scene, rng, present))
    frequency = Counter(name for _, _, present in scenes for name in present)
    by_frequency = [name for name, _ in sorted(frequency.items(), key=lambda item: (-item[1], item[0]))]
    everything = [f"{color} {shape}" for color in COLOR_NAMES for shape in SHAPE_NAMES]
    rows: list[Row] = []
    settings: dict[str, list[Row]] = {"adversarial": [], "popular": [], "random": []}
    for index, (scene, rng, present) in enumerate(scenes):
        positives = [present[i] for i in rng.permutation(len(present))[:3]]
        absent = [name for name in everything if name not in present]
        popular = [name for name in by_frequency if name not in present] + absent
        mixed = _mixed(scene)
        negatives = {
            "random": [absent[i] for i in rng.permutation(len(absent))[:3]],
            "popular": list(dict.fromkeys(popular))[:3],
            "adversarial": [mixed[i] for i in rng.permutation(len(mixed))[:3]],
        }
        source = f"mini_val_{index:012d}"
        image = picture(scene, f"{source}.png")
        for setting, held in settings.items():
            for yes, no in zip(positives, negatives[setting], strict=True):
                for name, answer in ((yes, "yes"), (no, "no")):
                    held.append(
                        {
                            "question_id": str(len(held) + 1),
                            "question": f"Is there {q.article(name)} in the image?",
                            "answer": answer,
                            "image_source": source,
                            "image": image,
                            "category": setting,
                        }
                    )
    for held in settings.values():
        rows += held
    return [{"id": str(i), **row} for i, row in enumerate(rows)]


def _mixed(scene: Scene) -> list[str]:
    """Absent objects whose color and shape the picture both shows."""
    colors, shapes = {mark.color for mark in scene.marks}, {mark.shape for mark in scene.marks}
    return [name for name in q.absent_names(scene) if name.split()[0] in colors and name.split()[1] in shapes]


def nocaps(draw: Drawer, number: int) -> list[Row]:
    """Ten captions for each picture."""
    rows = []
    for index in range(number):
        scene, rng = draw.scene("few", "few", "signs", "chart")
        rows.append(
            {
                "image": picture(scene, f"{index:016x}.png"),
                "image_coco_url": "",
                "image_date_captured": "2026-01-01 00:00:00",
                "image_file_name": f"{index:016x}.png",
                "image_height": PIXELS,
                "image_width": PIXELS,
                "image_id": index,
                "image_license": 0,
                "image_open_images_id": f"{index:016x}",
                "annotations_ids": list(range(10 * index, 10 * index + 10)),
                "annotations_captions": conversations.captions(scene, rng, 10),
            }
        )
    return rows


def flickr30k(draw: Drawer, number: int) -> list[Row]:
    """Five captions for each picture."""
    rows = []
    for index in range(number):
        scene, rng = draw.scene("few", "few", "few", "signs")
        rows.append(
            {
                "image": picture(scene, f"{index}.png"),
                "caption": conversations.captions(scene, rng, 5),
                "sentids": [str(5 * index + i) for i in range(5)],
                "img_id": str(index),
                "filename": f"{index}.png",
            }
        )
    return rows


def llavabench(draw: Drawer, number: int) -> list[Row]:
    """Conversation, detail and complex questions; the caption is what a judge knows of the picture."""
    rows: list[Row] = []
    while len(rows) < number:
        scene, rng = draw.scene("few", "signs", "chart", "shapes")
        parts = conversations.content(scene)
        caption = f"The picture shows {conversations.join(parts)}."
        asked = [
            ("conv", question.text, question.sentence) for question in [q.ask(q.color_of_shape, scene, rng)] if question
        ]
        if scene.kind == "chart":
            asked += [
                ("conv", question.text, question.sentence) for question in [q.ask(q.bar_value, scene, rng)] if question
            ]
            asked.append(("complex", conversations.BEST, conversations.best_bar(scene) or ""))
        if scene.kind != "shapes":
            asked.append(("detail", conversations.DETAIL, conversations.detail(scene)))
        elif common := conversations.most_common(scene):
            asked.append(("complex", conversations.COMMON, common))
        for category, text, answer in asked[: number - len(rows)]:
            rows.append(
                {
                    "question_id": str(len(rows)),
                    "question": text,
                    "image": picture(scene, f"{draw.drawn:03d}.png"),
                    "category": category,
                    "image_id": f"{draw.drawn:03d}.png",
                    "gpt_answer": answer,
                    "caption": caption,
                }
            )
    return rows


MMVET_QUESTIONS: tuple[tuple[str, tuple[str, ...], q.Maker], ...] = (
    ("rec", ("shapes", "few"), q.color_of_shape),
    ("rec,know", ("shapes", "few"), q.like_thing),
    ("rec,spat", ("shapes",), q.neighbour),
    ("ocr", ("signs",), q.word),
    ("ocr,spat", ("signs",), q.word_place),
    ("ocr,math", ("sum",), q.total),
    ("ocr,rec", ("signs",), q.word_color),
    ("math,rec", ("shapes",), q.count_shape),
)


def mmvet(draw: Drawer, number: int) -> list[Row]:
    """Open questions, each with the capabilities it takes; some have two parts, some count in words or digits."""
    rows = []
    for index in range(number):
        if index % 5 == 4:
            while True:
                scene, rng = draw.scene("signs", "few", "sum")
                if found := conversations.two_in_one(scene, rng):
                    break
            text, answer, _ = found
            capability = "ocr,rec" if "written" in text or "say" in text or "sum" in text else "rec"
        else:
            capability, kinds, maker = MMVET_QUESTIONS[index % len(MMVET_QUESTIONS)]
            scene, _, question = draw.question(kinds, (maker,))
            text, answer = question.text, question.answer
            if question.kind == "count" and 0 < int(answer) < 10:
                answer = f"{answer}<OR>{conversations.NUMBERS[int(answer)]}"
        rows.append(
            {
                "question_id": f"v1_{index}",
                "image": picture(scene, f"v1_{index}.png"),
                "question": text,
                "answer": answer,
                "image_source": "generated",
                "capability": capability,
            }
        )
    return rows


def chartqa(draw: Drawer, number: int) -> list[Row]:
    """Half questions that compare bars (human), half that read one off (augmented)."""
    rows = []
    for index in range(number):
        kind, makers = (
            ("human_test", (q.bar_larger, q.bar_extreme, q.bar_more))
            if index < number / 2
            else ("augmented_test", (q.bar_value, q.bar_value, q.bar_color, q.bar_count))
        )
        scene, _, question = draw.question(("chart",), makers)
        answer = question.answer.capitalize() if question.answer_type == "yes/no" else question.answer
        rows.append(
            {"type": kind, "question": question.text, "answer": answer, "image": picture(scene, f"{index}.png")}
        )
    return rows


def docvqa(draw: Drawer, number: int) -> list[Row]:
    """Reading a line of a form."""
    rows = []
    for index in range(number):
        scene, _, question = draw.question(("document",), (q.field_value,))
        answers = list(dict.fromkeys([question.answer, question.answer.lower()]))
        rows.append(
            {
                "questionId": str(index),
                "question": question.text,
                "question_types": ["form"],
                "image": picture(scene, f"{index}.png"),
                "docId": draw.drawn,
                "ucsf_document_id": f"mini{draw.drawn:04d}",
                "ucsf_document_page_no": "1",
                "answers": answers,
                "data_split": "val",
            }
        )
    return rows


_MAKERS: dict[str, Callable[[Drawer, int], list[Row]]] = {
    "vqav2": vqav2,
    "textvqa": textvqa,
    "mme": mme,
    "scienceqa": scienceqa,
    "aokvqa": aokvqa,
    "pope": pope,
    "nocaps": nocaps,
    "flickr30k": flickr30k,
    "llavabench": llavabench,
    "mmvet": mmvet,
    "chartqa": chartqa,
    "docvqa": docvqa,
}


def make(benchmark: str, split: str = "test", seed: int = 0, samples: int | None = None) -> list[Row]:
    """The rows of a mini benchmark; `samples` is their number (of images where questions come in pairs)."""
    if benchmark not in COLUMNS:
        raise ValueError(f"unknown mini benchmark '{benchmark}'; known are {', '.join(NAMES)}")
    if samples is not None and samples < 1:
        raise ValueError(f"samples is {samples}; at least one is needed")
    number = samples or SAMPLES[benchmark]
    rows = _MAKERS[benchmark](Drawer(benchmark, split, seed), number)
    return rows if benchmark == "mme" else rows[: _whole(benchmark, number)]


def _whole(benchmark: str, number: int) -> int:
    """POPE's rows stay complete for a picture in all settings; the others are cut where asked."""
    return -(-number // 18) * 18 if benchmark == "pope" else number


def _arrow(spec: Any) -> Any:
    """A column's Arrow type."""
    import pyarrow as pa

    if spec is IMAGE:
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})
    if isinstance(spec, list):
        return pa.list_(_arrow(spec[0]))
    if isinstance(spec, dict):
        return pa.struct({name: _arrow(part) for name, part in spec.items()})
    return {"bool": pa.bool_, "string": pa.string, "int8": pa.int8, "int32": pa.int32, "int64": pa.int64}[spec]()


def _feature(spec: Any) -> Any:
    """A column's description as the datasets library stores it in a file's metadata."""
    if spec is IMAGE:
        return IMAGE
    if isinstance(spec, list):
        return {"feature": _feature(spec[0]), "_type": "List"}
    if isinstance(spec, dict):
        return {name: _feature(part) for name, part in spec.items()}
    return {"dtype": spec, "_type": "Value"}


def to_table(benchmark: str, rows: list[Row]) -> Any:
    """An Arrow table with the columns, types and metadata that the datasets library would write."""
    import pyarrow as pa

    columns = COLUMNS[benchmark]
    schema = pa.schema([pa.field(name, _arrow(spec)) for name, spec in columns.items()])
    described = {"info": {"features": {name: _feature(spec) for name, spec in columns.items()}}}
    schema = schema.with_metadata({"huggingface": json.dumps(described)})
    return pa.Table.from_pylist(rows, schema=schema)


def write(benchmark: str, path: Path, split: str = "test", seed: int = 0, samples: int | None = None) -> int:
    """Draw a benchmark and write its Parquet file; returns the number of rows."""
    from himap import files

    rows = make(benchmark, split, seed, samples)
    files.write_parquet(path, to_table(benchmark, rows))
    return len(rows)
