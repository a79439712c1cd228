"""What several decomposers use: strict JSON, schemas, short answers, walks of a task by its oracle."""
