"""Draws the steps that a pilot or a precomputation asks, and wraps their task.

`draw` picks steps: those the task samples itself, children of a fork of single steps, steps along the oracle's way, or
those that labels name. `pilot.PilotTask` wraps the job's task and forks into the drawn steps as single steps. Its
voter `pilot.PilotVoter` asks for so many votes and elects nobody. `precompute.PrecomputeTask` is the same with the
job's own voter.
"""
