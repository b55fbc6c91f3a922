"""The files of tables and figures inside the page: one archive, so that a report copied alone has all its downloads.

A file is a link that the page's script takes out of the archive; without a script the archive itself can be saved. Drawings as
pixels come last, so that they are what a very large run leaves out.
"""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from himap.paths import FIGURE_FORMS
from himap.results import Results

NAME = "himap-tables-and-figures.zip"
PAGE = 9_800_000  # bytes of the whole page: the archive takes what is left of them
LABELS = {"csv": "CSV", "tex": "LaTeX", "md": "Markdown", "svg": "SVG", "pdf": "PDF", "png": "PNG"}
TABLE_FORMS = ("csv", "tex", "md")
EARLY = (1980, 1, 1, 0, 0, 0)  # the date of every member: equal results give equal bytes


@dataclass
class Archive:
    """Which files are inside, which found no room, and the archive itself as a data address."""

    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    address: str = ""
    size: int = 0

    def links(self, name: str) -> list[dict[str, str]]:
        """Return the links to the files of a table or figure."""
        files = [(Path(file).suffix[1:], file) for file in self.names if Path(file).stem == name]
        return [{"label": LABELS[form], "file": file} for form, file in files]


def listing(results: Results) -> Archive:
    """Return an archive that has every name and no content yet, to see how large the page is without it."""
    return Archive(names=candidates(results))


def archive(results: Results, page: int = 0) -> Archive:
    """Return the archive of a run's tables and figures that fits into a page of so many bytes, numbers before drawings."""
    # Base64 writes three bytes as four characters.
    most = (PAGE - page) * 3 // 4
    packed, made = io.BytesIO(), Archive()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name in candidates(results):
            content = (results.folder / name).read_bytes()
            # Compressed once to see whether it fits: a member cannot be taken out of a zip file again.
            if packed.tell() + len(zlib.compress(content, 9)) > most:
                made.left_out.append(name)
                continue
            file.writestr(zipfile.ZipInfo(name, EARLY), content, zipfile.ZIP_DEFLATED, 9)
            made.names.append(name)
    if made.names:
        made.size = len(packed.getvalue())
        made.address = f"data:application/zip;base64,{base64.b64encode(packed.getvalue()).decode()}"
    return made


def candidates(results: Results) -> list[str]:
    """Return the files that are there, relative to the results: what is read as numbers first, then the drawings."""
    tables, figures = [*results.facts["tables"], "efficiency"], results.facts["figures"]
    names = [f"tables/{name}.{form}" for name in tables for form in TABLE_FORMS]
    names += [f"figures/data/{name}.csv" for name in figures]
    names += [f"figures/{name}.{form}" for form in FIGURE_FORMS for name in figures]
    return [name for name in names if (results.folder / name).is_file()]
