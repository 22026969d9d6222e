"""The capture of attention rows, while a model runs its usual attention."""
