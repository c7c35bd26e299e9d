"""The classes of the stages: tensors in, tensors out. `stages/` says what they are and loads their weights."""
