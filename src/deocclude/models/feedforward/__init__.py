"""Paper B (Human De-occlusion, CVPR 2021): the feed-forward networks of both stages."""
