"""The command line: `pysignal demo`, `serve`, `token`, `conformance`, `journal`, `version`.

A command is imported when it is called, so that each needs no more than what it uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pysignal
from pysignal.exits import status_of

app = typer.Typer(
    name="pysignal",
    help="Invitations between users: one engine that owns each, and everybody told once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
journal = typer.Typer(help="Look into the folder of a journal.", no_args_is_help=True)
app.add_typer(journal, name="journal")

_JournalFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the journal.")]


def _tell_version() -> int:
    print(pysignal.__version__)
    return 0


def _version_asked(asked: bool) -> None:
    if asked:
        raise typer.Exit(status_of(_tell_version))


def _folder(out: Path) -> Path:
    """Refuse, before anything is played, a folder that could not be made in the end."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"the folder {str(out.parent)!r} does not exist.")
    return out


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version_asked, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What can be given before a command."""


@app.command()
def demo(
    invitations: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Invitations of the rush.")
    ] = 10_000,
    students: Annotated[
        int, typer.Option(min=1, max=10_000, help="Students of the class.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same script.")] = 1,
    plain: Annotated[
        bool, typer.Option("--plain", help="No colours and no live display, as in a pipe.")
    ] = False,
    out: Annotated[
        Path,
        typer.Option(file_okay=False, callback=_folder, help="Folder for the picture, demo.png."),
    ] = Path(),
) -> None:
    """Play thousands of real invitations, and check each outcome.

    Exits with 1 if a check fails.
    """

    def play() -> int:
        from pysignal.demo import Settings, run

        return run(
            Settings(invitations=invitations, students=students, seed=seed, plain=plain, out=out)
        )

    raise typer.Exit(status_of(play))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def conformance(context: typer.Context) -> None:
    """Run the conformance scenarios."""
    from pysignal.conformance import main as run_scenarios

    raise typer.Exit(run_scenarios(context.args, prog="pysignal conformance"))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8080,
    unix: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A unix socket to listen on instead.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep everything in this folder.")
    ] = None,
    jwt_key: Annotated[
        str, typer.Option(envvar="PYSIGNAL_JWT_KEY", help="Key of the JWTs that clients show.")
    ] = "",
    audience: Annotated[str, typer.Option(help="What `aud` of a JWT must be.")] = "",
    usersig_app: Annotated[int, typer.Option(min=0, help="SDKAppID of UserSigs.")] = 0,
    usersig_key: Annotated[
        str, typer.Option(envvar="PYSIGNAL_USERSIG_KEY", help="Key of the UserSigs.")
    ] = "",
    shard: Annotated[
        int, typer.Option(min=0, max=4095, help="Number of this server in a cluster.")
    ] = 0,
) -> None:
    """Serve clients over WebSocket, until it is interrupted.

    Keys are better given in the environment than on the command line, which others can see.
    """

    def run() -> int:
        from pysignal.server.command import Options, serve

        return serve(
            Options(
                host=host,
                port=port,
                unix=unix,
                journal=journal,
                jwt_key=jwt_key,
                audience=audience,
                usersig_app=usersig_app,
                usersig_key=usersig_key,
                shard=shard,
            )
        )

    raise typer.Exit(status_of(run))


@app.command()
def token(
    user: Annotated[str, typer.Argument(help="The user whom it lets in.")],
    jwt_key: Annotated[str, typer.Option(envvar="PYSIGNAL_JWT_KEY", help="Key of the JWTs.")],
    valid: Annotated[int, typer.Option(min=1, help="For how long, seconds.")] = 86_400,
    audience: Annotated[str, typer.Option(help="Its `aud`.")] = "",
) -> None:
    """Print a JWT that lets a user in, for trying things out."""

    def tell() -> int:
        from pysignal.clock import Clock
        from pysignal.server.auth import sign_jwt

        print(sign_jwt(user, jwt_key, Clock().now_ms(), valid_s=valid, audience=audience or None))
        return 0

    raise typer.Exit(status_of(tell))


@journal.command()
def check(folder: _JournalFolder) -> None:
    """Read all of it and say whether it is sound; also while a server writes to it.

    Exits with 1 if it is damaged, and with 2 if it is none or can't be read.
    """

    def look() -> int:
        from pysignal.journal.inspection import check

        return check(folder)

    raise typer.Exit(status_of(look))


@journal.command()
def dump(folder: _JournalFolder) -> None:
    """Print its records, a line of JSON each; also while a server writes to it.

    Of a damaged one it prints what can be read, and exits with 1; with 2 if it is none or can't be
    read.
    """

    def tell() -> int:
        from pysignal.journal.inspection import dump

        return dump(folder)

    raise typer.Exit(status_of(tell))


@app.command()
def version() -> None:
    """Print the version."""
    raise typer.Exit(status_of(_tell_version))
