"""The event store remembers: the log in Postgres, its mapper, its reader, and the library's persistence module."""
