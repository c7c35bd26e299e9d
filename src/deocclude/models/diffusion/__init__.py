"""Paper A (Stable Diffusion-Based Approach for Human De-Occlusion, 2025): the networks of both stages."""
