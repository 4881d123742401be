"""`winnow receive`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow_base.options import AsJson
from winnow_edge.files import printable
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.received import Received


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("receive", help=help_of(receive_command))(receive_command)


def receive_command(
    packets: Annotated[
        list[Path],
        typer.Argument(metavar="PACKETS...", help="Packet files, in the order they came down."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder that new products are added to.")
    ],
    apid: Annotated[
        int | None,
        typer.Option(min=0, max=2046, help="APID of the packets (default: that of the first)."),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Fill this catalogue too, while packets come in; made if new."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn packet files back into records and pictures, and check them on the way.

    DIR gets [b]received.json[/b] (products in order of arrival, packets damaged or missing),
    [b]records.csv[/b] (a line per tile), [b]images/[/b] and [b]thumbnails/[/b] (JPEG), and
    [b]ack.json[/b], which goes up with the next contact. A later contact into the same DIR adds to
    it. A file given twice adds nothing. A pipe is received as it comes.

        winnow receive pass-1.bin --out received
        winnow-edge downlink mission.toml --store store --contact 480 --ack received/ack.json ...
        winnow report received
    """
    from winnow_base.errors import PacketError
    from winnow_ground.catalogue.arrivals import Arrivals
    from winnow_ground.receive import receive
    from winnow_ground.received import RECEIVED_FILE, load_received

    arrivals = Arrivals(catalogue) if catalogue is not None else None
    try:
        received = receive(packets, out, apid=apid, quiet=as_json, watch=arrivals)
    except PacketError:
        # What the other files held is kept, and belongs into the catalogue too.
        if arrivals is not None and (out / RECEIVED_FILE).is_file():
            arrivals.end(load_received(out))
        raise
    if as_json:
        overview = received.as_json()
        for key in ("products", "containers"):
            overview[key] = len(overview[key])
        print(json.dumps(overview))
    else:
        print(_received_text(received))
    if arrivals is not None:
        arrivals.end(received)


def _received_text(received: Received) -> str:
    from winnow_ground import regions
    from winnow_ground.findings import troubles, verdict_words

    counts = [(n, kind) for kind, n in received.kinds().items() if n]
    named = [(n, kind.replace("_", " ")) for n, kind in counts]
    kinds = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for n, kind in named) or "nothing"
    lines = [f"{received.folder}: {kinds}, {received.bytes:,} bytes of products"]
    lines += [
        f"contact {row['contact']}: {row['products']} products, {row['bytes']:,} bytes "
        f"in {row['containers']} containers"
        for row in received.contacts()
    ]
    lines += [
        f"verdict on {printable(info['swath'])}: {words}"
        for info in received.swaths.values()
        if (words := verdict_words(info))
    ]
    lines += [f"region: {said}" for said in regions.said(received)]
    lines += [f"event: {said}" for said in regions.events(received)]
    link = received.link
    lines.append(
        f"packets: {link.packets} received, {link.crc_failures} damaged, "
        f"{received.never_arrived} never arrived"
    )
    repeated = received.receptions[-1].repeated if received.receptions else 0
    if repeated:
        lines.append(f"{repeated} containers had come down before; they were not counted again")
    return "\n".join(lines + [f"note: {said}" for said in troubles(received, None)])
