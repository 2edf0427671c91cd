"""Planning: what somebody asks for in a prompt, as operations, or as a question back."""
