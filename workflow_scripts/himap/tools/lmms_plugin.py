"""Our models under our methods as a model of lmms-eval, so that its tasks run with any of them, in batches.

    python -m lmms_eval --model himap --model_args pretrained=models/mini,method=himap --tasks … --batch_size 16

lmms-eval finds it by the entry point in pyproject.toml, once himap is installed in its environment (docs/lmms-eval.md).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmms_eval.api.model import lmms

if TYPE_CHECKING:
    from lmms_eval.api.instance import GenerationResult
    from lmms_eval.models.registry_v2 import ModelManifest

    from himap.experiments.answers import Question

IMAGE_MARK = "<image>"  # where a task's text has pictures; here they come first
LONGEST = 1024  # tokens of an answer where a task sets no limit, as in lmms-eval's own classes


def manifest() -> ModelManifest:
    """Return what lmms-eval registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("himap", simple_class_path=f"{__name__}.Himap")


@dataclass(frozen=True)
class Wanted:
    """How one request is to be answered; requests that agree in it share a batch."""

    max_new_tokens: int
    until: tuple[str, ...]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Wanted:
        """Read a task's generation_kwargs. Raise ValueError for what is not greedy."""
        # Tasks write 0, 0.0, None or nothing.
        temperature, beams = settings.get("temperature") or 0, settings.get("num_beams") or 1
        if settings.get("do_sample", temperature > 0) and temperature > 0:
            raise ValueError(
                f"generation_kwargs: temperature {temperature} asks for drawn answers, but himap answers greedily; "
                "give --gen_kwargs temperature=0"
            )
        if beams > 1:
            raise ValueError(
                f"generation_kwargs: num_beams {beams} asks for a beam search, but himap answers greedily; "
                "give --gen_kwargs num_beams=1"
            )
        until = settings.get("until") or ()  # one text or a list of them
        return cls(
            int(settings.get("max_new_tokens") or LONGEST),
            (until,) if isinstance(until, str) else tuple(filter(None, until)),
        )

    def cut(self, text: str) -> str:
        """Return an answer up to the first text that is to end it."""
        return min((text.partition(end)[0] for end in self.until), key=len, default=text)  # at the end that comes first


