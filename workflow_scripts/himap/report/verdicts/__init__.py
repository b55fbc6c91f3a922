"""The paper's claims against a run: `claims` reads them, the rules are in `accuracy`, `flow` and `cost`.

A rule is a function from result files to what is shown beside the claim: the paper's figure, ours line by line, and
*holds*, *fails* or *open*. `basis` says what the verdict rests on: the paper's models, the embedded world, another model,
or arithmetic on what the paper itself prints.
"""
