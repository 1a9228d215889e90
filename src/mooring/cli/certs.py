"""mooring certs: the cluster's certificates and keys, looked at and exchanged while it runs."""

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated

import msgspec
import typer

from mooring.app import key_rotation
from mooring.app.files import Files
from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, files
from mooring.edges.pki import RENEW_BEFORE, DamagedKey, Pki


class Action(Enum):
    CHECK = "check"
    RENEW = "renew"
    ROTATE_AUTHORITY = "rotate-authority"
    ROTATE_TOKEN_KEY = "rotate-service-account-key"


def command(
    action: Annotated[Action, typer.Argument(help="What to do.")] = Action.CHECK,
    names: Annotated[list[str] | None, typer.Argument(help="Certificates, as `check` names them; for renew.")] = None,
    data_dir: DataDir = None,
    config: Kubeconfig = None,
    form: Annotated[str, typer.Option("--output", "-o", help="json or yaml; for check")] = "",
    pause: Annotated[
        float, typer.Option(help="Seconds between the steps of rotate-authority, for all to find the new files.", min=0)
    ] = 30.0,
    next_step: Annotated[bool, typer.Option("--next-step", help="Only the next step of rotate-authority.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="rotate-service-account-key: no new key, but the end of all tokens by old ones.")
    ] = False,
) -> None:
    """Show, renew or rotate the certificates of a cluster, without a restart.

    check: every certificate, its end, and who uses it. renew: new ones now (by itself that happens 30 days before their end).
    rotate-authority: another authority in three steps. rotate-service-account-key: another key for tokens; old ones stay good.
    """
    found = files(data_dir, config)
    if names and action is not Action.RENEW:
        raise CommandError(f"`certs {action.value}` takes no names", 2)
    if not (found.pki / "ca.pem").exists():
        raise CommandError(f"no keys in {found.pki}; `mooring up` makes them")
    try:
        match action:
            case Action.CHECK:
                _check(found, form)
            case Action.RENEW:
                print("\n".join(f"{name} renewed" for name in key_rotation.renew(found, names or ())))
            case Action.ROTATE_AUTHORITY:
                key_rotation.rotate_authority(found, pause, next_step, print)
            case Action.ROTATE_TOKEN_KEY:
                key_rotation.renew_service_account_key(found, forget)
                print("tokens by earlier keys are void" if forget else "another key signs tokens; those before stay good")
    except (key_rotation.Unknown, key_rotation.NotPublished, DamagedKey) as error:
        raise CommandError(str(error)) from error


def _check(found: Files, form: str) -> None:
    """Exit code 1 when one is damaged or should have been renewed."""
    listed = key_rotation.listed(found)
    now = datetime.now(UTC)
    if form:
        output.document(msgspec.to_builtins(listed), form)
    else:
        rows = [
            [
                each.name,
                each.subject,
                f"{each.expires:%Y-%m-%d}" if each.expires else "-",
                (each.expires - now).days if each.expires else "-",
                each.authority or "-",
                each.used_by,
            ]
            for each in listed
        ]
        print(output.columns(["NAME", "SUBJECT", "EXPIRES", "DAYS", "AUTHORITY", "USED BY"], rows))
        print(f"\nauthority: {Pki(found.pki).stage.value}")
    if any(each.expires is None or each.expires - now < RENEW_BEFORE for each in listed):
        raise typer.Exit(1)
