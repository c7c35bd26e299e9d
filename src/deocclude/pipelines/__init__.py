"""The order of the steps, from a photograph to its completed person."""
