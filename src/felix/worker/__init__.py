"""The worker does later what nobody waits for: it keeps the read models up to date."""
