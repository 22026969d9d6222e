"""What a run will hold in memory, told before it starts."""
