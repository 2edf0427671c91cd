"""What the steps of changes are taken with: planners, repositories, and the stepper itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import cache, partial
from threading import Lock
from uuid import UUID

from felix.application.apps.at_work import AppsAtWork
from felix.application.changes.code_planners import NoCodePlanner
from felix.application.changes.code_target import CodeTarget
from felix.application.changes.planners import GrammarPlanner, Planner, PlannerChain
from felix.application.changes.steps.stepper import Stepper
from felix.application.changes.steps.workbench import Place, Planners, Workbench
from felix.application.changes.transcripts import Transcripts
from felix.application.context import PassageIndex
from felix.application.secrets import Secrets, User
from felix.bootstrap.endpoints import Endpoints
from felix.bootstrap.keys import following_root_keys
from felix.bootstrap.objects import ObjectsWhenNeeded, open_objects
from felix.bootstrap.sources import NoGitHubApp, open_github, open_marks
from felix.domain.changes.bills import key_secret
from felix.domain.changes.change import Change
from felix.domain.changes.messages import ModelKey
from felix.domain.changes.modules import newest
from felix.domain.identity.roles import PLATFORM
from felix.domain.secrets.tenant_secrets import SECRETS_STREAM, TenantSecrets
from felix.eventstore.aggregates import Aggregates
from felix.eventstore.connections import connect
from felix.eventstore.recorded_plans import RecordedPlans
from felix.modules.library import library
from felix.settings import Settings

#: The git repositories of clients.
REPOSITORIES_DIR = "repositories"


@contextmanager
def open_stepper(
    endpoints: Endpoints, settings: Settings, apps: AppsAtWork, passages: PassageIndex, secrets: Secrets
) -> Iterator[Stepper]:
    """Who takes the steps of changes, with what jobs run apps with."""
    from felix.adapters.repositories import AppRepository

    url, versions, root_key = endpoints.writer_url, library(), following_root_keys(settings)
    with (
        closing(Aggregates(lambda: connect(url))) as aggregates,
        closing(RecordedPlans(lambda: connect(url))) as plans,
        opening_code_target(settings, secrets) as code,
    ):

        def has_secret(tenant_id: UUID, name: str) -> bool:
            kept = aggregates.find((apps.partition_of(tenant_id), tenant_id), TenantSecrets, SECRETS_STREAM)
            return kept is not None and kept.has(name)

        yield Stepper(
            Workbench(
                aggregates=aggregates,
                objects=open_objects(settings),
                releases=apps.releases,
                repository=cache(partial(AppRepository, settings.data_dir / REPOSITORIES_DIR)),
                kept=apps.personal,
                passages=passages,
                planners=open_planners(settings, secrets, has_secret),
                measurements=apps.measurements,
                shelf=apps.shelf,
                library=versions,
                catalogue=newest(versions),
                code=code,
                plans=plans,
                index=lambda question: root_key().index("plan", question),
                known=open_marks(endpoints, settings).of,
                model_day_mtok=settings.planner_day_tokens * 1_000,
                look_every_s=settings.guardrail_look_every_s,
            )
        )


def open_planners(settings: Settings, secrets: Secrets, has_secret: Callable[[UUID, str], bool]) -> Planners:
    """The planners of each change in their order; the SDKs of language models are loaded when one is first asked."""
    objects = ObjectsWhenNeeded(cache(lambda: open_objects(settings)))
    transcripts = Transcripts(objects, secrets, following_root_keys(settings))

    def whose_key(tenant_id: UUID, name: str) -> ModelKey:
        if has_secret(tenant_id, name):
            return "tenant"
        return "platform" if has_secret(PLATFORM, name) else "setting"

    def language_model(model: str, tenant_id: UUID, change: Change) -> Planner:
        from felix.adapters.llm_code_planner import LLMCodePlanner
        from felix.adapters.llm_models import ModelEndpoint
        from felix.adapters.llm_planner import LLMPlanner

        endpoint, name = ModelEndpoint.of(model, settings.planner_base_url), key_secret(model)
        user = User("system:planner", change.local_id)
        begun_with = change.model_key if change.state == "planning" else None
        whose = begun_with or whose_key(tenant_id, name)

        def key() -> AbstractContextManager[str]:
            if whose == "setting":
                return nullcontext(settings.planner_key.get_secret_value() if settings.planner_key else "")
            owner = tenant_id if whose == "tenant" else PLATFORM
            return secrets.use(owner, name, purpose="changes.plan", user=user)

        def keep(transcript: bytes) -> str:
            return transcripts.keep(tenant_id, transcript, user)

        kind = LLMPlanner if change.repository is None else LLMCodePlanner
        return kind(endpoint.provider, endpoint.model, endpoint.open, key, keep, whose=whose)

    def chosen(place: Place, change: Change) -> PlannerChain:
        # Whoever asked for a model by its name gets this one or none: another would have another price.
        model = settings.planner_model
        if change.repository is not None:
            if model is None or change.planner == "grammar" or change.model not in (None, model):
                raise NoCodePlanner()
            return PlannerChain((language_model(model, place[1], change),))
        if model is None or change.planner == "grammar" or change.model not in (None, model):
            return PlannerChain((GrammarPlanner(),))
        asked = language_model(model, place[1], change)
        return PlannerChain((asked,) if change.planner == "llm" else (GrammarPlanner(), asked))

    return chosen


@contextmanager
def opening_code_target(settings: Settings, secrets: Secrets) -> Iterator[Callable[[], CodeTarget]]:
    """GitHub, opened when the first change of a repository needs it; its tokens are kept from then on."""
    turn = Lock()

    @cache
    def target() -> CodeTarget:
        from felix.adapters.github_target import GitHubTarget

        github = open_github(settings, secrets)
        if github is None:
            raise NoGitHubApp()
        opened.callback(github.close)
        return GitHubTarget(github, User("system:changes"))

    def in_turn() -> CodeTarget:
        with turn:
            return target()

    with ExitStack() as opened:
        yield in_turn
