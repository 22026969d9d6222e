"""From texts to responses: prompts, the random numbers that belong to them, decoding."""
