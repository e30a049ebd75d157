"""Uploading an exported model to the Hugging Face hub."""

from pathlib import Path

from tooln1.errors import UserError


def push(folder: Path, name: str) -> str:
    """Upload a model folder to the hub as the private repository ``name``, and return its address.

    Raises:
        UserError: no token is set, or the hub refuses or cannot be reached, in one line.
    """
    import httpx
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not get_token():
        raise UserError(f"--push {name}: no token for the Hugging Face hub; set HF_TOKEN, or run: hf auth login")
    api = HfApi()
    try:
        # Private: what a model may be shown to is for its owner to decide, and going public takes one click.
        repository = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="tooln1 export")
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--push {name}: the hub did not take it ({reason}); the model is in {folder}") from None
    return str(repository)
