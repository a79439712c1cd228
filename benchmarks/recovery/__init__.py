"""What a run keeps of its promises when it is killed, or when its server fails."""
