"""MM-Vet: open questions on combined capabilities, graded 0 to 1 by a language model."""

from __future__ import annotations

from typing import Any

from himap.benchmarks._base import CENTER_CROP, Benchmark, JudgeProtocol, Limits, every_family
from himap.benchmarks._prompts import bare_question
from himap.benchmarks._sample import Sample, Source, image_bytes, scalars
from himap.metrics import judged

# Recognition, OCR, knowledge, language generation, spatial awareness, math; in the order of the official tables.
CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")

# What the official evaluator sends, word for word: task, then a table of solved rows whose last cell is left open.
TASK = (
    "Compare the ground truth and prediction from AI models, to give a correctness score for the prediction. "
    "<AND> in the ground truth means it is totally right only when all elements in the ground truth are present "
    "in the prediction, and <OR> means it is totally right when any one element in the ground truth is present "
    "in the prediction. The correctness score is 0.0 (totally wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, "
    "0.9, or 1.0 (totally right). Just complete the last space of the correctness score."
)
EQUATION = ("What is x in the equation?", "-1 <AND> -5")
MEME = (
    "Can you explain this meme?",
    "This meme is poking fun at the fact that the names of the countries Iceland and Greenland are misleading. "
    "Despite its name, Iceland is known for its beautiful green landscapes, while Greenland is mostly covered in "
    "ice and snow. The meme is saying that the person has trust issues because the names of these countries do "
    "not accurately represent their landscapes.",
)
SOLVED = (
    (*EQUATION, "x = 3", "0.0"),
    (*EQUATION, "x = -1", "0.5"),
    (*EQUATION, "x = -5", "0.5"),
    (*EQUATION, "x = -5 or 5", "0.5"),
    (*EQUATION, "x = -1 or x = -5", "1.0"),
    (
        *MEME,
        "The meme talks about Iceland and Greenland. It's pointing out that despite their names, Iceland is not "
        "very icy and Greenland isn't very green.",
        "0.4",
    ),
    (
        *MEME,
        "The meme is using humor to point out the misleading nature of Iceland's and Greenland's names. Iceland, "
        "despite its name, has lush green landscapes while Greenland is mostly covered in ice and snow. The text "
        "'This is why I have trust issues' is a playful way to suggest that these contradictions can lead to "
        "distrust or confusion. The humor in this meme is derived from the unexpected contrast between the names "
        "of the countries and their actual physical characteristics.",
        "1.0",
    ),
)
TABLE = (("Question", "Ground truth", "Prediction", "Correctness"), ("---",) * 4, *SOLVED)
EXAMPLES = TASK + "\n\n" + "".join(" | ".join(row) + "\n" for row in TABLE)
REMINDER = "\nPredict the correctness of the answer (digit): "

SOURCE = Source(
    hub_id="lmms-lab/MMVet",
    split="test",
    revision="b310d12d0d9e765db953da28a7ef7ff43620dc83",
    licence="CC BY-NC 4.0",
    rows=218,
    columns={
        "question_id": "string",
        "image": "image",
        "question": "string",
        "answer": "string",
        "capability": "string",
    },
    unused={
        "image_source": "string?",
    },
)


def sample(row: dict[str, Any], index: int) -> Sample:
    """Return a row's sample; its capabilities come joined by commas."""
    unknown = set(row["capability"].split(",")) - set(CAPABILITIES)
    if unknown:
        raise ValueError(
            f"capability {row['capability']!r} holds {', '.join(sorted(unknown))}; known are {', '.join(CAPABILITIES)}"
        )
    return Sample(
        sample_id=row["question_id"],
        question=row["question"],
        references=[row["answer"]],
        images=image_bytes(row),
        metadata=scalars(row, "capability"),
    )


def request(one: Sample, prediction: str) -> str:
    """Return the table of solved rows and the new one, with spaces around the markers of the ground truth."""
    # The evaluator adds these spaces, and a grade is comparable only if the judge reads the same words.
    truth = one.references[0].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    # The empty last cell leaves "... | " for the judge to complete with the grade.
    return EXAMPLES + "\n" + " | ".join([one.question, truth, prediction, ""])


def messages(one: Sample, prediction: str) -> list[dict[str, str]]:
    """Return the conversation: one message of the user."""
    return [{"role": "user", "content": request(one, prediction)}]


def messages_again(one: Sample, prediction: str) -> list[dict[str, str]]:
    """Return the same with a reminder, after a verdict that could not be read."""
    return [{"role": "user", "content": request(one, prediction) + REMINDER}]


def rows(samples: list[Sample], verdicts: list[list[judged.Verdict]]) -> list[dict[str, Any]]:
    """Return the grade of each run and the mean of the readable ones; the official evaluator counts an unreadable one as 0."""
    scored = []
    for one, given in zip(samples, verdicts, strict=True):
        grades = [verdict[0] for verdict in given if verdict]  # one grade a verdict, None where it was unreadable
        scored.append(
            {
                "score": sum(grades) / len(grades) if grades else float("nan"),
                # In one order, so that "ocr,rec" and "rec,ocr" are one combination.
                "capability": ",".join(sorted(one.metadata["capability"].split(","), key=CAPABILITIES.index)),
                "unreadable": sum(verdict is None for verdict in given),
                **judged.run_columns(given, ("score",)),
            }
        )
    return scored


def headline(frame: Any) -> Any:
    """Return the mean grade over samples and runs, times 100; samples without a readable verdict are left out."""
    from himap.metrics.statistics import mean_of

    readable = frame[frame["score"].notna()]
    return mean_of(readable["score"], clusters=readable.get("picture"))


def details(frame: Any) -> dict[str, float]:
    """Return the grade per capability (samples that need it), per exact combination, per run with their spread, unreadable verdicts."""
    import numpy as np

    # A sample counts for every capability that it needs, so these means overlap; the combinations below do not.
    needed = frame["capability"].str.split(",")
    has = {name: needed.map(lambda names, name=name: name in names) for name in CAPABILITIES}
    single = {
        name: float(frame.loc[rows_with, "score"].mean() * 100.0) for name, rows_with in has.items() if rows_with.any()
    }
    combined = {
        f"combination_{name.replace(',', '_')}": float(mean * 100.0)
        for name, mean in frame.groupby("capability")["score"].mean().items()
    }
    runs = {f"run_{run}": float(frame[f"score_{run}"].mean() * 100.0) for run in judged.runs_of(frame)}
    return {**single, **combined, **runs, "std": float(np.std(list(runs.values()))), **judged.unreadable_counts(frame)}


BENCHMARK = Benchmark(
    name="mmvet",
    title="MM-Vet",
    metric="grade by a judge",
    scale=100.0,
    chance=0.0,
    task="open",
    rank=10,
    source=SOURCE,
    sample=sample,
    make_prompt=bare_question,
    limits=every_family(Limits(1024)),
    image_modes=CENTER_CROP,
    contested="images",
    rows=rows,
    headline=headline,
    details=details,
    judge=JudgeProtocol(
        messages=messages,
        temperature=0.0,
        # "0.5" is three tokens; a judge that begins to explain is cut off and asked again.
        max_tokens=3,
        parse=judged.parse_grade,
        default_model="gpt-4-0613",
        default_runs=5,
        again=messages_again,
        tries=5,
        # The official evaluator repeats temperature 0 at the first further try, which gives the same reply again.
        hotter=0.5,
    ),
)
