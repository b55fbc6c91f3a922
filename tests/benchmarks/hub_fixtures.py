"""Small copies of every benchmark in the hub's schema, with the awkward cases, and what scoring them has to give.

Run as a script it writes them to a folder: python tests/benchmarks/hub_fixtures.py FOLDER
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT, INT, TEXTS = pa.string(), pa.int64(), pa.list_(pa.string())


@dataclass(frozen=True)
class Fixture:
    """Rows, their types, an answer to each row, and the scores that those answers deserve."""

    benchmark: str
    types: dict[str, pa.DataType]
    rows: list[dict[str, Any]]
    answers: list[str]
    headline: float | None
    scores: dict[str, float] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)

    def table(self) -> pa.Table:
        """The rows as the hub would serve them."""
        return pa.Table.from_pylist(self.rows, schema=pa.schema(list(self.types.items())))

    def write(self, folder: Path) -> Path:
        """One Parquet file named after the benchmark."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark}.parquet"
        pq.write_table(self.table(), path, row_group_size=4)
        return path


def picture(shade: int = 0, size: tuple[int, int] = (12, 8), kind: str = "PNG") -> dict[str, Any]:
    """An image cell as the hub stores it."""
    stream = io.BytesIO()
    Image.new("RGB", size, (shade, 255 - shade, 90)).save(stream, kind)
    return {"bytes": stream.getvalue(), "path": f"{shade}.{kind.lower()}"}


def ten(*counted: tuple[str, int]) -> list[str]:
    """Ten annotators' answers from counts, filled up with answers that nobody else gave."""
    given = [answer for answer, times in counted for _ in range(times)]
    return given + [f"other{number}" for number in range(10 - len(given))]


