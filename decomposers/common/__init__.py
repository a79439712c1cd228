"""What several decomposers use: strict JSON, schemas, fields that vote, templates, walks of a task by its oracle."""
