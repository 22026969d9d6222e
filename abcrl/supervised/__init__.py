"""What sft and train-rm train with: texts as batches, transformers.Trainer in a run folder."""
