"""Customers: contacts, companies, deals on their way through a pipeline, and what is to be done about them."""
