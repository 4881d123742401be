"""`winnow serve` and `winnow passwords`, registered on the `winnow` application."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import getpass
import importlib
import ipaddress
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.serve.entrance import Entrance

_FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The password file.")]
_NAME = Annotated[str, typer.Argument(metavar="NAME", help="What the person is called.")]
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_EXTRA = "pip install 'winnow-ground[serve]'"


class RoleName(enum.StrEnum):
    """Roles as the command line names them."""

    LOOK = "look"
    LABEL = "label"
    MANAGE = "manage"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("serve", help=help_of(serve))(serve)
    group = typer.Typer(
        name="passwords", help="Who may use `winnow serve`: names, roles, hashes of passwords."
    )
    group.command("add", help=help_of(add), no_args_is_help=True)(add)
    group.command("remove", help=help_of(remove), no_args_is_help=True)(remove)
    group.command("list", help=help_of(list_people), no_args_is_help=True)(list_people)
    app.add_typer(group, no_args_is_help=True)


def serve(
    catalogue: Annotated[
        Path, typer.Argument(metavar="CATALOGUE", help="A file of `winnow catalogue add`.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8750,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Another than this machine needs --passwords.")
    ] = "127.0.0.1",
    passwords: Annotated[
        Path | None, typer.Option(metavar="FILE", help="People log in; of `winnow passwords`.")
    ] = None,
    person: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who labels (default: your user name).")
    ] = None,
    mission: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Utilities of classes: what value is.")
    ] = None,
    bench: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Of `winnow-edge bench --json`; may be repeated."),
    ] = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Bundles to compare beside those shipped."),
    ] = None,
) -> None:
    """Show a catalogue in the browser, on this machine alone (127.0.0.1), until Ctrl-C.

    Search by class, confidence, date and place; look at swaths; export what is found. Everything
    works offline. What `winnow catalogue add` adds meanwhile appears with the next search.

        winnow serve mars.db

        winnow serve mars.db --host 0.0.0.0 --passwords people.json
    """
    from winnow_base.errors import CatalogueError
    from winnow_ground.catalogue.schema import open_catalogue
    from winnow_ground.catalogue.worth import utilities_of

    if passwords is None and not _is_loopback(host):
        raise CatalogueError(
            f"{host} is reached from other machines, and nobody has a password",
            hint="give --passwords FILE; `winnow passwords add` makes one",
        )
    if passwords is not None and person is not None:
        raise typer.BadParameter("people log in with --passwords", param_hint="--person")
    worth = utilities_of(mission) if mission is not None else {}
    open_catalogue(catalogue).close()  # what is wrong with it is said before anything is loaded
    _give_memory_back()
    with _listener(host, port) as listener:
        entrance = _entrance(passwords, person)
        import uvicorn

        from winnow_ground.serve.live import Live

        said = f"{_address(host, listener)}  (Ctrl-C ends it)"
        # The catalogue is read while the pages are put together; who comes meanwhile waits for them
        # at the socket. What is wrong with a file of --bench is said before any address.
        with contextlib.closing(Live(catalogue, worth)) as live:
            if not bench:
                print(said, flush=True)
            from winnow_ground.serve.app import make_app

            app = make_app(
                live, entrance, _hosts(host, passwords), benches=bench or (), bundles=bundle or ()
            )
            if bench:
                print(said, flush=True)
            # On loopback with passwords a proxy here may say who asks, and by TLS or not.
            proxied = passwords is not None and _is_loopback(host)
            config = uvicorn.Config(
                app, log_level="warning", lifespan="off", proxy_headers=proxied,
                server_header=False, forwarded_allow_ips=["127.0.0.1", "::1"],
            )  # fmt: skip
            uvicorn.Server(config).run(sockets=[listener])


def _give_memory_back() -> None:
    """Have the C library return large arrays to the system as they are freed: by itself it keeps
    tens of megabytes for each of the threads that answer. Other libraries than glibc have no such
    settings, and no such need."""
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, value in ((_ARENA_MAX, 2), (_MMAP_THRESHOLD, 2**20), (_TRIM_THRESHOLD, 2**22)):
            set_option(option, value)


def _entrance(passwords: Path | None, person: str | None) -> Entrance:
    from winnow_base.errors import CatalogueError, MissingExtraError

    try:
        import uvicorn  # noqa: F401  what is missing is said here

        from winnow_ground.serve.entrance import Local, Passwords
        from winnow_ground.serve.people import Person, Role, legal_name
    except ImportError as error:
        raise MissingExtraError(f"{error.name} is not installed", hint=_EXTRA) from error
    if passwords is not None:
        return Passwords(passwords)
    name = person if person is not None else _user()
    if not legal_name(name):
        raise CatalogueError(f"{name!r} is no person's name", hint="say another with --person")
    return Local(Person(name, Role.MANAGE))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number that no file of users has
        return "local"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(host: str, passwords: Path | None) -> Sequence[str]:
    """Names that requests may have for this server. Who must log in is safe from DNS rebinding:
    another name's page gets no cookie of this one's."""
    if passwords is not None:
        return ("*",)
    return ("localhost", "127.0.0.1", "[::1]", "::1", host)


def _listener(host: str, port: int) -> socket.socket:
    from winnow_base.errors import CatalogueError

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio turns Nagle's algorithm off for sockets that name their protocol alone.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise CatalogueError(f"{host} is no address of this machine: {error.strerror}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who reads the address may come at once
    except OSError as error:
        listener.close()
        raise CatalogueError(
            f"port {port} cannot be taken: {error.strerror}",
            hint="name another with --port" if _is_loopback(host) else "--port, --host",
        ) from error
    return listener


def _address(host: str, listener: socket.socket) -> str:
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{listener.getsockname()[1]}/"


def add(
    file: _FILE,
    name: _NAME,
    role: Annotated[RoleName, typer.Option(help="Each may do all that those before it may.")],
) -> None:
    """Add a person, or give one another password or role.

    The password is asked for twice, or read as one line from a pipe. look: search and export;
    label: also label and put boxes on the list of requests; manage: also everything else.

        winnow passwords add people.json ann --role label
    """
    from winnow_base.errors import DataError

    passwords = _passwords()
    from winnow_ground.serve.people import Role, legal_name

    if not legal_name(name):
        raise DataError(f"{name!r} is no name", hint="up to 64 characters that print")
    if file.is_file():
        passwords.load_passwords(file)  # what is wrong with it is said before a password is asked
    entry = passwords.Entry(Role[role.name], passwords.hash_of(_password(name)))

    def change(people: dict[str, Any]) -> None:
        if len(people) >= passwords.MOST_PEOPLE and name not in people:
            raise DataError(f"has {len(people):,} people already", where=file)
        people[name] = entry

    passwords.change_passwords(file, change)
    print(f"{file}: {name} may {role}")


def remove(file: _FILE, name: _NAME) -> None:
    """Take a person out; a session that they have ends at once."""
    from winnow_base.errors import DataError

    passwords = _passwords()
    passwords.load_passwords(file)

    def change(people: dict[str, Any]) -> None:
        if people.pop(name, None) is None:
            known = ", ".join(sorted(people)[:20]) or "nobody"
            raise DataError(f"{name!r} is not in it", where=file, hint=f"it has {known}")

    passwords.change_passwords(file, change)
    print(f"{file}: {name} is out")


def list_people(file: _FILE) -> None:
    """List people and roles."""
    for name, entry in sorted(_passwords().load_passwords(file).items()):
        print(f"{name}\t{entry.role.name.lower()}")


def _passwords() -> ModuleType:
    from winnow_base.errors import MissingExtraError

    try:
        return importlib.import_module("winnow_ground.serve.passwords")
    except ImportError as error:
        raise MissingExtraError(f"{error.name} is not installed", hint=_EXTRA) from error


def _password(name: str) -> str:
    """A password from the terminal, twice, or the first line of a pipe."""
    from winnow_base.errors import DataError

    if not sys.stdin.isatty():
        return sys.stdin.readline(2 * 1000).rstrip("\r\n")
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != password:
        raise DataError("the two passwords differ", hint="nothing was written; try again")
    return password
