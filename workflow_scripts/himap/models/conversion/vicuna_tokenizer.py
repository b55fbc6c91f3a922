"""Turn Vicuna's SentencePiece vocabulary into a tokenizer of the tokenizers library."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _vicuna_tokenizer(directory: Path, vocabulary: int) -> Any:
    """Return a tokenizer that splits every piece of text as the checkpoint's SentencePiece model does.

    Text after a special mark begins with a word mark, as in the authors' code, which tokenizes the parts of a prompt
    before and after an image separately.
    """
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    path = directory / "tokenizer.model"
    if not path.is_file():
        raise ValueError(f"{directory}: no tokenizer.model here; download the checkpoint again")
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: not a SentencePiece model ({error}); download it again") from error
    if pieces.vocab_size() != vocabulary:
        raise ValueError(
            f"{path}: the vocabulary has {pieces.vocab_size()} entries but config.json says {vocabulary}; "
            "tokenizer and weights do not belong together"
        )
    texts = [pieces.id_to_piece(i) for i in range(vocabulary)]
    ids = {text: i for i, text in enumerate(texts)}
    # bytes, marks and <unk> are never made by merging
    plain = [i for i in range(vocabulary) if not (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))]
    words = {texts[i] for i in plain}
    # SentencePiece stores scores, BPE needs an ordered list of merges: better scores first, and for each entry every way
    # to cut it into two known entries, since which way applies depends on the text around it.
    merges: list[tuple[str, str]] = []
    for i in sorted((i for i in plain if len(texts[i]) > 1), key=lambda i: -pieces.get_score(i)):
        halves = ((texts[i][:cut], texts[i][cut:]) for cut in range(1, len(texts[i])))
        merges += sorted(
            (pair for pair in halves if words.issuperset(pair)), key=lambda pair: (ids[pair[0]], ids[pair[1]])
        )
    mark = "\u2581"  # SentencePiece writes a space, and the start of a text, as this sign
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # "a cat" becomes "▁a▁cat"
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(mark), normalizers.Replace(" ", mark)])
    # the other way round; Strip takes off the space that Prepend's mark has become
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(mark, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", ids["<s>"])]
    )
    special = [AddedToken(text, normalized=False, special=True) for text in ("<unk>", "<s>", "</s>", "<image>")]
    tokenizer.add_special_tokens(special)
    return tokenizer
