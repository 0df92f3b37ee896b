"""The commands put together, and what every one of them shares: errors, exit codes, interrupts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from memql.cli import data, inspection, language, live, models, node, sealed, values
from memql.cli.output import show_error
from memql.cli.plugins import PluginGroup
from memql.errors import Code, MemqlError

__all__ = ["app", "run"]

app = typer.Typer(
    name="memql",
    cls=PluginGroup,
    help="A time-series memory graph with its own language: one process on a laptop, a mesh on a cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for family in (node, language, live, models, data, values, sealed, inspection):
    family.register(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    :param arguments: without the program's name; those of the process unless given.
    :return: the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    try:
        outcome = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except MemqlError as error:
        return _failed(error)
    except typer.Abort:
        return 130
    except typer.Exit as exit_:
        return exit_.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; say nothing, and let no later flush complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if _is_usage_error(error):
            return 2
        return _unexpected(error)
    return outcome if isinstance(outcome, int) else 0


def _failed(error: MemqlError) -> int:
    if os.environ.get("MEMQL_DEBUG"):
        raise error
    show_error(error)
    return 1


def _is_usage_error(error: Exception) -> bool:
    show = getattr(error, "show", None)
    if show is None:
        return False
    show()
    return True


def _unexpected(error: Exception) -> int:
    if os.environ.get("MEMQL_DEBUG"):
        raise error
    unwrapped: BaseException = error
    while isinstance(unwrapped, BaseExceptionGroup) and len(unwrapped.exceptions) == 1:
        unwrapped = unwrapped.exceptions[0]
    if isinstance(unwrapped, MemqlError):
        return _failed(unwrapped)
    text = f"unexpected {type(unwrapped).__name__}: {unwrapped} (MEMQL_DEBUG=1 shows where)"
    show_error(MemqlError(Code.INTERNAL, text))
    return 1
