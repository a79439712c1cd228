"""The microagent foundry: tiny models that are taught a task's steps, and an exact measure of what they do."""
