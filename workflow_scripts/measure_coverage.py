"""Measure how often the 95 % intervals of the tables contain the truth, and write the table of docs/statistics.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import write_text
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    import numpy as np
    from himap.metrics.statistics import Estimate

PICTURES = (8, 20, 60, 100)
QUESTIONS = 5  # on each picture, in simulations where questions share pictures
ALIKE = 4.0  # Beta(ALIKE * share, ALIKE * (1 - share)) for each picture: a correlation of 0.2 between its questions
# Every simulated set draws its own share, this close to the named one. At a single share, the coverage of a few right and
# wrong answers jumps up and down with the share's last digit.
NEAR = 0.02
SOFT = ((0.0, 0.3, 0.6, 0.9, 1.0), (0.25, 0.08, 0.07, 0.1, 0.5))  # soft accuracies like those of VQAv2 and TextVQA
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
Simulated = tuple[list["Estimate"], float]  # one result, or the two of a pair, and the truth
Draw = Callable[["np.random.Generator", int], Simulated]


def share(near: float, questions: int = 1) -> Draw:
    """Return a simulation of right and wrong answers, with one or several questions per picture."""

    def draw(generator: np.random.Generator, pictures: int) -> Simulated:
        # The interval has to contain the share of which the answers are drawn, not the drawn share.
        truth = generator.uniform(near - NEAR, near + NEAR)
        if questions == 1:
            return [right_or_wrong(generator.random(pictures) < truth, pictures)], 100 * truth
        easy = generator.beta(ALIKE * truth, ALIKE * (1 - truth), pictures)
        right = generator.random((pictures, questions)) < easy[:, None]  # [pictures, questions]
        return [right_or_wrong(right, pictures)], 100 * truth

    return draw


def right_or_wrong(right: Any, pictures: int) -> Estimate:
    """Return the accuracy of answers, with equally many questions per picture."""
    import numpy as np
    from himap.metrics.statistics import mean_of

    return mean_of(right.ravel(), clusters=np.repeat(np.arange(pictures), right.size // pictures), binary=True)


def soft_scores(generator: np.random.Generator, pictures: int) -> Simulated:
    """Draw soft accuracies between 0 and 1."""
    import numpy as np
    from himap.metrics.statistics import mean_of

    scores = generator.choice(SOFT[0], pictures, p=SOFT[1])
    return [mean_of(scores)], 100 * float(np.dot(*SOFT))


def captions(generator: np.random.Generator, pictures: int) -> Simulated:
    """Draw scores as skewed as those of captions (CIDEr): Gamma of shape 2, mean 80."""
    from himap.metrics.statistics import mean_of

    # Gamma of shape 2 and scale 0.4 has the mean 0.8, which is 80 in percent.
    return [mean_of(generator.gamma(2, 0.4, pictures), top=1000)], 80.0


def pair(losses: float, wins: float) -> Draw:
    """Return a simulation of two methods, one question per picture, of which these shares are lost and won."""

    def draw(generator: np.random.Generator, pictures: int) -> Simulated:
        draw_of = generator.random(pictures)  # lowest values: lost, then won; above 0.6 both methods are right
        both = draw_of > 0.6
        first, second = (draw_of < losses) | both, ((draw_of >= losses) & (draw_of < losses + wins)) | both
        return [right_or_wrong(first, pictures), right_or_wrong(second, pictures)], 100 * (wins - losses)

    return draw


def shared_pair(changed: float, gain: float = 0.03) -> Draw:
    """Return a simulation of two methods, several questions per picture, where the second answers some of them again."""

    def draw(generator: np.random.Generator, pictures: int) -> Simulated:
        easy = generator.uniform(0.3, 0.9, pictures)[:, None]
        # By picture, as a method helps on some pictures and harms on others; the mean is `gain`.
        better = easy + generator.uniform(gain - 0.07, gain + 0.07, pictures)[:, None]
        first = generator.random((pictures, QUESTIONS)) < easy
        again = generator.random((pictures, QUESTIONS)) < changed
        second = (generator.random((pictures, QUESTIONS)) < better) * again + first * ~again
        return [right_or_wrong(first, pictures), right_or_wrong(second, pictures)], 100 * changed * gain

    return draw


def caption_pair(generator: np.random.Generator, pictures: int) -> Simulated:
    """Draw the scores of two captions per picture, of which six in ten differ."""
    from himap.metrics.statistics import mean_of

    first = generator.gamma(2, 0.4, pictures)
    second = first + generator.normal(0.02, 0.3, pictures) * (generator.random(pictures) < 0.6)
    # A true gain of 0.6 * 0.02 = 0.012, 1.2 in percent.
    return [mean_of(first, top=1000), mean_of(second, top=1000)], 1.2


SIMULATIONS: dict[str, Draw] = {
    "share near 0.5": share(0.5),
    "share near 0.9": share(0.9),
    "share near 0.98": share(0.98),
    f"share near 0.5, {QUESTIONS} questions per picture": share(0.5, QUESTIONS),
    f"share near 0.9, {QUESTIONS} questions per picture": share(0.9, QUESTIONS),
    f"share near 0.98, {QUESTIONS} questions per picture": share(0.98, QUESTIONS),
    "soft accuracy": soft_scores,
    "captions (skewed)": captions,
    "pair: 10 % lost, 30 % won": pair(0.1, 0.3),
    "pair: 15 % lost, 15 % won": pair(0.15, 0.15),
    "pair: 2 % lost, 12 % won": pair(0.02, 0.12),
    f"pair: 30 % answered again, {QUESTIONS} questions per picture": shared_pair(0.3),
    f"pair: all answered again, {QUESTIONS} questions per picture": shared_pair(1.0),
    "pair: captions": caption_pair,
}


def measure(draw: Draw, pictures: int, sets: int, seed: int) -> float:
    """Return the share of simulated sets whose interval contains the truth."""
    import numpy as np
    from himap.metrics.paired import paired_interval
    from himap.metrics.statistics import interval

    # The number of pictures is part of the seed, so that a further column changes no other.
    generator, hits = np.random.default_rng([seed, pictures]), 0
    for _ in range(sets):
        results, truth = draw(generator, pictures)
        low, high = interval(results[0]) if len(results) == 1 else paired_interval(results[0], results[1])
        hits += low <= truth <= high
    return hits / sets


def table(sets: int, seed: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| simulated | " + " | ".join(f"{n} pictures" for n in PICTURES) + " |"
    yield "|---|" + "---|" * len(PICTURES)
    for name, draw in SIMULATIONS.items():
        yield f"| {name} | " + " | ".join(f"{measure(draw, n, sets, seed):.3f}" for n in PICTURES) + " |"


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, print the table, and put it into the page between its marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=4000, help="simulated sets for each number (default: 4000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="page whose table is replaced: docs/statistics.md")
    arguments = parser.parse_args(argv)
    lines = "\n".join(table(arguments.sets, arguments.seed))
    print(lines)
    if arguments.write:
        text = arguments.write.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise ValueError(
                f"{arguments.write}: lacks the lines {BEGIN} and {END}; add them where the table should go"
            )
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        write_text(arguments.write, f"{before}{BEGIN}\n{lines}\n{END}{after}")


if __name__ == "__main__":
    run(main)
