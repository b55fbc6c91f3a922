"""A prompt's ids: which group each token belongs to, and where the image tokens go.

No position is hard-coded: everything is read from the ids and the numbers of image tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from himap.decoder.tokens import FRAME, IMAGE, INSTRUCTION, SYSTEM


def token_groups(
    ids: Sequence[int], image_token_id: int, counts: Sequence[int] = (), frame_ids: Collection[int] = (), *,
    marks: int = IMAGE,
) -> list[int]:  # fmt: skip
    """Return the group of each token of one prompt. Raise ValueError for a prompt without an image token.

    `counts` are the numbers of image tokens of its pictures: what stands inside of a picture is frame. So is, after the
    first image token, every token of `frame_ids`. `marks` is the group of the image tokens themselves.
    """
    ids = list(ids)
    if image_token_id not in ids:
        raise ValueError(f"a prompt of {len(ids)} tokens has no image token (id {image_token_id})")
    places = [place for place, token in enumerate(ids) if token == image_token_id]
    groups = [
        SYSTEM if place < places[0] else FRAME if token in frame_ids else INSTRUCTION for place, token in enumerate(ids)
    ]
    # Tags of tiles lie between image tokens of one picture, so all up to its last token is frame.
    begin = 0
    for count in counts:
        first, last = places[begin], places[begin + count - 1]  # ids' places, inclusive
        groups[first : last + 1] = [FRAME] * (last + 1 - first)
        begin += count
    # last, since the frame was laid over them too
    for place in places:
        groups[place] = marks
    return groups


def check_image_marks(ids: Sequence[int], image_token_id: int, images: int, tokens_per_image: int) -> None:
    """Raise ValueError unless a prompt has one image mark per image, or one per image token."""
    marks = sum(token == image_token_id for token in ids)
    if images == 0:
        raise ValueError("the sample has no image; every prompt needs at least one")
    if marks not in (images, images * tokens_per_image):
        raise ValueError(
            f"the prompt has {marks} image marks (id {image_token_id}) but the sample has {images} images; "
            f"allowed: {images} marks, or {images * tokens_per_image} if each image token has its own"
        )


def expand_image_tokens(ids: Sequence[int], image_token_id: int, counts: Sequence[int]) -> list[int]:
    """Repeat each image's single mark once per token of the image; ids that are already expanded are returned as they are."""
    marks = sum(token == image_token_id for token in ids)
    if marks == sum(counts) and marks != len(counts):  # already one mark per image token
        return list(ids)
    if marks != len(counts):
        raise ValueError(
            f"the prompt has {marks} image marks (id {image_token_id}) but the sample has {len(counts)} images"
        )
    remaining = iter(counts)
    return [t for token in ids for t in ([token] * next(remaining) if token == image_token_id else [token])]
