"""What the stages are told beside the picture: who is meant, and the joints."""
