"""What several decomposers use: strict JSON, schemas, templates, walks of a task by its oracle."""
