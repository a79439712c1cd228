"""What a step costs, and how much of a model's own speed a run keeps."""
