"""What people read of a table of methods at equal budgets: its further cells as text, and three sentences under it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from himap.tables.rivals import SMALLER, fraction, printed_of

MANY_STAGES = 3  # from which on only what the last one leaves is written


def lead(row: pd.Series) -> list[str]:
    """Return what stands before a method's costs: mean tokens, and what is left of the unpruned score over all benchmarks."""
    left = "" if pd.isna(row["left_mean"]) else f"{row['left_mean']:.1f} %"
    return [f"{row['mean_tokens']:.1f}", left]


def printed_text(row: pd.Series) -> str:
    """Return what papers print for a cell in brief: the first value with its source, and the range of disputed ones."""
    values = printed_of(
        {name: None if pd.isna(row[name]) else row[name] for name in ("method", "of", "budget", "benchmark")}
    )
    if not values:
        return ""
    numbers = [value.value for value in values]
    text = f"{values[0].value:g} ({values[0].source})"
    return f"{text}, disputed: {min(numbers):g} to {max(numbers):g}" if row["disputed"] else text


def same_text(row: pd.Series) -> str:
    """Return how often the answers are the unpruned model's."""
    return "" if pd.isna(row["same_answers"]) or row["method"] == "vanilla" else f"{row['same_answers']:.0f} %"


def hard_text(row: pd.Series) -> str:
    """Return the score on hard samples, with their number."""
    return "" if pd.isna(row["hard"]) or row["of"] == SMALLER else f"{row['hard']:.1f} (n {int(row['hard_n'])})"


def evidence_text(row: pd.Series) -> str:
    """Return the share of the evidence that is kept, stage by stage where there are few."""
    if pd.isna(row["evidence"]):
        return ""
    stages = str(row["evidence_stages"])
    return f"{stages.replace('/', ' / ')} %" if stages.count("/") < MANY_STAGES else f"{row['evidence']:.0f} %"


BLIND = ("random_tokens", "uniform_tokens", SMALLER, "deep_random")  # methods that look at no token


def sentences(frame: pd.DataFrame) -> list[str]:
    """Return what the table says of each model in three sentences, by rule."""
    lines = []
    for model, rows in frame[frame["budget"].notna()].groupby("model", sort=False):
        # At the smallest budget methods differ most; at a large one all of them keep nearly everything.
        smallest = min(rows["budget"].unique(), key=fraction)
        at = rows[rows["budget"] == smallest]
        texts = [ranking(at, smallest), on_hard(at), agreement(at)]
        # One of them is empty where the table lacks a baseline or a method; then none is shown.
        if all(texts):
            lines.append(f"{model}: " + " ".join(texts))
    return lines


def ranking(rows: pd.DataFrame, budget: object) -> str:
    """Return which method keeps most of the unpruned score at a budget, and how many are better than all baselines."""
    # `left_mean` is the same in every row of a method.
    means = rows.drop_duplicates("method").set_index("of")["left_mean"].dropna()
    blind, chosen = means[means.index.isin(BLIND)], means[~means.index.isin(BLIND)]
    if blind.empty or chosen.empty:
        return ""
    titles = _titles(rows)
    what = f"{fraction(budget)} {'of the ' if fraction(budget) < 1 else ''}image tokens"
    return (
        f"At {what}, {titles[chosen.idxmax()]} keeps {chosen.max():.1f} % of the unpruned scores in the mean of "
        f"{rows['benchmark'].nunique()} benchmarks, the most of {len(chosen)} methods; {int((chosen > blind.max()).sum())} of them "
        f"keep more than {titles[blind.idxmax()]} ({blind.max():.1f} %), the best baseline that looks at no token."
    )


def on_hard(rows: pd.DataFrame) -> str:
    """Return how many methods are better than random tokens where the smaller image fails."""
    # Means over all benchmarks, weighted by the number of their hard samples.
    weighed = rows[rows["hard_n"] > 0].assign(points=rows["hard"] * rows["hard_n"])
    sums = weighed.groupby("of")[["points", "hard_n"]].sum()
    means = sums["points"] / sums["hard_n"]
    chosen = means[~means.index.isin(BLIND)]
    if "random_tokens" not in means or chosen.empty:
        return ""
    return (
        f"On the {int(sums['hard_n'].max())} samples that a smaller image of the same budget gets wrong, {_titles(rows)[chosen.idxmax()]} "
        f"scores {chosen.max():.1f} and random tokens {means['random_tokens']:.1f}; {int((chosen > means['random_tokens']).sum())} of "
        f"{len(chosen)} methods score more than random tokens."
    )


def agreement(rows: pd.DataFrame) -> str:
    """Return whose answers are most and least often the unpruned model's, and how much padding is kept."""
    same = rows[~rows["of"].isin(BLIND)].groupby("of")["same_answers"].mean().dropna()
    if same.empty:
        return ""
    titles = _titles(rows)
    text = (
        f"Answers are the unpruned model's most often under {titles[same.idxmax()]} ({same.max():.0f} %) and least often under "
        f"{titles[same.idxmin()]} ({same.min():.0f} %)"
    )
    # Families that stretch a picture, or pictures that are square, have none.
    padding = rows.groupby("of")["padding"].mean().dropna()
    if padding.empty or not rows["padding_all"].mean() > 0:
        return text + "."
    return (
        f"{text}; {padding.min():.0f} to {padding.max():.0f} % of what is kept is padding, which is {rows['padding_all'].mean():.0f} % "
        "of all image tokens."
    )


def _titles(rows: pd.DataFrame) -> dict[Any, str]:
    """Return the methods' titles without their budgets."""
    # "DivPrune (1/3 of the tokens)" -> "DivPrune"
    return {row["of"]: row["title"].rpartition(" (")[0] for row in rows.to_dict("records")}
