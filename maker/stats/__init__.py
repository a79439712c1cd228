"""The statistics of voted steps: formulas, bounds, fits, the monitor. Pure.

`race` has the closed forms of MAKER (arXiv 2511.09030). `mixture` and `difficulty` fit how hard the steps of a class
are and how they differ; `shares` fits how wrong votes are split, and `several_rivals` says what races then come to.
`risk`, `margins` and `knapsack` find the cheapest k by class for a target. `truncation`
counts the races that ``max_votes`` ends; `expected_requests` the rounds. `posterior` takes steps that a pilot has
asked itself. `bounds` has exact bounds for labelled rows; `acceptance` chooses by them which rows to accept.
`dispersion` and `monitor` test whether votes are independent and steps alike.

numpy is imported by this package and `maker.training`; scipy by this package, and by the simulated model for prompts of
unlike difficulty. Both are the extra ``plan``, and load only when something asks for them.
"""
