"""Vicuna's SentencePiece vocabulary as a tokenizer of the tokenizers library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def _vicuna_tokenizer(directory: Path, vocabulary: int) -> Any:
    """The SentencePiece vocabulary as a tokenizers file that splits every piece of text as SentencePiece does.

    Text after a special mark begins with a word mark, as in the published models: the prompt's parts around an image
    are pieces of their own there.
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
    plain = [i for i in range(vocabulary) if not (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))]
    words = {texts[i] for i in plain}
    merges: list[tuple[str, str]] = []
    for i in sorted((i for i in plain if len(texts[i]) > 1), key=lambda i: -pieces.get_score(i)):
        halves = ((texts[i][:at], texts[i][at:]) for at in range(1, len(texts[i])))
        merges += sorted((h for h in halves if words.issuperset(h)), key=lambda h: (ids[h[0]], ids[h[1]]))
    mark = "\u2581"
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(mark), normalizers.Replace(" ", mark)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(mark, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", ids["<s>"])]
    )
    special = [AddedToken(text, normalized=False, special=True) for text in ("<unk>", "<s>", "</s>", "<image>")]
    tokenizer.add_special_tokens(special)
    return tokenizer
