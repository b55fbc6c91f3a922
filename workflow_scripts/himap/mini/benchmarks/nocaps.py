"""Ten captions for each picture."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.descriptions import captions
from himap.mini.questions.question import about
from himap.mini.scenes import PIXELS


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture."""
    rows = []
    for index in range(number):
        scene, rng = draw.scene("few", "few", "signs", "chart")
        rows.append(
            {
                "image": picture(scene, f"{index:016x}.png"),
                "image_coco_url": "",  # columns that no adapter reads are filled with something of their type
                "image_date_captured": "2026-01-01 00:00:00",
                "image_file_name": f"{index:016x}.png",
                "image_height": PIXELS,
                "image_width": PIXELS,
                "image_id": index,
                "image_license": 0,
                "image_open_images_id": f"{index:016x}",
                "annotations_ids": list(range(10 * index, 10 * index + 10)),
                "annotations_captions": captions(scene, rng, 10),
                "about": about("caption"),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="nocaps",
    columns={
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
    samples=200,
    make=make,
)
