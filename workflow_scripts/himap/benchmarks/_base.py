"""What a benchmark declares: where its rows are, how they become samples, what is asked, how answers are scored.

Model families are the files of `himap/models/families`. A benchmark words its prompt and limits for the families whose
authors ask in a way of their own; every other family, also one that is added later, is asked as LLaVA is: chat style, the
question followed by LLaVA's short-answer prompt (`SHORT_ANSWER`, or `OPTION_LETTER` for a choice), LLaVA's limits. For the
families of CHAT_TEMPLATE that text is one user's turn, after the pictures, in the checkpoint's own chat template.
`_sample.py` holds what a sample and its source are, `_prompts.py` the forms of asking that several benchmarks share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from himap.benchmarks._prompts import PromptMaker, fill_template
from himap.benchmarks._sample import Sample, Source
from himap.models import families
from himap.models.prompts import IMAGE_MODES, STYLES, Prompt
from himap.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

    from himap.metrics.statistics import Estimate

# LLaVA's and InternVL's scripts for ScienceQA, MM-Vet and LLaVA-Bench called CLIP's processor on the picture as it is, which
# cuts the sides off; all their other scripts padded it to a square first. Qwen stretches every picture.
CENTER_CROP = {"llava": "crop", "internvl": "crop"}


@dataclass(frozen=True)
class Limits:
    """How many tokens may, and must, be generated."""

    longest: int  # in tokens of the model; a longer answer is cut off
    shortest: int = 0  # until then the end token is forbidden


@dataclass(frozen=True)
class JudgeProtocol:
    """How a language model is asked to grade one answer: the conversation, its settings, how the verdict is read.

    `parse` returns the scores or None; where it returns None the judge is asked again, `tries` times in all, each time
    `hotter`, with the conversation of `again`.
    """

    messages: Callable[[Sample, str], list[dict[str, str]]]  # (sample, prediction) -> [{"role": ..., "content": ...}]
    temperature: float
    max_tokens: int  # of the verdict
    parse: Callable[[str], list[float] | None]
    default_model: str  # the official evaluator's; scores of different judges are not comparable
    default_runs: int  # every answer is judged so often, and the runs are averaged
    again: Callable[[Sample, str], list[dict[str, str]]] | None = None  # None: the first conversation once more
    tries: int = 1  # for one verdict, the first included
    hotter: float = 0.0  # added to the temperature at each further try


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as the other parts of the project see it; everything specific to it is in its own file.

    `task` chooses the pruning schedule. `limits` are by family, LLaVA's for every family that is not named; so are
    `short_limits`, which replace them under one value of an option. `options` are the protocol choices, default first.
    `rows` scores single samples (from the predictions, or from the judge's verdicts on them), `headline` says which
    number of those rows is the benchmark's result, `details` gives the further numbers. Rows of one `group` are only
    scored together (`group_size` at most), and a subset is balanced over the values of `stratum`, with the same `unit`s
    (images) in each where possible. Where an id names several rows (`rows_per_id`) the sample ids add #1, #2; `keep` drops
    rows that are not of the split, `parts` makes a row for each question of one that holds several. `picture` names the
    metadata that say which picture a sample is about, since answers about one picture are alike and their results are not
    independent: empty where its bytes have to say so, None where each sample has a picture of its own. `image_modes`
    names the families whose authors did not pad this benchmark's pictures, `own_form` those whose authors published no form
    of asking it, so that the one here is this project's. `contested` is the option whose two values the report compares.
    `sources` and `keep` follow the protocol options named in `row_options`, which decide what rows there are.
    """

    name: str  # also the name of its file, and its key in the config
    title: str
    metric: str
    scale: float  # the highest headline: 100 for percent, 2800 for MME
    chance: float | None  # the headline of guessing, None where there is no fixed set of answers
    task: Literal["qa", "caption", "open"]
    source: Source
    sample: Callable[[dict[str, Any], int], Sample]  # (row, number of the question in the split) -> sample
    make_prompt: PromptMaker
    limits: Mapping[str, Limits]
    rows: Callable[[list[Sample], list[Any]], list[dict[str, Any]]]
    headline: Callable[[pd.DataFrame], Estimate]
    details: Callable[[pd.DataFrame], dict[str, float]]
    rank: int = 100  # place in tables; the paper's twelve have 1 to 12
    judge: JudgeProtocol | None = None
    foresee: Callable[[list[str]], object] | None = None  # told all answers that a job will score, if that saves time
    digits: int = 1  # decimal places of the headline
    # Such as {"ocr": (True, False)}; `style`, `images` and `template` come with every benchmark.
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    short_limits: Mapping[str, Mapping[str, Limits]] = field(default_factory=dict)  # by option, as "scripts=internvl"
    group: Callable[[Sample], str] | None = None
    group_size: int = 1
    stratum: Callable[[Sample], str] | None = None
    unit: Callable[[Sample], str] | None = None
    picture: tuple[str, ...] | None = ()
    rows_per_id: int = 1
    keep: Callable[[dict[str, Any], Mapping[str, Any]], bool] | None = None
    parts: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda row: [row]
    image_modes: Mapping[str, str] = field(default_factory=dict)
    own_form: tuple[str, ...] = ()
    contested: str = ""
    row_options: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)  # by option, as "corpus=karpathy"; else `source`

    def knows_picture(self, sample: Sample) -> bool:
        """Return whether a sample's metadata say which picture it is about."""
        return self.picture is None or (bool(self.picture) and all(key in sample.metadata for key in self.picture))

    def picture_of(self, sample: Sample) -> str:
        """Return what samples of the same picture have in common: metadata, or a hash of its bytes, else the sample's id."""
        # `read_for_scoring` has put it there, before it dropped the image bytes that the hash below would need.
        if "picture" in sample.metadata:
            return str(sample.metadata["picture"])
        if self.picture and self.knows_picture(sample):
            return "/".join(str(sample.metadata[key]) for key in self.picture)
        if self.picture is not None and sample.images:
            # Joined by a zero byte, so that two images differ from one image of the same bytes. 64 bits are plenty to
            # keep the pictures of one set apart.
            return sha256(b"\0".join(sample.images)).hexdigest()[:16]
        return sample.sample_id

    @property
    def judged(self) -> bool:
        """Return whether a language model has to grade the answers."""
        return self.judge is not None

    def protocol(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the protocol options, defaults filled in. Raise ValueError that names the choices for an unknown option or value."""
        choices = {**self.options, "style": (None, *STYLES), "images": (None, *IMAGE_MODES)}
        # The template has no list of choices: it is the user's own text.
        chosen = {name: values[0] for name, values in choices.items()} | {"template": None}
        for name, value in given.items():
            if name not in chosen:
                known = ", ".join(sorted(chosen))
                raise ValueError(f"benchmark {self.name}: unknown protocol option '{name}'; it knows {known}")
            if name != "template" and value not in choices[name]:
                known = ", ".join(map(str, choices[name]))
                raise ValueError(f"benchmark {self.name}: protocol option {name}={value!r} is not one of {known}")
            chosen[name] = value
        if chosen["template"] is not None:
            fill_template(chosen["template"], Sample(""), self.name)  # so that a wrong one is found before a run
        return chosen

    def prompt(self, sample: Sample, family: str, **protocol: Any) -> Prompt:
        """Return what a model of this family is asked; `template` replaces the text, `style` the frame around it."""
        check_family(family)
        options = self.protocol(protocol)
        if options["template"] is not None:
            return Prompt(fill_template(options["template"], sample, self.name), style=options["style"] or "chat")
        made = self.make_prompt(sample, family, options)
        return replace(made, style=options["style"]) if options["style"] else made

    def image_mode(self, family: str, **protocol: Any) -> str | None:
        """Return how a family's pictures are brought to a square, the authors' way unless the protocol says otherwise."""
        check_family(family)
        if family in families.OWN_SHAPE:  # their own processors neither pad nor cut
            return None
        return self.protocol(protocol)["images"] or self.image_modes.get(family, "pad")

    def other_protocol(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a protocol with the contested option turned to its other value; without such an option, the same."""
        if not self.contested:
            return dict(given)
        if self.contested == "images":
            # The default depends on the family (`image_modes`), but is the same for both families that see a square.
            now, values = self.image_mode("llava", **given), IMAGE_MODES
        else:
            now, values = self.protocol(given)[self.contested], self.options[self.contested]
        return {**given, self.contested: next(value for value in values if value != now)}

    def source_of(self, protocol: Mapping[str, Any]) -> Source:
        """Return where the rows are that a protocol asks for."""
        options = self.protocol(protocol)
        named = (f"{name}={options[name]}" for name in self.row_options)
        return next((self.sources[name] for name in named if name in self.sources), self.source)

    def token_limits(self, family: str, **protocol: Any) -> Limits:
        """Return the shortest and longest answer for this family, which a protocol option may narrow."""
        check_family(family)
        chosen = [f"{name}={value}" for name, value in self.protocol(protocol).items()]
        # A limit of an option comes first: InternVL's later scripts, for example, ask for shorter answers than LLaVA's.
        for limits in [*(self.short_limits.get(option, {}) for option in chosen), self.limits]:
            # An option may shorten the answers of one family alone; then the others go on to `limits`.
            if chosen_limits := limits.get(family) or limits.get(families.DEFAULT):
                return chosen_limits
        raise ValueError(f"benchmark {self.name}: `limits` names neither {family} nor {families.DEFAULT}")

    def max_new_tokens(self, family: str, **protocol: Any) -> int:
        """Return the most tokens that are generated for one answer."""
        return self.token_limits(family, **protocol).longest

    def min_new_tokens(self, family: str, **protocol: Any) -> int:
        """Return the fewest tokens that are generated for one answer (captions of two families have a floor)."""
        return self.token_limits(family, **protocol).shortest


def check_family(family: str) -> None:
    """Raise ValueError for a family that no file of `himap/models/families` is named after."""
    if family not in families.names():
        raise unknown("model family", family, families.names())


def every_family(limits: Limits, **others: Limits) -> dict[str, Limits]:
    """Return the same limits for every family but those named."""
    return {families.DEFAULT: limits, **others}
