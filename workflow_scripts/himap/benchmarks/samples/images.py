"""Checking encoded images before anything else trusts them."""

from __future__ import annotations

import io
import warnings

MAX_PIXELS = 100_000_000  # DocVQA's largest page has 39 million


def check_image(data: bytes) -> tuple[int, int]:
    """Return width and height of an image that decodes to its end. Raise ValueError for a broken or huge one."""
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow's warning comes a little below our own limit, and what is beyond ours is refused here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size  # from the header; no pixel is decoded yet
                # Larger ones are not decoded at all: reading their size took only the header.
                if width * height <= MAX_PIXELS:
                    image.draft("RGB", (width // 8, height // 8))  # JPEG only: all bytes are read, few pixels are made
                    image.load()
        except Image.DecompressionBombError as error:
            raise ValueError(f"the image is refused as too large ({error})") from error
        except Exception as error:  # Pillow's readers raise many kinds for broken bytes
            raise ValueError(f"the image cannot be decoded ({type(error).__name__}: {error})") from error
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels, more than the {MAX_PIXELS} that are accepted")
    return width, height
