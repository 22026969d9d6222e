"""From responses to token scores: the reward model, the evidence, the calibration."""
