"""The program `engine`: its commands by name, and one wrapper that turns errors into a line and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from engine.cli import collection, examine, ingest, learn, query, serve, transfer
from engine.errors import EngineError


class ReaderGone(Exception):
    """Whatever read our stdout, `head` say, has what it wanted."""


class Commands(TyperGroup):
    """The commands; a closed pipe is taken from Typer, which would end with exit code 1."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None


app = typer.Typer(
    name="engine",
    cls=Commands,
    help="Semantic search for fashion photographs: a fashion CLIP, Qdrant, and an honest Recall@K.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 error; 2 usage; 3 no photographs, or some quarantined; 4 checkpoint; "
    "5 index made by another model; 6 store; 130 stopped by Ctrl-C.",
)
app.command("ingest")(ingest.ingest_command)
app.command("query")(query.query_command)
app.command("serve")(serve.serve_command)
app.command("eval")(examine.eval_command)
app.command("train")(learn.train_command)
app.command("teach")(learn.teach_command)
app.command("distil")(learn.distil_command)
app.command("sample")(learn.sample_command)
app.command("facets")(collection.facets_command)
app.command("status")(collection.status_command)
app.command("show")(collection.show_command)
app.command("delete")(collection.delete_command)
app.command("export")(collection.export_command)
app.command("push")(transfer.push_command)
app.command("pull")(transfer.pull_command)
app.command("promote")(transfer.promote_command)
app.command("config")(collection.config_command)


def main() -> None:
    """Run the program."""
    _prepare_streams()
    try:
        try:
            app(prog_name="engine")
        finally:
            sys.stdout.flush()  # here, and not when the interpreter ends: what fails is told like any failure
            gc.freeze()  # it would look through all objects twice before it ends: 0.02 s
    except EngineError as error:
        print(f"engine: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("engine: stopped", file=sys.stderr)
        sys.exit(130)
    except (ReaderGone, BrokenPipeError):
        _drop_output()
        sys.exit(0)
    except OSError as error:  # no room on the disk, a folder that may not be written ...
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        print(f"engine: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def _prepare_streams() -> None:
    """Point a closed stdin, stdout or stderr at nothing, lest a file of the store's gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal has not must not end the program
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let what is still to be written to stdout go nowhere, so that the interpreter ends in silence."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
