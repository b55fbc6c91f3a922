"""Five captions for each picture."""

from __future__ import annotations

from himap.mini.benchmarks._draw import IMAGE, TEXT, Drawer, MiniBenchmark, Row, picture
from himap.mini.descriptions import captions
from himap.mini.questions.question import about


def make(draw: Drawer, number: int) -> list[Row]:
    """Return one row a picture."""
    rows = []
    for index in range(number):
        scene, rng = draw.scene("few", "few", "few", "signs")  # three in four are few shapes
        rows.append(
            {
                "image": picture(scene, f"{index}.png"),
                "caption": captions(scene, rng, 5),
                "sentids": [str(5 * index + i) for i in range(5)],  # texts in the published set, numbered through
                "img_id": str(index),
                "filename": f"{index}.png",
                "about": about("caption"),
            }
        )
    return rows


MINI = MiniBenchmark(
    name="flickr30k",
    columns={"image": IMAGE, "caption": [TEXT], "sentids": [TEXT], "img_id": TEXT, "filename": TEXT},
    samples=200,
    make=make,
)
