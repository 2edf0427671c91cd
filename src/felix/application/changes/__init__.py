"""Prompt changes: what is asked, planned, checked, approved, deployed and taken back."""
