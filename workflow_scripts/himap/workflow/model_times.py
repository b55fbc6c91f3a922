"""How long one model takes for one question: prefill, decoding, loading, from formulas or from the speed of this machine.

The cost of an answer is its prefill under the method's schedule (operations over the whole prompt, at the share of a GPU's
peak rate that such passes reach) and its decoding (weights read and kernels started once per token and batch). In a pass,
layers that several methods share and the vision tower count once, and so does what questions of a batch about one picture
begin with, as far as no stage has pruned. A model without a GPU is measured here for a second (`speed`), and its times
follow from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import ceil, prod

from himap.costs.formulas import cost_at, image_tokens_per_layer
from himap.models.sizes import Dims
from himap.pruning.stage import Schedule, as_costly_as_possible
from himap.results import RANDOM_WEIGHTS
from himap.workflow.assumptions import (
    BATCH,
    CUTS,
    EAGER,
    FLOAT32,
    GPUS,
    LAYER,
    LOADING,
    NEW_TOKENS,
    REACHED,
    REACHED_FLOAT32,
    SYSTEM_TOKENS,
    TEXT_TOKENS,
    VISION,
)
from himap.workflow.plan.plan import Plan
from himap.workflow.speed import Speed, parameters


class ModelTimes:
    """The seconds that a plan's models take, on one kind of GPU or, where their speed was measured, on this machine."""

    def __init__(self, plan: Plan, gpu: str, speeds: Mapping[str, Speed] | None = None) -> None:
        if gpu not in GPUS:
            raise ValueError(f"--gpu: unknown GPU {gpu!r}; known: {', '.join(GPUS)}")
        self.plan = plan
        self.speeds = speeds or {}  # of the models that run on this machine's processor
        size = plan.config.execution.batch_size
        self.batch = size if isinstance(size, int) else BATCH  # questions that are answered together
        # Operations per second that a prefill reaches, and bytes per second that decoding reads weights with.
        self.rate, self.bandwidth = GPUS[gpu][0] * REACHED, GPUS[gpu][1]
        self.rate_float32 = FLOAT32[gpu] * REACHED_FLOAT32

    def dims(self, model: str) -> Dims:
        """Return the sizes of a model, or of random weights."""
        return self.plan.random_weights.dims if model == RANDOM_WEIGHTS else self.plan.dims(model)

    def prefill(self, model: str, kind: str, schedule: Schedule | None = None) -> float:
        """Return the seconds of a prefill, vision tower included, under a schedule or of the model as it is."""
        return self.shared_prefill(model, kind, [schedule or Schedule()])

    def shared_prefill(
        self, model: str, kind: str, schedules: Collection[Schedule], vision: float = VISION, pictures: float = 1.0
    ) -> float:
        """Return the seconds of a prefill under several schedules: a layer counts once for all that agree up to it.

        With fewer `pictures` than questions, what comes up to the picture runs once for each in the layers before any stage.
        """
        dims = self.dims(model)
        layers: dict[tuple[object, ...], float] = {}
        for schedule in schedules:
            # Image tokens before any stage: a method with a smaller image (`downsample`) starts with fewer.
            seen = prod(schedule.image_grid) if schedule.image_grid else dims.tokens_per_image
            for layer, tokens in enumerate(image_tokens_per_layer(dims, as_costly_as_possible(schedule.stages), seen)):
                # Two schedules with the same stages up to this layer do the same work in it.
                before = tuple(stage for stage in schedule.stages if stage.layer <= layer)
                cost = cost_at(dims, layer, tokens, TEXT_TOKENS[kind], "prompt")
                # Until a stage prunes by the question, questions about one picture share all rows up to the picture's
                # end. Where text looks at a picture by cross-attention, image tokens are no rows of the sequence.
                if not before and not dims.cross:
                    cost -= (1 - pictures) * cost_at(dims, layer, tokens, SYSTEM_TOKENS, "prompt")
                # The key is what the work depends on, so that schedules that agree overwrite each other and count once.
                layers[schedule.image_grid, before, layer] = cost
        if model in self.speeds:
            # The measured rate includes the vision tower (`speed`), so it is not added.
            return sum(layers.values()) / self.speeds[model].rate
        # The vision tower runs once for each size of picture that the schedules ask for.
        towers = len({schedule.image_grid for schedule in schedules})
        return (sum(layers.values()) + towers * vision * pictures) / self.rate

    def decoding(self, model: str, tokens: int, batch: float | None = None) -> float:
        """Return the seconds of decoding one answer."""
        if model in self.speeds:
            return tokens * self.speeds[model].token
        # A row alone is little work: either reading the weights takes the time, or starting the kernels does.
        # Two bytes per parameter in 16 bits, read once per step whatever the batch.
        step = max(2 * parameters(self.plan, model) / self.bandwidth, self.dims(model).layers * LAYER)
        return tokens * step / (batch or self.batch)

    def loading(self, model: str) -> float:
        """Return the seconds to load a model."""
        if model in self.speeds:
            return self.speeds[model].loading
        return LOADING * parameters(self.plan, model) / 7e9  # LOADING is that of 7 billion parameters

    def answer(self, model: str, kind: str, schedules: Collection[Schedule], pictures: float = 1.0) -> float:
        """Return the seconds of a question under several schedules that share what they agree on."""
        seconds = self.shared_prefill(model, kind, schedules, pictures=pictures) + len(schedules) * self.decoding(
            model, NEW_TOKENS[kind]
        )
        # The released code works without a cache: each generated token is a prefill of its own.
        again = [schedule for schedule in schedules if schedule.rerank]
        return seconds + sum(
            NEW_TOKENS[kind] * self.shared_prefill(model, kind, [schedule], vision=0) for schedule in again
        )

    def cuts(self, model: str, flows: Sequence[str], layers: int, per_job: int, extents: int, tokens: int) -> float:
        """Return the seconds in which one prompt's flows are cut at so many layers, with answers of so many tokens."""
        rows = TEXT_TOKENS["qa"] + self.dims(model).tokens_per_image
        # A cut changes the rows from the first one on that it touches: the instruction's, or the picture's too.
        changed = [TEXT_TOKENS["qa"] - SYSTEM_TOKENS if flow == "img2txt" else rows - SYSTEM_TOKENS for flow in flows]
        # Those at layer l resume from the undisturbed prefix below it: half a prefill on average.
        runs = extents * layers * sum(changed) / rows * self.prefill(model, "qa") / 2
        # Cuts of a job that begin at the same row generate their tokens together.
        kinds = [number * extents * per_job for number in Counter(changed).values()]
        batches = layers / per_job * sum(ceil(number / CUTS) for number in kinds)
        together = extents * layers * len(flows) / batches
        return runs + extents * layers * len(flows) * self.decoding(model, tokens - 1, batch=together)

    def salient(self, model: str) -> float:
        """Return the seconds of one saliency: a prefill, and each layer once more with its backward pass in float32."""
        if model in self.speeds:
            return 6 * self.prefill(model, "qa")
        # Times `rate` gives operations back. The tower is left out, since saliency needs no gradient through it.
        again = 2 * self.shared_prefill(model, "qa", [Schedule()], vision=0) * self.rate
        return self.prefill(model, "qa") + again / self.rate_float32

    def timed(
        self, model: str, kind: str, schedules: Sequence[Schedule], runs: Mapping[int, int], tokens: int, *, eager: bool
    ) -> float:
        """Return the seconds in which methods answer so many questions in batches of each size."""
        prefills = [self.prefill(model, kind, schedule) for schedule in schedules]
        # The table `efficiency` has a further row of the unpruned model with the eager kernel.
        plain = [EAGER * self.prefill(model, kind) for schedule in schedules if eager and not schedule.stages]
        return sum(
            number * (seconds + self.decoding(model, tokens, batch=size))
            for size, number in runs.items()
            for seconds in [*prefills, *plain]
        )
