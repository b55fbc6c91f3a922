"""What pages beside the report share with it: template loader, style sheet, script, pictures as data addresses."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from himap.figures._page import style_sheet
from himap.project import ROOT
from himap.report.page import STYLES, text_of

if TYPE_CHECKING:
    from PIL.Image import Image
FOLDER = ROOT / "report" / "templates"
SIDE = 672  # pixels of the longer side of an embedded picture


def template(name: str) -> Template:
    """Return a template that escapes all values and knows the report's looks."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.globals["report_style"] = Markup(style_sheet() + text_of(STYLES))
    environment.globals["report_script"] = Markup(text_of(("tables.js", "charts.js")))
    return environment.get_template(name)


def picture_address(picture: Image) -> str:
    """Return a picture as a data address, made smaller where it is large."""
    small = picture.convert("RGB")
    # Keeps the proportions and never enlarges.
    small.thumbnail((SIDE, SIDE))
    packed = io.BytesIO()
    small.save(packed, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
