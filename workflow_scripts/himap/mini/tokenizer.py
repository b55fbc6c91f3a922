"""The mini model's vocabulary, a small byte-level BPE.

Every word of the questions is one token, capitals and digits are tokens of their own, and any text comes back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Vicuna's system sentences, word for word as LLaVA-1.5 asks (prompt form vicuna_v1).
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"
VOCABULARY = 896  # at most; the corpus has fewer merges to give (the card counts 819 entries)
# Each capital is a token, so that a word in a picture is read letter by letter; the names of the roles are the exception.
PIECES = r" ?(?:USER|ASSISTANT|OCR)| ?[A-Z][a-z]+| ?[a-z]+| ?[A-Z]| ?[0-9]| ?[^\sA-Za-z0-9]|\s"


def train_tokenizer(texts: Iterable[str]) -> Any:
    """Train the vocabulary on texts and return a fast tokenizer of transformers."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # A space belongs to the word after it (" circle"), so that a word within a sentence is one token.
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            # Bytes instead of characters: no text is unknown, and decoding gives back what was encoded.
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [PAD, BOS, EOS, IMAGE]  # their order is that of their ids: padding is 0
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(
        # As Llama's tokenizers do; where a text goes on (questions, answers), callers pass add_special_tokens=False.
        single=f"{BOS} $A",
        special_tokens=[(BOS, core.token_to_id(BOS))],
    )
    return wrap(core)


def wrap(core: Any, bos_token: str | None = BOS) -> Any:
    """Wrap a tokenizer of the `tokenizers` library for transformers."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos_token,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        model_max_length=2048,  # transformers warns beyond it; the decoder has positions for 1,024
        padding_side="left",  # a batch of prompts ends at the same column, where the answers begin
    )


def load_or_train(path: Path, pictures: int) -> Any:
    """Load the vocabulary at a path; if there is none, train one and save it there."""
    from tokenizers import Tokenizer

    from himap import files

    if path.exists():
        return wrap(Tokenizer.from_file(str(path)))
    tokenizer = train_tokenizer(corpus(pictures))
    files.write_text(path, tokenizer.backend_tokenizer.to_str())
    return tokenizer


def corpus(pictures: int = 3000) -> list[str]:
    """Return the texts the vocabulary is trained on: prompts and answers about training scenes, and the frame around them."""
    from himap.mini import conversations, descriptions, scenes

    # BPE merges what is frequent: repeated this often, the words of the frame become single tokens.
    texts = [f"{SYSTEM} USER: ", " ASSISTANT:"] * pictures
    for index in range(pictures):
        rng = scenes.generator("train", 77, index)  # 77: pictures that training with another seed never draws
        scene = scenes.make_scene(conversations.random_kind(rng), rng)
        for turn in conversations.turns(scene, rng, 12):
            texts += [f"\n{turn.prompt} ASSISTANT:", f" {turn.answer}"]
        # A sum has no caption unless marks lie around it.
        texts += (
            [f" {caption}" for caption in descriptions.captions(scene, rng, 10)] if descriptions.content(scene) else []
        )
    return texts