class Himap(lmms):
    """A checkpoint of one of our families under one of our methods, at a budget of image tokens if one is given."""

    def __init__(
        self,
        pretrained: str,
        method: str = "vanilla",
        tokens_of: int | str | None = None,
        batch_size: int | str = 1,
        device: str | None = None,
        seed: int = 0,
        max_batch_size: int | None = None,  # lmms-eval always passes it; `auto` finds its own size
        **options: Any,
    ) -> None:
        """Load a folder or hub id; `options` are those of `himap.load` (revision, dtype, attention, text_tower, template …)."""
        import torch

        from himap.inference import schedule_of
        from himap.models.loading import load

        super().__init__()
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load(pretrained, device=chosen, **options)
        # model_args turn 128 into a number, and leave 1/3 as it is.
        budget = {} if tokens_of is None else {"tokens_of": tokens_of}
        self.schedule = schedule_of(self.model, {"like": method, **budget} if budget else method)
        self.batch_size = batch_size if batch_size == "auto" else int(batch_size)
        self.seed = seed

    @property
    def device(self) -> Any:
        """Return where the model is."""
        return self.model.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return an answer per request; those of equal limits share batches."""
        asked: dict[Wanted, dict[int, tuple[str, Callable[[], list[Any]]]]] = {}  # by the place of each request
        for place, request in enumerate(requests):
            context, settings, doc_to_visual, doc_id, task, split = request.args
            asked.setdefault(Wanted.of(settings), {})[place] = (
                context,
                self._pictures(doc_to_visual, task, split, doc_id),
            )
        answers: dict[int, str] = {}
        for wanted, group in asked.items():
            named = [(place, name_of(requests[place], place), *group[place]) for place in group]
            answers |= self._answers(named, wanted)
        return [answers[place] for place in range(len(requests))]  # lmms-eval wants its own order back

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[tuple[str, ...]]:
        """Return the answers of all rounds per request; every round is asked in batches of those that go on."""
        open_ = {place: Round(request, *request.args) for place, request in enumerate(requests)}  # requests that go on
        done: dict[int, tuple[str, ...]] = {}
        while open_:
            by_wanted: dict[Wanted, list[int]] = {}
            for place, turn in open_.items():
                by_wanted.setdefault(Wanted.of(turn.settings), []).append(place)
            for wanted, places in by_wanted.items():
                named = [
                    (
                        place,
                        f"{name_of(requests[place], place)}/{len(open_[place].answers)}",
                        *self._round(open_[place]),
                    )
                    for place in places
                ]
                for place, text in self._answers(named, wanted).items():
                    open_[place].answers.append(text)
            for place, turn in list(open_.items()):  # a list, since the loop takes finished ones out
                if turn.ends(self.task_dict[turn.task][turn.split][turn.doc_id]):
                    done[place] = tuple(open_.pop(place).answers)
        return [done[place] for place in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Return the mean loss of each request's continuation, and whether it is the greedy answer's beginning, as a pair.

        A loss and no logarithm of a probability, since that is what lmms-eval's own classes return and what its tasks
        take the smallest of.
        """
        from lmms_eval.api.instance import GenerationResult

        prompts: dict[tuple[str, str, str, int], list[int]] = {}  # the options of a question share its prompt
        for place, request in enumerate(requests):
            context, _, _, doc_id, task, split = request.args
            prompts.setdefault((context, task, split, doc_id), []).append(place)
        results: dict[int, tuple[float, bool]] = {}
        size = 16 if self.batch_size == "auto" else int(self.batch_size)  # `auto` is measured for answers alone
        groups = list(prompts.values())
        for start in range(0, len(groups), size):
            results |= self._losses(requests, groups[start : start + size])
        # Wrapped: lmms-eval 0.7.3 makes a text of a bare pair before its tasks read it, and passes on what is wrapped.
        return [GenerationResult(text=results[place]) for place in range(len(requests))]

    def _pictures(
        self, doc_to_visual: Callable[[Any], Any], task: str, split: str, doc_id: int
    ) -> Callable[[], list[Any]]:
        """Return a function that opens a document's pictures, so that those of one batch are in memory and no others."""
        return lambda: doc_to_visual(self.task_dict[task][split][doc_id])

    def _round(self, turn: Round) -> tuple[str, Callable[[], list[Any]]]:
        """Return the text and the pictures of a request's next round."""
        if turn.visuals is not None:
            return turn.context, lambda: list(turn.visuals or [])
        return turn.context, self._pictures(turn.doc_to_visual, turn.task, turn.split, turn.doc_id)

    def _answers(
        self, asked: Sequence[tuple[int, str, str, Callable[[], list[Any]]]], wanted: Wanted
    ) -> dict[int, str]:
        """Return the answers by the place of their requests."""
        from himap.experiments.batches import answer_all

        places = {name: place for place, name, _, _ in asked}  # names are unique, see `name_of`

        def questions() -> Iterator[Question]:  # a generator: pictures are opened as batches need them
            for _, name, context, visuals in asked:
                yield question(name, context, visuals())

        rows = answer_all(
            self.model,
            questions(),
            self.schedule,
            batch_size=self.batch_size,
            max_new_tokens=wanted.max_new_tokens,
            seed=self.seed,
        )
        return {places[row["sample_id"]]: wanted.cut(row["prediction"]) for row in rows}

    def _losses(self, requests: Sequence[Any], groups: Sequence[Sequence[int]]) -> dict[int, tuple[float, bool]]:
        """Return loss and greediness of the continuations of a batch of prompts, whose requests are in `groups`."""
        import torch

        from himap.experiments.answers import encode
        from himap.experiments.likelihood import log_probabilities
        from himap.experiments.sharing import Track, prefills

        asked = []
        for places in groups:
            context, _, doc_to_visual, doc_id, task, split = requests[places[0]].args
            asked.append(
                question(f"{task}/{split}/{doc_id}", context, self._pictures(doc_to_visual, task, split, doc_id)())
            )
        prompt = encode(self.model, asked, self.schedule.image_grid)
        track = Track(self.schedule.stages, self.seed, self.schedule.renumbers) if self.schedule.stages else Track()
        ((_, prefill),) = prefills(self.model, prompt, [track], [entry.sample_id for entry in asked])
        results = {}
        for b, places in enumerate(groups):
            for place in places:
                ids = self.model.answer_ids(self._continuation(requests[place]))
                pruning = prefill.pruning.of([b])  # of this prompt alone, whose continuations run one by one
                with torch.no_grad():
                    known = log_probabilities(self.model, prompt, prefill.cache, prefill.logits, b, ids, [pruning])
                given = torch.tensor(ids, device=known.device)
                loss = -float(known.gather(1, given[:, None]).mean())  # known: [tokens of the continuation, vocabulary]
                results[place] = (loss, bool((known.argmax(dim=-1) == given).all()))
        return results

    def _continuation(self, request: Any) -> str:
        """Return the text whose loss a request asks for."""
        _, target, _, doc_id, task, split = request.args
        return (target if isinstance(target, str) else str(target(self.task_dict[task][split][doc_id]))).strip()


@dataclass
class Round:
    """A request of several rounds: what is asked next, and what was answered so far."""

    request: Any
    context: str
    settings: Mapping[str, Any]
    doc_to_visual: Callable[[Any], Any]
    doc_to_text: Callable[..., Any]
    doc_id: int
    task: str
    split: str

    def __post_init__(self) -> None:
        self.answers: list[str] = []
        self.visuals: list[Any] | None = None  # of the first round: the document's
        self.told: Any = None

    def ends(self, doc: Any) -> bool:
        """Return whether the task ends after the last answer; if not, this is the next round."""
        self.visuals, self.context, is_over, answers, self.told = self.doc_to_text(
            doc, previous_output=list(self.answers), round_idx=len(self.answers), previous_round_info=self.told
        )
        self.answers = list(answers)
        return bool(is_over)


def name_of(request: Any, place: int) -> str:
    """Return a name of a request's own, which also decides what random methods draw for it."""
    # With the place only where a task asks the same more than once.
    doc_id, task, split = request.args[-3:]
    return f"{task}/{split}/{doc_id}" + (f"#{place}" if (request.repeats or 1) > 1 else "")


def question(name: str, context: str, visuals: Sequence[Any]) -> Question:
    """Return a document as our models are asked it. Raise ValueError for a video, or a document without a picture."""
    from PIL.Image import Image

    from himap.experiments.answers import Question
    from himap.models.prompts import Prompt

    if not visuals or not all(isinstance(picture, Image) for picture in visuals):
        kinds = ", ".join(sorted({type(picture).__name__ for picture in visuals})) or "none"
        raise ValueError(
            f"{name}: its visuals are {kinds}; himap answers questions about pictures, so choose another task"
        )
    return Question(name, [encoded(picture) for picture in visuals], Prompt(context.replace(IMAGE_MARK, "").strip()))


def encoded(picture: Any) -> bytes:
    """Return a picture as the bytes of a file without loss, as a benchmark's samples hold it."""
    buffer = io.BytesIO()
    # It is read again at once: time counts, not size.
    picture.convert("RGB").save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
