"""One module per command, in pipeline order: sft, train_rm, ppo, compare."""
