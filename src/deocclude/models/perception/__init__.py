"""Networks that find people: tensors in, tensors out."""
