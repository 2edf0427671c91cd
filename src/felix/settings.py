"""Every setting of Felix, read from ``FELIX_…`` variables or a ``.env`` file. Only the entry points read it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """How this installation runs. Everything has a default that works on one machine."""

    model_config = SettingsConfigDict(env_prefix="FELIX_", env_file=".env", extra="ignore")

    data_dir: Path = Field(
        Path(".felix"),
        description="Where the embedded services keep their data, logs and sockets. One directory, one Felix.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="Postgres 16 or newer instead of the embedded one, e.g. postgresql://felix:secret@db/felix."
        " The user must be allowed to create roles that bypass row-level security, for migrations.",
    )
    database_role_password: SecretStr | None = Field(
        None,
        description="Password of the login roles felix_writer, felix_reader, felix_projector and felix_founder."
        " Without it the user of the database URL takes these roles on.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Valkey or Redis instead of the embedded one, e.g. redis://cache:6379/0."
    )
    partitions: int = Field(
        4, ge=1, le=8192, description="Partitions of the log. May grow; a tenant keeps the one it was given."
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port the API listens on.")
    api_processes: int = Field(1, ge=1, le=64, description="Processes that serve the API.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged.")
    read_timeout_s: float = Field(
        2.0, gt=0, le=30, description="How long a read waits for the position that it was asked to have seen."
    )
    shutdown_timeout_s: float = Field(
        10.0, gt=0, le=120, description="How long the processes may take to finish what they are doing."
    )


def env_example() -> str:
    """The text of ``.env.example``: each setting with its description and default."""
    lines = ["# Felix reads these from the environment or from a file named .env. All are optional.", ""]
    for name, field in Settings.model_fields.items():
        lines.append(f"# {field.description}")
        default = "" if field.default is None else field.default
        lines.extend((f"# FELIX_{name.upper()}={default}", ""))
    return "\n".join(lines)
