"""Other methods behind the two protocols of `deocclude.types`."""
