"""The life of a run: started, worked on, resumed, read, exported, forked, removed."""
