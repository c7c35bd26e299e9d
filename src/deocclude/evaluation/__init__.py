"""predict, score, table, gallery: files between them, so that any of them can be another program."""
