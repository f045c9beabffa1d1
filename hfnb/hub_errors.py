"""What the Hub's refusals mean, and what to do about each."""

from __future__ import annotations

from hfnb.errors import HfnbError, ModelNotFoundError

_LOGIN = "log in on this machine with `hf auth login`"


def refusal(
    error: BaseException | None, name: str, revision: str | None = None
) -> HfnbError | None:
    """Return what to tell of an error of the Hub; ``None`` where the Hub was not reached at all.

    Args:
        error: What huggingface_hub raised.
        name: The model that was asked for.
        revision: The branch, tag or commit that was asked for.
    """
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        said = (
            f"{name!r} is gated. Accept its terms at https://huggingface.co/{name}, then {_LOGIN}."
        )
    elif isinstance(error, errors.DisabledRepoError):
        said = f"{name!r} was taken off the Hub ({_reason(error)}). Choose another model."
    elif isinstance(error, errors.RevisionNotFoundError):
        said = f"{name!r} has no revision {revision!r}."
    elif isinstance(error, errors.RepositoryNotFoundError):
        said = (
            f"The Hub has no model {name!r}: it is misspelt, was removed, or is private. For a "
            f"private model, {_LOGIN}."
        )
    elif isinstance(error, errors.HfHubHTTPError):
        said = _by_status(error, name)
    else:
        return None
    return ModelNotFoundError(said)


def _by_status(error: BaseException, name: str) -> str:
    status = int(getattr(getattr(error, "response", None), "status_code", 0))
    if status == 401:
        return (
            f"The Hub does not know the token it was given for {name!r}: it is wrong, or has "
            f"expired. Make a new one at https://huggingface.co/settings/tokens, then {_LOGIN}."
        )
    if status == 403:
        return (
            f"The token may not read {name!r}. Give it the right to at "
            "https://huggingface.co/settings/tokens, or accept the model's terms at "
            f"https://huggingface.co/{name}."
        )
    if status == 429:
        return (
            f"The Hub takes no more requests from here for now (429), so that {name!r} was not "
            f"fetched. Wait a few minutes; whoever is logged in may ask more: {_LOGIN}."
        )
    if status >= 500:
        return (
            f"The Hub has a problem of its own ({status}), and did not give {name!r}. Try again "
            "later; what is in the HF cache loads with HF_HUB_OFFLINE=1."
        )
    return f"The Hub did not give {name!r}: {_reason(error)}"


def _reason(error: BaseException) -> str:
    told = getattr(error, "server_message", None) or str(error).strip() or type(error).__name__
    return str(told).splitlines()[0]
