"""The swarm: workers that sit beside a model, and the two places they can run. The only room that imports ray."""
