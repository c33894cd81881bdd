"""The program `engine`: its commands by name, and one wrapper that turns errors into a line and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from engine.cli import collection, examine, ingest, learn, query, serve, transfer
from engine.errors import EngineError


class ReaderGone(Exception):
    """Whatever read our stdout, `head` say, has what it wanted."""


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


class Commands(TyperGroup):
    """The commands. Typer gets no closed pipe, for which it has exit code 1, and no Ctrl-C, which it hushes up."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None
        except KeyboardInterrupt:
            raise Stopped from None


app = typer.Typer(
    name="engine",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 error; 2 usage; 3 no photographs, or some quarantined; 4 checkpoint; "
    "5 index made by another model; 6 store; 130 stopped by Ctrl-C.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"engine {version('fashion-search-engine')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Semantic search for fashion photographs: a fashion CLIP, Qdrant, and an honest Recall@K."""


app.command("ingest", short_help="Embed photographs and store them with their metadata.")(ingest.ingest_command)
app.command("query", short_help="Find photographs by words, a photograph, or stored items.")(query.query_command)
app.command("serve", short_help="Serve the search page and the HTTP API.")(serve.serve_command)
app.command("eval", short_help="Measure Recall@K on captions held out of training.")(examine.eval_command)
app.command("train", short_help="Train a checkpoint by a recipe.")(learn.train_command)
app.command("teach", short_help="Teach a checkpoint what shoppers call things.")(learn.teach_command)
app.command("distil", short_help="Make one checkpoint of several.")(learn.distil_command)
app.command("quantize", short_help="Make a copy of a CLIP that is faster without a GPU.")(learn.quantize_command)
app.command("sample", short_help="Draw a sample data set.")(learn.sample_command)
app.command("facets", short_help="Count the values of each field.")(collection.facets_command)
app.command("status", short_help="Say what the collection holds, and what made it.")(collection.status_command)
app.command("show", short_help="Show all that is known about one item.")(collection.show_command)
app.command("delete", short_help="Delete items by id or by filter.")(collection.delete_command)
app.command("export", short_help="Write items and their embeddings to a file.")(collection.export_command)
app.command("push", short_help="Copy the collection to another store.")(transfer.push_command)
app.command("pull", short_help="Copy a collection from another store.")(transfer.pull_command)
app.command("promote", short_help="Let one collection take the name of another.")(transfer.promote_command)
app.command("config", short_help="Print every setting and where it came from.")(collection.config_command)


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
    except (Stopped, KeyboardInterrupt):
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
