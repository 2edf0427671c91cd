"""Every setting of Felix, read from ``FELIX_…`` variables or a ``.env`` file. Only the entry points read it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """How this installation runs. Everything has a default that works on one machine."""

    model_config = SettingsConfigDict(env_prefix="FELIX_", env_file=".env", env_ignore_empty=True, extra="ignore")

    data_dir: Path = Field(
        Path(".felix"),
        description="Where the embedded services keep their data, logs and sockets. One directory, one Felix.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="Postgres 17 or newer instead of the embedded one, e.g. postgresql://felix:secret@db/felix."
        " The user must be allowed to create roles that bypass row-level security, for migrations.",
    )
    database_role_password: SecretStr | None = Field(
        None,
        description="Password of the login roles felix_writer, felix_reader, felix_projector and felix_founder."
        " Without it the user of the database URL takes these roles on.",
    )
    root_key: SecretStr | None = Field(
        None,
        description="The key from which all others are derived: 32 random bytes in base64; after a rotation the new one"
        " and then those before, separated by commas. `felix up` makes one and keeps it in root-key in the data"
        " directory. Back it up apart from the database: without it sealed secrets and personal data stay sealed.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Valkey or Redis instead of the embedded one, e.g. redis://cache:6379/0."
    )
    partitions: int = Field(
        4, ge=1, le=8192, description="Partitions of the log. May grow; a tenant keeps the one it was given."
    )
    objects_url: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9+]*://[^\s]+$",
        description="Object storage for releases, documents and transcripts, e.g. s3://bucket/prefix. Default: objects"
        " in the data directory.",
    )
    private_sources: bool = Field(
        False,
        description="Whether databases that clients connect may be at addresses of this machine or its network.",
    )
    backup_dir: Path | None = Field(
        None,
        description="Where `felix backup` keeps backups and the archived log. Another disk protects from the loss of"
        " this one. Default: backups in the data directory.",
    )
    backup_keep_days: int = Field(
        14,
        ge=1,
        le=3650,
        description="`felix backup` keeps what any moment of the last so many days can be restored from, and removes"
        " older backups.",
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port the API listens on.")
    api_processes: int = Field(1, ge=1, le=64, description="Processes that serve the API.")
    limit_reads_per_s: int = Field(
        2_000,
        ge=1,
        description="Reads that one key or session may send in a second. Each API process admits its share.",
    )
    limit_writes_per_s: int = Field(
        5_000,
        ge=1,
        description="Writes that one key or session may send in a second: more than one process of the API was ever"
        " measured to perform. Each API process admits its share.",
    )
    limit_client_times: int = Field(
        2, ge=1, description="All keys and people of a client together may send so many times what one of them may."
    )
    limit_strangers_per_minute: int = Field(
        120,
        ge=1,
        description="Requests without a valid key or session, and attempts to sign in, that one address may send in a"
        " minute.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks of proxies in front of Felix, separated by commas: whom they name in"
        " X-Forwarded-For is believed to be the client. From anybody else that header means nothing.",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="Where people reach Felix, e.g. https://felix.example.com: what links in mails begin with. Default:"
        " the address that the API listens on.",
    )
    oidc_issuer: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="OpenID provider that people may sign in with, e.g. https://accounts.example.com. It has to verify"
        " addresses. Register /v1/oidc/callback under FELIX_PUBLIC_URL there.",
    )
    oidc_client_id: str | None = Field(None, description="What Felix is called at the OpenID provider.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Felix's secret at the OpenID provider; without one it is a public client."
    )
    planner_model: str | None = Field(
        None,
        pattern="^(openai|anthropic):.+$",
        description="Language model that plans what the grammar does not understand, e.g. openai:gpt-5 or"
        " anthropic:claude-sonnet-5-5. Without one nothing is asked of any. Publish prices of llm.input_tokens and"
        " llm.output_tokens for it, and of llm.cached_input_tokens where those are cheaper: what has no price is not"
        " asked.",
    )
    planner_base_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="Where the model is, if not at its provider: any endpoint that speaks OpenAI's or Anthropic's"
        " language. Plain HTTP goes to this machine only.",
    )
    planner_key: SecretStr | None = Field(
        None,
        description="The provider's key for the model. A secret planner.openai-key or planner.anthropic-key of the"
        " platform goes before it, and one of a client before both: that client then pays its provider itself.",
    )
    planner_day_tokens: int = Field(
        1_000,
        ge=1,
        le=1_000_000_000,
        description="Tokens that all changes of one client may spend on language models in a day (UTC). What would go"
        " beyond waits for the next day. A spend cap of the client's account can only tighten it.",
    )
    guardrail_look_every_s: float = Field(
        15.0,
        ge=1,
        le=300,
        description="Seconds between two looks at a release that is new, at the least. An app's policy.json can only"
        " ask for more of them, in watch.look_every_s.",
    )
    github_app_id: str | None = Field(
        None,
        pattern="^[A-Za-z0-9.]+$",
        description="Number or client id of the GitHub App that Felix acts as. Its private key is a secret of the"
        " platform, set by `felix secrets set github.app-key --kind private_key --tenant felix-platform < key.pem`.",
    )
    github_api_url: str = Field(
        "https://api.github.com",
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="Where GitHub's API is; on a GitHub Enterprise Server https://HOST/api/v3.",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Mail server, e.g. smtps://user:secret@mail.example.com:465, or smtp:// for STARTTLS. Without one"
        " mails are left in mail in the data directory.",
    )
    mail_from: str = Field("Felix <felix@localhost>", description="Sender of the mails that Felix writes.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged.")
    process_name: str | None = Field(
        None,
        pattern="^[a-z0-9-]+$",
        description="What this process is called in logs and metrics, such as api-1. `felix up` names its own.",
    )
    log_requests: bool = Field(False, description="Log every request; without it those that failed or were slow.")
    slow_request_s: float = Field(1.0, gt=0, description="A request that takes longer is logged.")
    metrics_token: SecretStr | None = Field(
        None,
        description="Whoever scrapes /metrics sends it as `Authorization: Bearer …`; a founder's key does as well."
        " `felix up` makes one and keeps it in metrics-token in the data directory.",
    )
    metrics_dir: Path | None = Field(
        None,
        description="Directory where the API processes and workers of one machine share what they count, so that any"
        " of them answers for all. `felix up` uses metrics in the data directory.",
    )
    read_timeout_s: float = Field(
        2.0, gt=0, le=30, description="How long a read waits for the position that it was asked to have seen."
    )
    lot_expiry_notice_days: int = Field(
        7, ge=0, le=365, description="How many days before a lot of tokens runs out its client is told."
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