def vqav2() -> Fixture:
    """Zero to four annotators agree; ten agree but for an article; answer types."""
    answer = pa.struct([("answer", TEXT), ("answer_confidence", TEXT), ("answer_id", INT)])
    kinds = ["yes/no", "number", "number", "other", "other", "other"]
    given = [ten(("cat", k)) for k in range(5)] + [ten(("A dog", 10))]
    rows = [
        {
            "question_type": "what is",
            "multiple_choice_answer": answers[0],
            "answers": [
                {"answer": one, "answer_confidence": "yes", "answer_id": number}
                for number, one in enumerate(answers, 1)
            ],
            "image_id": 262148 + at // 2,
            "answer_type": kind,
            "question_id": (262148 + at // 2) * 1000 + at,
            "question": "What animal is it?",
            "image": picture(at, kind="JPEG"),
        }
        for at, (answers, kind) in enumerate(zip(given, kinds, strict=True))
    ]
    types = {
        "question_type": TEXT,
        "multiple_choice_answer": TEXT,
        "answers": pa.list_(answer),
        "image_id": INT,
        "answer_type": TEXT,
        "question_id": INT,
        "question": TEXT,
        "image": IMAGE,
    }
    scores = {
        "yes/no": 0.0,
        "number": 45.0,
        "other": 100 * 2.9 / 3,
        "official_script": 100 * 2.8 / 6,
    }
    return Fixture("vqav2", types, rows, ["Cat."] * 5 + ["dog"], 100 * 3.8 / 6, scores)


def vqav2_test_split() -> Fixture:
    """The test splits carry no annotations."""
    whole = vqav2()
    hidden = {"answers": None, "answer_type": None, "question_type": None, "multiple_choice_answer": None}
    return Fixture("vqav2", whole.types, [row | hidden for row in whole.rows[:2]], ["cat", "dog"], None)


def textvqa() -> Fixture:
    """Two questions on one image, a possessive, an empty list of OCR tokens."""
    common = {"image_width": 12, "image_height": 8, "image_classes": ["Sign"], "set_name": "val"}
    common |= {"flickr_original_url": "", "flickr_300k_url": "", "question_tokens": ["what"]}
    asked = [
        ("003a8ae2ef43b901", "What does the SIGN say?", ten(("bob's house", 10)), ["BOB'S", "House", "24/7"]),
        ("003a8ae2ef43b901", "how many Doors?", ten(("two", 3)), ["BOB'S", "House", "24/7"]),
        ("b9dc400eb20bad64", "what brand is it", ten(("nokia", 4)), []),
    ]
    rows = [
        common
        | {"image_id": image, "question_id": 34602 + at, "question": question, "answers": answers, "ocr_tokens": tokens}
        | {"image": picture(len(image) + at // 2)}
        for at, (image, question, answers, tokens) in enumerate(asked)
    ]
    types = {
        "image_id": TEXT,
        "question_id": pa.int32(),
        "question": TEXT,
        "question_tokens": TEXTS,
        "image": IMAGE,
        "image_width": pa.int32(),
        "image_height": pa.int32(),
        "flickr_original_url": TEXT,
        "flickr_300k_url": TEXT,
        "answers": TEXTS,
        "image_classes": TEXTS,
        "set_name": TEXT,
        "ocr_tokens": TEXTS,
    }
    return Fixture("textvqa", types, rows, ["Bob's House", "2", ""], 100 * 1.9 / 3)


def mme() -> Fixture:
    """Four images of three subtasks, a question with two spaces, answers that are neither yes nor no."""
    asked = [
        ("existence", "existence/a.jpg", "Is there a dog? Please answer yes or no.", "Yes", "Yes"),
        ("existence", "existence/a.jpg", "Is there a cat? Please answer yes or no.", "No", "no"),
        ("existence", "existence/b.jpg", "Is there a hat? Please answer yes or no.", "Yes", "Yes, there is"),
        ("existence", "existence/b.jpg", "Is there a cup? Please answer yes or no.", "No", "unsure"),
        ("count", "count/a.jpg", "Are there two?  Please answer yes or no.", "Yes", "yes"),
        ("count", "count/a.jpg", "Are there three? Please answer yes or no.", "No", "Not sure"),
        ("code_reasoning", "code_reasoning/0020.png", "Is it code? Please answer yes or no.", "Yes", "I think yes"),
        ("code_reasoning", "code_reasoning/0020.png", "Is it prose? Please answer yes or no.", "No", "No."),
    ]
    rows = [
        {"question_id": name, "image": picture(at // 2), "question": question, "answer": answer, "category": category}
        for at, (category, name, question, answer, _) in enumerate(asked)
    ]
    types = {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT, "category": TEXT}
    scores = {"existence": 125.0, "count": 200.0, "code_reasoning": 50.0, "perception": 325.0, "cognition": 50.0}
    scores |= {"total": 375.0, "existence_acc": 75.0, "existence_acc_plus": 50.0, "other_answers": 2.0}
    return Fixture("mme", types, rows, [one[-1] for one in asked], 375.0, scores)


def scienceqa() -> Fixture:
    """No hint, five options, a letter beyond the options, letters with text, a sentence, a small letter."""
    asked = [
        ("", ["yes", "no"], 0, "A"),
        ("Use the map.", ["v", "w", "x", "y", "z"], 4, "E"),
        ("", ["x", "y", "z"], 2, "D"),
        ("A hint.", ["red", "blue"], 1, "B. blue"),
        ("", ["x", "y", "z"], 2, "The answer is C."),
        ("", ["x", "y"], 0, "a"),
    ]
    rows = [
        {"image": picture(at), "question": f"Question {at}?", "choices": choices, "answer": answer, "hint": hint}
        | {"task": "closed choice", "grade": "grade5", "subject": "natural science" if at else "social science"}
        | {"topic": "t", "category": "c", "skill": "s", "lecture": "", "solution": ""}
        for at, (hint, choices, answer, _) in enumerate(asked)
    ]
    types = {"image": IMAGE, "question": TEXT, "choices": TEXTS, "answer": pa.int8(), "hint": TEXT}
    types |= dict.fromkeys(["task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"], TEXT)
    scores = {
        "natural science": 60.0,
        "social science": 100.0,
        "lmms_eval": 400 / 6,
        "exact": 200 / 6,
        "unreadable": 1.0,
    }
    return Fixture("scienceqa", types, rows, [one[-1] for one in asked], 400 / 6, scores)


def aokvqa() -> Fixture:
    """Direct answers as a string that looks like a list; a letter, a choice's own text, a letter in brackets."""
    asked = [("B", 1), ("cat", 0), ("(C) bus", 2)]
    rows = [
        {
            "image": picture(at),
            "question_id": f"22jbM6gDxdaMaunuzgr{at}",
            "question": "What is it?",
            "choices": ["cat", "dog", "bus", "tree"],
            "correct_choice_idx": right,
            "direct_answers": "['cat', \"a dog's\"]",
            "difficult_direct_answer": False,
            "rationales": ["because"] * 3,
        }
        for at, (_, right) in enumerate(asked)
    ]
    types = {"image": IMAGE, "question_id": TEXT, "question": TEXT, "choices": TEXTS, "correct_choice_idx": pa.int8()}
    types |= {"direct_answers": TEXT, "difficult_direct_answer": pa.bool_(), "rationales": TEXTS}
    scores = {"fastv": 200 / 3, "unreadable": 1.0, "floor_guessing": 25.0}
    return Fixture("aokvqa", types, rows, [one[0] for one in asked], 200 / 3, scores)


def aokvqa_as_lists() -> Fixture:
    """The other published form: direct answers as a list, further columns, the correct choice as a 64-bit number."""
    whole = aokvqa()
    rows = [row | {"direct_answers": ["cat", "a dog's"], "split": "val", "image_id": 7} for row in whole.rows]
    types = whole.types | {"direct_answers": TEXTS, "correct_choice_idx": INT, "split": TEXT, "image_id": INT}
    return Fixture("aokvqa", types, rows, whole.answers, whole.headline, whole.scores)


def pope() -> Fixture:
    """The same question_id in three settings; NO, 'No.' and an empty answer."""
    asked = [
        ("adversarial", "1", "yes", ""),
        ("adversarial", "2", "no", "No"),
        ("popular", "1", "yes", "No."),
        ("popular", "2", "no", "no, it is not"),
        ("random", "1", "yes", "Yes"),
        ("random", "2", "no", "NO"),
    ]
    rows = [
        {"id": str(at), "question_id": number, "question": "Is there a snowboard in the image?", "answer": truth}
        | {"image_source": "COCO_val2014_000000310196", "image": picture(3), "category": setting}
        for at, (setting, number, truth, _) in enumerate(asked)
    ]
    types = dict.fromkeys(["id", "question_id", "question", "answer", "image_source"], TEXT)
    types |= {"image": IMAGE, "category": TEXT}
    scores = {"adversarial_f1": 100.0, "popular_f1": 0.0, "random_f1": 200 / 3, "mean_f1": 500 / 9}
    scores |= {"random_yes_ratio": 100.0, "random_precision": 50.0, "popular_recall": 0.0, "pooled_f1": 200 / 3}
    return Fixture("pope", types, rows, [one[-1] for one in asked], 500 / 9, scores)


CAPTIONS = [
    (
        ["A man riding a horse on the beach.", "A person rides a horse near the ocean."],
        "A man is riding a horse on the beach.",
    ),
    (["Two dogs play with a red ball in the grass.", "Dogs are playing outside."], "Two dogs playing with a ball."),
    (["A plate of food on a wooden table.", "There's a sandwich and fries on a plate."], "A laptop on a desk."),
]
GOLDEN_CIDER = 196.3823


def nocaps() -> Fixture:
    """Ten references: the published example's two, five times each, which leaves CIDEr as it is."""
    rows = [
        {
            "image": picture(at),
            "image_id": at,
            "annotations_ids": list(range(10)),
            "annotations_captions": references * 5,
        }
        | {
            "image_file_name": f"{at}.jpg",
            "image_open_images_id": f"{at:016x}",
            "image_coco_url": "",
            "image_license": 0,
        }
        | {"image_date_captured": "2018-11-06", "image_height": 8, "image_width": 12}
        for at, (references, _) in enumerate(CAPTIONS)
    ]
    types = {"image": IMAGE, "image_coco_url": TEXT, "image_date_captured": TEXT, "image_file_name": TEXT}
    types |= dict.fromkeys(["image_height", "image_width", "image_id"], pa.int32())
    types |= {"image_license": pa.int8(), "image_open_images_id": TEXT, "annotations_ids": pa.list_(pa.int32())}
    types |= {"annotations_captions": TEXTS}
    return Fixture("nocaps", types, rows, [answer for _, answer in CAPTIONS], GOLDEN_CIDER, {"images": 3.0})


def flickr30k() -> Fixture:
    """Five references with apostrophes, brackets and a line break; an empty caption."""
    extra = ["It isn't (quite) [here].", "Someone's\nthere; really?", '"Quoted" -- words...']
    rows = [
        {
            "image": picture(at),
            "caption": references + extra,
            "sentids": list("01234"),
            "img_id": str(at),
            "filename": f"{at}.jpg",
        }
        for at, (references, _) in enumerate(CAPTIONS)
    ]
    types = {"image": IMAGE, "caption": TEXTS, "sentids": TEXTS, "img_id": TEXT, "filename": TEXT}
    return Fixture("flickr30k", types, rows, ["It isn't (quite) there", "Someone's here?", ""], None)


def llavabench() -> Fixture:
    """One question of each category; scores apart by a space, by a comma, and a refusal."""
    rows = [
        {
            "question_id": str(at),
            "question": "Describe it.",
            "category": category,
            "image_id": "001",
            "gpt_answer": "A hill.",
        }
        | {"caption": "A hill by the sea.", "image": picture(at)}
        for at, category in enumerate(["conv", "detail", "complex"])
    ]
    types = dict.fromkeys(["question_id", "question", "category", "image_id", "gpt_answer", "caption"], TEXT) | {
        "image": IMAGE
    }
    verdicts = ["8 7\nThe first is better.", "9,6\nSo is this.", "I cannot rate these."]
    scores = {"conv": 87.5, "detail": 66.7, "model_mean": 65.0, "reference_mean": 85.0, "unreadable": 1.0, "all": 76.5}
    return Fixture("llavabench", types, rows, ["A hill.", "Sea.", "?"], 76.5, scores, verdicts)


def mmvet() -> Fixture:
    """Ground truths with AND and OR; a judge that answers with text."""
    asked = [("-1<AND>-5", "ocr,math", "0.5"), ("a cat<OR>a kitten", "rec", "1.0"), ("a joke", "know,rec", "Good work")]
    rows = [
        {
            "question_id": f"v1_{at}",
            "image": picture(at),
            "question": "What is x?",
            "answer": truth,
            "image_source": "web",
        }
        | {"capability": capability}
        for at, (truth, capability, _) in enumerate(asked)
    ]
    types = {
        "question_id": TEXT,
        "image": IMAGE,
        "question": TEXT,
        "answer": TEXT,
        "image_source": TEXT,
        "capability": TEXT,
    }
    scores = {
        "rec": 50.0,
        "ocr": 50.0,
        "math": 50.0,
        "know": 0.0,
        "combination_ocr_math": 50.0,
        "combination_rec": 100.0,
    }
    scores |= {"combination_rec_know": 0.0, "unreadable": 1.0}
    return Fixture("mmvet", types, rows, ["x = -1", "a cat", "ha"], 50.0, scores, [one[-1] for one in asked])


def chartqa() -> Fixture:
    """Percent signs, a target of zero, a thousands separator, a period."""
    asked = [
        ("human_test", "100", "105"),
        ("human_test", "14%", "0.14"),
        ("human_test", "1000", "1,000"),
        ("augmented_test", "0", "0"),
        ("augmented_test", "0", "0.0"),
        ("augmented_test", "yes", "Yes."),
    ]
    rows = [
        {"type": half, "question": f"What is value {at}?", "answer": target, "image": picture(at)}
        for at, (half, target, _) in enumerate(asked)
    ]
    types = {"type": TEXT, "question": TEXT, "answer": TEXT, "image": IMAGE}
    scores = {"human": 200 / 3, "augmented": 100 / 3, "stripped": 50.0}
    return Fixture("chartqa", types, rows, [one[-1] for one in asked], 50.0, scores)


def docvqa() -> Fixture:
    """Several references, extra space, a similarity of exactly one half."""
    asked = [
        (["11:44"], "11:44 a.m.", ["handwritten"]),
        (["university of california, san diego", "UCSD"], "University of California", ["form", "layout"]),
        (["abc"], "ABC", ["form"]),
    ]
    rows = [
        {"questionId": str(49153 + at), "question": "When?", "question_types": kinds, "image": picture(at, (30, 40))}
        | {"docId": 14465, "ucsf_document_id": "pybv0228", "ucsf_document_page_no": "81", "answers": answers}
        | {"data_split": "val"}
        for at, (answers, _, kinds) in enumerate(asked)
    ]
    types = {"questionId": TEXT, "question": TEXT, "question_types": TEXTS, "image": IMAGE, "docId": INT}
    types |= {"ucsf_document_id": TEXT, "ucsf_document_page_no": TEXT, "answers": TEXTS, "data_split": TEXT}
    similar = 1 - 11 / 35
    scores = {"handwritten": 50.0, "layout": 100 * similar, "form": 50 * (similar + 1)}
    return Fixture("docvqa", types, rows, [one[1] for one in asked], 100 * (0.5 + similar + 1) / 3, scores)


def kinds() -> Fixture:
    """The embedded world's own set: a letter where there are options, a word in any case elsewhere."""
    asked = [("story", ["red", "blue"], "B", "B"), ("color", [], "red", "Red."), ("color", [], "red", "reddish")]
    rows = [
        {"group": "0", "kind": kind, "context": "Mia likes red." if options else "", "question": "Which?"}
        | {"options": options, "answer": answer, "image": picture(at)}
        for at, (kind, options, answer, _) in enumerate(asked)
    ]
    types = {
        "group": TEXT,
        "kind": TEXT,
        "context": TEXT,
        "question": TEXT,
        "options": TEXTS,
        "answer": TEXT,
        "image": IMAGE,
    }
    scores = {"story": 100.0, "color": 50.0}
    return Fixture("kinds", types, rows, [answer for *_, answer in asked], 200 / 3, scores)


def where() -> Fixture:
    """The embedded world's own set: row and column together, and how often each is right."""
    asked = [("top left", "Top left."), ("bottom center", "bottom left"), ("middle right", "right"), ("top right", "")]
    rows = [
        {"question": "Where is the red star?", "answer": answer, "image": picture(at)}
        for at, (answer, _) in enumerate(asked)
    ]
    types = {"question": TEXT, "answer": TEXT, "image": IMAGE}
    return Fixture("where", types, rows, [given for _, given in asked], 25.0, {"row": 50.0, "column": 50.0})


@dataclass(frozen=True)
class TwoTables(Fixture):
    """A fixture whose pictures are a table of their own, as GQA is published: rows name them by `imageId`."""

    def write(self, folder: Path) -> Path:
        """Write both tables into folders named after their configs; return the folder above."""
        root = folder / self.benchmark
        named = {row["imageId"]: row["image"] for row in self.rows if row["image"]}
        images = pa.table({"id": pa.array(list(named), TEXT), "image": pa.array(list(named.values()), IMAGE)})
        for config, table in (("instructions", self.table()), ("images", images)):
            path = root / f"testdev_balanced_{config}" / "testdev-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path, row_group_size=4)
        return root


def gqa() -> Fixture:
    """Three questions on one picture, one on another; periods, case, a space, an article and another number."""
    asked = [
        ("n161313", "Is it overcast?", "no", "No", "verify", "attr"),
        ("n161313", "What is on the table?", "umbrella", "Umbrella..", "query", "rel"),
        ("n161313", "Who is there?", "women", "woman", "query", "obj"),
        ("n235859", "Which side?", "left", "the left", "choose", "rel"),
        ("n235859", "Is it t-shirt weather?", "t-shirt", "T shirt", "query", "attr"),
        ("n235859", "Is there a cat?", "yes", "yes ", "logical", "obj"),
    ]
    rows = [
        {"id": f"2013072{at}", "imageId": name, "image": picture(len(name) + int(name[1:4])), "question": question}
        | {"isBalanced": True, "answer": truth, "fullAnswer": truth, "semanticStr": ""}
        | {"types": {"structural": structural, "semantic": semantic, "detailed": ""}}
        for at, (name, question, truth, _, structural, semantic) in enumerate(asked)
    ]
    kinds = pa.struct([("structural", TEXT), ("semantic", TEXT), ("detailed", TEXT)])
    types = dict.fromkeys(["id", "imageId", "question", "answer", "fullAnswer", "semanticStr"], TEXT)
    types |= {"isBalanced": pa.bool_(), "types": kinds}
    scores = {"lmms_eval": 200 / 6, "qwen": 400 / 6, "structural_query": 100 / 3, "structural_verify": 100.0}
    scores |= {"semantic_rel": 50.0, "floor_yes": 100 / 6, "floor_most_common": 100 / 6}
    return TwoTables("gqa", types, rows, [one[3] for one in asked], 200 / 6, scores)


def vizwiz_val() -> Fixture:
    """Ten who cannot answer, three of ten who can, capital letters in a question, giving up where one would answer."""
    asked = [
        ("What is this?", ten(("unanswerable", 10)), "Unanswerable", "unanswerable"),
        ("Is it 350 Fahrenheit? ", ten(("yes", 3), ("unanswerable", 2)), "yes", "yes/no"),
        ("how many cans", ten(("2", 10)), "unanswerable", "number"),
        ("What's this", ten(("bob's soup", 2)), "Bob's Soup.", "other"),
    ]
    rows = [
        {"question_id": f"VizWiz_val_{at:08}", "image": picture(at, kind="JPEG"), "question": question}
        | {"answers": answers, "category": category}
        for at, (question, answers, _, category) in enumerate(asked)
    ]
    types = {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answers": TEXTS, "category": TEXT}
    scores = {"unanswerable": 100.0, "yes/no": 90.0, "number": 0.0, "other": 60.0}
    scores |= {"answered_unanswerable": 50.0, "floor_unanswerable": 100 * 1.6 / 4}
    return Fixture("vizwiz_val", types, rows, [one[2] for one in asked], 100 * 2.5 / 4, scores)


def seedbench_image() -> Fixture:
    """An id that is there twice, two questions on one picture, a letter with text, a small letter, a sentence."""
    asked = [
        ("1454426_2591111986", "101669", 1, "A", "A"),
        ("1454426_2591111986", "49914", 5, "B", "B. two"),
        ("2", "49914", 5, "C", "c"),
        ("3", "49915", 9, "D", "The best one is D"),
    ]
    rows = [
        {"answer": truth, "choice_a": "one", "choice_b": "two", "choice_c": "three", "choice_d": "four"}
        | {"data_id": name, "data_type": "image", "question": "How many?", "question_id": number}
        | {"question_type_id": kind, "image": [picture(len(name))], "segment": None}
        for name, number, kind, truth, _ in asked
    ]
    types = dict.fromkeys(["answer", "choice_a", "choice_b", "choice_c", "choice_d", "data_id", "data_type"], TEXT)
    types |= {"question": TEXT, "question_id": TEXT, "question_type_id": pa.int16(), "image": pa.list_(IMAGE)}
    types |= {"segment": pa.list_(INT)}
    scores = {"scene understanding": 100.0, "instances counting": 0.0, "mean_of_dimensions": 100 / 3}
    scores |= {"lmms_eval": 75.0, "in_free_words": 75.0, "unreadable": 1.0, "floor_most_common": 25.0}
    return Fixture("seedbench_image", types, rows, [one[-1] for one in asked], 25.0, scores)


def refcoco(name: str = "refcoco") -> Fixture:
    """Three expressions of one object, a wide and a tall picture, the three forms of a box, a reversed and an unreadable one."""
    wide, tall = picture(1, (12, 8)), picture(2, (8, 12))
    objects = [  # the padded square is 12 pixels wide; left, top, width and height of the object
        (wide, "COCO_train2014_000000581857_0.jpg", [6.0, 2.0, 6.0, 6.0], ["the dog", "right one.", "brown thing"]),
        (wide, "COCO_train2014_000000581857_3.jpg", [0.0, 0.0, 6.0, 8.0], ["left"]),
        (tall, "COCO_train2014_000000000009.jpg", [0.0, 0.0, 8.0, 6.0], ["upper half", "top"]),
    ]
    answers = [
        "[0.5, 0.33, 1.0, 0.83]",  # of the square: 6, 1.96, 12, 7.96
        "(500,250),(999,999)",  # thousandths of the picture, as Qwen-VL writes them
        "[[500, 250, 1000, 1000]]",  # as InternVL writes them
        "[0.5, 0.83, 0.0, 0.17]",  # turned around
        "[0.17, 0.0, 0.83, 0.25]",  # of the square: 0.04, 0, 7.96, 3: exactly not the half
        "at the top",
    ]
    rows = [
        {"question_id": str(at), "image": image, "question": "Describe the region.", "answer": texts}
        | {"segmentation": [1.0, 2.0], "bbox": box, "iscrowd": 0, "file_name": file}
        for at, (image, file, box, texts) in enumerate(objects)
    ]
    types = {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXTS}
    types |= {
        "segmentation": pa.list_(pa.float32()),
        "bbox": pa.list_(pa.float32()),
        "iscrowd": pa.int8(),
        "file_name": TEXT,
    }
    scores = {"above_0.7": 50.0, "center": 500 / 6, "fractions_of_picture": 50.0, "unreadable": 1.0}
    return Fixture(name, types, rows, answers, 50.0, scores)


def refcoco_plus() -> Fixture:
    """The same columns in another set."""
    return refcoco("refcoco_plus")


def refcocog() -> Fixture:
    """The same columns in a third set."""
    return refcoco("refcocog")


def countbench() -> Fixture:
    """A word, a number that begins with the right one, a final period, a near miss, a sentence."""
    asked = [(6, "six"), (10, "1"), (6, "6."), (3, "4"), (9, "There are 9 of them.")]
    rows = [
        {
            "image": picture(at),
            "text": f"{number} candlesticks",
            "question": "How many candlesticks are there?",
            "number": number,
        }
        for at, (number, _) in enumerate(asked)
    ]
    types = {"image": IMAGE, "text": TEXT, "question": TEXT, "number": pa.int32()}
    scores = {
        "of_6": 100.0,
        "of_10": 0.0,
        "off_by_one": 60.0,
        "mean_error": 2.5,
        "first_number": 60.0,
        "unreadable": 1.0,
    }
    scores |= {"floor_most_common": 40.0}
    return Fixture("countbench", types, rows, [answer for _, answer in asked], 40.0, scores)


def mmbench() -> Fixture:
    """Four rotations, one of them wrong; four options in three rotations, all right; two options and a hint; "None"."""
    four, six = ["cat", "dog", "bus", "tree"], ["1", "2", "3", "none"]
    asked = [
        (241, four, "A", "A"),
        (1_000_241, [*four[1:], four[0]], "D", "D. cat"),
        (2_000_241, [*four[2:], *four[:2]], "C", "B"),
        (3_000_241, [four[3], *four[:3]], "B", "the cat"),
        (252, ["up", "on", "in", "by"], "A", "(A)"),
        (1_000_252, ["in", "up", "on", "by"], "B", "B"),
        (2_000_252, ["on", "in", "up", "by"], "C", "The answer is C, as A is not"),
        (260, ["yes", "no", "nan", "nan"], "A", "A"),
        (1_000_260, ["no", "yes", None, ""], "B", "Maybe"),
        (300, six, "C", "D"),
    ]
    rows = [
        {"index": index, "question": "What is it?", "answer": truth, "category": "object", "l2-category": "perception"}
        | {"hint": "Look here.\nAnd there." if index % 1_000_000 == 260 else "nan", "image": picture(index % 1000 // 2)}
        | dict(zip("ABCD", options, strict=True))
        | {"source": "", "comment": None, "split": "dev"}
        for index, options, truth, _ in asked
    ]
    names = ["question", "hint", "answer", "A", "B", "C", "D", "category", "source", "l2-category", "comment", "split"]
    types = {"index": INT, "image": IMAGE, **dict.fromkeys(names, TEXT)}
    scores = {"perception": 25.0, "questions": 4.0, "first_rotation": 75.0, "all_rows": 70.0, "unreadable": 1.0}
    scores |= {"floor_guessing": 100 * (1 / 256 + 1 / 64 + 1 / 4 + 1 / 3) / 4}
    return Fixture("mmbench", types, rows, [one[-1] for one in asked], 25.0, scores)


def mmbench_cn() -> Fixture:
    """The same with the index as text and the other spelling of the category's column."""
    whole = mmbench()
    rows = [row | {"index": str(row["index"]), "L2-category": row["l2-category"]} for row in whole.rows]
    types = {name: kind for name, kind in whole.types.items() if name != "l2-category"}
    types |= {"index": TEXT, "L2-category": TEXT}
    return Fixture("mmbench_cn", types, rows, whole.answers, whole.headline, whole.scores)


def ocrbench() -> Fixture:
    """A word inside a sentence, several answers, a line break, LaTeX with spaces, its case, full-width letters."""
    asked = [
        ("IIIT5K", "Regular Text Recognition", ["CENTRE"], "The word is Centre."),
        ("STVQA", "Scene Text-centric VQA", ["8", "eight"], "Eight"),
        ("docVQA", "Doc-oriented VQA", ["New York"], "new\nyork"),
        ("HME100k", "Handwritten Mathematical Expression Recognition", ["x ^ { 2 } + Y"], "x^{2} +\nY"),
        ("HME100k", "Handwritten Mathematical Expression Recognition", ["A = 4"], "a=4"),
        ("ESTVQA_cn", "Scene Text-centric VQA", ["ＡＢ１"], "ab1"),
        ("FUNSD", "Key Information Extraction", ["12/10/98"], "12/10"),
        ("IAM", "Handwriting Recognition", ["of"], ""),
    ]
    rows = [
        {"dataset": dataset, "question": "What is written?", "question_type": kind, "answer": answers}
        | {"image": picture(at // 2)}
        for at, (dataset, kind, answers, _) in enumerate(asked)
    ]
    types = {"dataset": TEXT, "question": TEXT, "question_type": TEXT, "answer": TEXTS, "image": IMAGE}
    scores = {"text recognition": 50.0, "scene text": 50.0, "documents": 100.0, "key information": 0.0}
    scores |= {"formulas": 50.0, "full_width_folded": 625.0}
    return Fixture("ocrbench", types, rows, [one[-1] for one in asked], 500.0, scores)


MAKERS: dict[str, Callable[[], Fixture]] = {
    maker.__name__: maker
    for maker in (
        vqav2,
        textvqa,
        mme,
        scienceqa,
        aokvqa,
        pope,
        nocaps,
        flickr30k,
        llavabench,
        mmvet,
        chartqa,
        docvqa,
        gqa,
        vizwiz_val,
        seedbench_image,
        mmbench,
        mmbench_cn,
        ocrbench,
        refcoco,
        refcoco_plus,
        refcocog,
        countbench,
        kinds,
        where,
    )
}

if __name__ == "__main__":
    for make in MAKERS.values():
        print(make().write(Path(sys.argv[1])))
