"""What local_scienceqa.yaml does with a row: its picture, its text, its letters, and whether an answer is right."""


def pictures(row):
    """Return the row's picture."""
    return [row["image"]]


def letters(row):
    """Return a letter for each option."""
    return [chr(ord("A") + number) for number, _ in enumerate(row["choices"])]


def letter(row):
    """Return the letter of the right option."""
    return letters(row)[row["answer"]]


def text(row, lmms_eval_specific_kwargs=None):
    """Return context, question, options and the request for a letter, as LLaVA is asked."""
    options = [f"{name}. {option}" for name, option in zip(letters(row), row["choices"], strict=True)]
    context = [f"Context: {row['hint']}"] if row["hint"] else []
    return "\n".join(
        [*context, row["question"], *options, "Answer with the option's letter from the given choices directly."]
    )


def scores(row, answers):
    """Return 1 for the letter, else 0."""
    return {"accuracy": float(answers[0].strip().rstrip(".") == letter(row))}
