"""Many photographs: a run that survives bad files and being killed, and that several machines can share."""
