"""What can be the case when a change, or the environment it goes to, says no."""

from __future__ import annotations

from felix.domain.errors import Forbidden, Invalid, NotFound, PaymentRequired, Refused


class ChangeIsOver(Refused):
    """This change is over; ask for another, which may be a retry of it."""


class NotInThisState(Refused):
    """The change is not in a state in which this can be done."""


class ChangeMovedOn(Refused):
    """The change is not as you saw it any more; look at it again."""


class ChangeExpiredAlready(Refused):
    """Nobody came in time; ask for the change again."""


class PriceCeilingReached(PaymentRequired):
    """The step would make the change cost more than its ceiling."""


class ModelDayLimitReached(PaymentRequired):
    """What a client may spend on language models in a day is spent or held; the next day begins at midnight UTC."""


class CeilingNotHigher(Refused):
    """The new ceiling is not above the one the change has."""


class PromptEmpty(Invalid):
    """A prompt says what should change."""


class PromptTooLong(Invalid):
    """The prompt is too long; say the essential, and give the rest as a document."""


class PromptNotText(Invalid):
    """The prompt is not text."""


class SecretInPrompt(Invalid):
    """The prompt holds a secret; keep it in the secrets, and name it. Nothing was stored."""


class PeopleDecide(Forbidden):
    """Only a person decides about a change, signed in as one: no key and no service does."""


class MayNotDecide(Forbidden):
    """Your role does not decide about changes."""


class OwnChange(Forbidden):
    """Whoever asked for a change, wrote its operations or answered its questions can't decide about it."""


class NotYourChange(Forbidden):
    """Only whoever asked for a change, an owner or a founder can do this."""


class AlreadyApproved(Refused):
    """You have approved this change already; every person counts once."""


class NotApprovedByYou(Refused):
    """There is no approval of yours to take back."""


class OtherBinding(Refused):
    """What you agreed to is not what would be deployed; look at the change again."""


class BindingBroken(Refused):
    """What is stored is not what was approved; nothing was deployed."""


class NotExported(Refused):
    """The change destroys something; what that is has to be exported before it is deployed."""


class ChecksTooOld(Refused):
    """The checks are too old to be relied on; they have to be run again."""


class BaseMoved(Refused):
    """Something else went live since this change was worked out; it has to be rebased first."""


class EnvironmentNotFound(NotFound):
    """There is no such app, or it does not run in this environment."""


class EnvironmentExists(Refused):
    """There is such an app already."""


class EnvironmentIsLocked(Refused):
    """Another change is being deployed here."""


class EnvironmentIsClosed(Refused):
    """A rollback could not be run here; a founder has to look first."""


class NotYourTurn(Refused):
    """Other changes are to be deployed before this one."""


class QueueIsFull(Refused):
    """As many changes wait here as can wait."""


class Fenced(Refused):
    """Somebody else has taken this deployment over."""


class ReleaseQuarantined(Refused):
    """This release was rolled back here; a founder has to lift its quarantine before it can be deployed again."""


class ReleaseRunsAlready(Refused):
    """This release is what runs already."""


class ReleaseNotKept(Refused):
    """This is none of the last ten releases of this environment; there is no way back to it."""


class NotTheLatest(Refused):
    """Other changes went live after this one; name the release to go back to."""


class WrongRollbackTarget(Refused):
    """What was found to be runnable is not what runs here now."""


class GuardrailFails(Refused):
    """A guardrail fails or can't be measured; nothing makes this deployment go on."""


class DeployPaused(Refused):
    """The deployment is paused."""


class NotPaused(Refused):
    """The deployment is not paused."""


class StepsLeft(Refused):
    """The strategy has steps that have not been taken."""


class WeightNotHigher(Refused):
    """A canary only grows, by the steps of its strategy."""


class StillBaking(Refused):
    """The new release has not been watched for long enough."""


class NoSuchHold(Refused):
    """This change has no such open hold."""


class OverrideNotFound(NotFound):
    """There is no such override here, or it was dealt with."""


class OwnOverride(Forbidden):
    """Another founder has to look at this: nobody confirms or reviews their own override."""


class TooManyOverrides(Refused):
    """As many overrides wait for another founder, or for their review, as can wait."""


class NothingToUnlock(Refused):
    """Nothing is being deployed here."""


class MergedAtOnce(Refused):
    """A change of a repository is merged or it is not; nobody is shown a part of it first."""


class TakenBackByChange(Refused):
    """A repository is taken back change by change; ask for the rollback of the change, and name no release."""


class NotConnected(NotFound):
    """There is no such repository among the sources that you have connected."""
