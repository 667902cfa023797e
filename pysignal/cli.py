"""The command line: `pysignal demo`, `pysignal conformance`, `pysignal version`.

A command is imported when it is called, so that each needs no more than what it uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pysignal

app = typer.Typer(
    name="pysignal",
    help="Invitations between users: one engine that owns each, and everybody told once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
        Path, typer.Option(file_okay=False, help="Folder for the picture, demo.png.")
    ] = Path(),
) -> None:
    """Play thousands of real invitations, and check each outcome.

    Exits with 1 if a check fails.
    """
    from pysignal.demo import Settings, run

    settings = Settings(invitations=invitations, students=students, seed=seed, plain=plain, out=out)
    raise typer.Exit(run(settings))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def conformance(context: typer.Context) -> None:
    """Run the conformance scenarios; `pysignal conformance --help` tells the arguments."""
    from pysignal.conformance import main as run_scenarios

    raise typer.Exit(run_scenarios(context.args))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(pysignal.__version__)


def main() -> None:
    """Run the command line, and exit."""
    app()
