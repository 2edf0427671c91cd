"""What planners are told beside the prompt: the app itself, and documents that the client handed over."""
