"""The report: one page from what a run has left in its results folder, the paper's numbers beside it."""
