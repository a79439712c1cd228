"""What maker is measured by. Every benchmark is a module that you run from the checkout's root.

    python -m benchmarks.speed.engine --steps 100000
    python -m benchmarks.speed.engine --smoke       # seconds: shows that it runs, its figures mean nothing

- `speed`: what a step costs, beside a yardstick that is measured in the same run.
- `recovery`: what a run keeps of its promises when it is killed, or when its server fails.
- `stats`: whether plans, reports and alarms are right as often as they say.
- `tasks`: whole tasks whose right answers are known.
- `shared`: what several of them use: tables and goals, the command line, tasks, yardsticks. No benchmark is in it.
- `structure`: the shape of the code itself, of one checkout or of two.

A module outside `shared` is a benchmark: the tests run each one with ``--smoke`` (`shared.options`). `RESULTS.md`
has what they printed.
"""
