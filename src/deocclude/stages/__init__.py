"""The stages: one file a method, which says what it is and loads it.

A file here declares `STAGES`, and `WEIGHTS` where it needs some, and imports nothing heavy: networks are imported by
the function that loads them. `catalogue` collects the files; `completers/` holds the classes that compute.
"""
