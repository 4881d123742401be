"""The tables of a mission file, one dataclass each; `winnow_edge.mission` puts them together."""

from __future__ import annotations

from dataclasses import dataclass

from winnow_edge.tables import setting

POLICIES = ("fifo", "confidence", "utility-per-byte", "diversity")
RUNTIMES = ("litert", "tflite", "edgetpu", "auto", "fake")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One camera: the shape of its lines and the bundle that reads them.

    Attributes:
        bundle: Name of a shipped bundle, or path of a bundle relative to the mission file.
        samples: Width of a line. Raw lines from a pipe or socket need it, here or as `--samples`.
        bits: Bits of a raw sample.
        line_time_us: Time between two lines; it gives every line one, and `winnow feed --realtime`
            keeps it.
        start: Where nobody tells when a swath started: nobody knows, or it is the mission clock's
            time when the first line comes.
        nodata: The value of samples that carries no image; at most 255 with 8 bits.
        match: A glob on the swath's file name. The first instrument that matches reads the swath.
        byte_order: Byte order of raw 16-bit samples.
        stretch_limits: Two values, the lower first: 16-bit samples are stretched to 8 bits between.
        stretch_percentiles: Without limits: the two percentiles of the first 256 lines instead.
        dead_samples: Detector elements that do not work, counted from 0. They are repaired.
        find_dead_samples: Look for dead samples in the first 256 lines too, of which 64 are needed.
        bright_pixels: Pixels brighter than all eight neighbours by more are repaired. 0: none are.
        stall_s: A pipe or socket that is silent for this long has ended; so has one of which a
            line takes ten times as long.
        frame: The swaths are pictures of 8 bits. The net sees each one whole, at its input's size.
    """

    bundle: str = setting(...)
    samples: int | None = setting(None, 1, 1_000_000, unit="samples", absent="as the swath has")
    bits: int = setting(8, unit="bits", choices=(8, 16))
    line_time_us: float | None = setting(None, 0.1, 1e9, unit="µs", absent="unknown")
    start: str = setting("told", choices=("told", "clock"))
    nodata: int | None = setting(None, 0, 65_535, unit="value", absent="none")
    match: str = setting("*")
    byte_order: str = setting("little", choices=("little", "big"))
    stretch_limits: tuple[int, ...] = setting((), 0, 65_535, unit="value", most=2, absent="none")
    stretch_percentiles: tuple[float, float] = setting((0.5, 99.5), 0.0, 100.0, unit="%")
    dead_samples: tuple[int, ...] = setting((), 0, 999_999, unit="sample", absent="none")
    find_dead_samples: bool = setting(False)
    bright_pixels: int = setting(0, 0, 65_535, unit="value")
    stall_s: float | None = setting(None, 0.1, 1e6, unit="s", absent="wait for ever")
    frame: bool = setting(False)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a swath is cut into tiles.

    A tile at scale s covers `tile` times s lines and samples, box-binned by s.

    Attributes:
        tile: Height and width of a tile, binned.
        hop: Step between tiles, binned, at most `tile`.
        scales: Binning factors, ascending, none twice.
        merge: Detections of one class that share more than this of the smaller box are one feature.
        proposals: The tiles shown to the net: every one, or the most salient of each row of tiles.
        salient_share: With `proposals = "salient"`: the share of a row of tiles that is shown.
    """

    tile: int | None = setting(None, 8, 1024, unit="pixels", absent="the bundle's input")
    hop: int | None = setting(None, 1, 1024, unit="pixels", absent="half a tile")
    scales: tuple[int, ...] = setting((1,), 1, 64, unit="times", fewest=1)
    merge: float = setting(0.3, 0.0, 1.0, unit="share")
    proposals: str = setting("grid", choices=("grid", "salient"))
    salient_share: float = setting(0.25, 0.01, 1.0, unit="share")


@dataclass(frozen=True, slots=True)
class Screening:
    """Which tiles are not shown to the net.

    Attributes:
        nodata_max: The largest share of nodata pixels of a shown tile.
        nodata_centre: Skip tiles whose middle square, a sixteenth of the tile wide, is all nodata.
        saturated_max: The largest share of white pixels of a shown tile.
        contrast_min: The smallest standard deviation of the pixels (0 to 255) of a shown tile.
    """

    nodata_max: float = setting(0.5, 0.0, 1.0, unit="share")
    nodata_centre: bool = setting(False)
    saturated_max: float = setting(1.0, 0.0, 1.0, unit="share")
    contrast_min: float = setting(0.0, 0.0, 128.0, unit="value")


@dataclass(frozen=True, slots=True)
class ClassRule:
    """When a tile of a class is a detection, and what it is worth; one table per class.

    Attributes:
        threshold: A tile with at least this posterior is a detection.
        utility: Worth of a detection, in a unit of your own. A class without a table is worth 1.
        latitude: South and north end of where the class is. A tile that is known to lie elsewhere
            is no detection of it.
        season: Solar longitudes of Mars between which the class is, past 360 where the first is the
            greater. A swath that is known to be of another season has no detection of it.
        precision: Share of its detections that are right, as an audit found: a factor of worth.
        deadline: Contacts after the beginning of its swath from which on a detection is worth
            nothing; what has few left goes before what is worth the same.
        at_least: Best detections whose thumbnails go before everything else in every contact.
        at_most_bytes: Pictures of one ranking over so many bytes go after everything else.
    """

    threshold: float | None = setting(None, 0.0, 1.0, unit="posterior", absent="the bundle's")
    utility: float = setting(1.0, 0.0, 1e6, unit="utility")
    latitude: tuple[float, ...] = setting((), -90.0, 90.0, unit="°", most=2, absent="everywhere")
    season: tuple[float, ...] = setting((), 0.0, 360.0, unit="° Ls", most=2, absent="always")
    precision: float = setting(1.0, 0.0, 1.0, unit="share")
    deadline: int | None = setting(None, 1, 65_535, unit="contacts", absent="none")
    at_least: int = setting(0, 0, 1_000_000, unit="detections")
    at_most_bytes: int | None = setting(None, 1, 1_000_000_000, unit="bytes", absent="all")


@dataclass(frozen=True, slots=True)
class Verdict:
    """When a whole swath is good, hard to identify or bad, judged by one class.

    With more than `good_share` of the tiles showing the class, a swath is good if the mean
    posterior is above `good_mean`; with fewer, but at least `few_tiles`, if the mean is above
    `few_mean`. Else the swath is hard to identify if the mean is within `hard_means`, or above
    `hard_mean` with more than `hard_tiles` tiles showing the class. Else it is bad.

    Attributes:
        class_name: Class that the verdict is about.
        posterior: A tile shows the class from this posterior up.
        good_mean: Good with many tiles: mean posterior above this.
        good_share: Many tiles: more than this share shows the class.
        few_mean: Good with few tiles: mean posterior above this.
        few_tiles: Few tiles: at least so many show the class.
        hard_means: Hard to identify: mean posterior between these two, the lower first.
        hard_mean: Hard to identify, too: mean posterior above this and enough tiles.
        hard_tiles: Enough tiles for `hard_mean`: more than so many show the class.
    """

    class_name: str = setting("", absent="no verdict")
    posterior: float = setting(0.6, 0.0, 1.0, unit="posterior")
    good_mean: float = setting(0.6, 0.0, 1.0, unit="posterior")
    good_share: float = setting(0.5, 0.0, 1.0, unit="share")
    few_mean: float = setting(0.2, 0.0, 1.0, unit="posterior")
    few_tiles: int = setting(1, 0, 1_000_000_000, unit="tiles")
    hard_means: tuple[float, float] = setting((0.4, 0.6), 0.0, 1.0, unit="posterior")
    hard_mean: float = setting(0.01, 0.0, 1.0, unit="posterior")
    hard_tiles: int = setting(1, 0, 1_000_000_000, unit="tiles")


@dataclass(frozen=True, slots=True)
class Ranking:
    """In which order products go down.

    Attributes:
        policy: First in first out, by posterior, by utility per byte, or by utility and novelty.
        diversity: Weight of novelty under the policy "diversity" (maximal marginal relevance).
        ageing: Worth gained with every contact since the swath began; below 0 it is lost.
        hard_share: Worth of products of swaths with the verdict hard to identify, as a share.
        bad_share: Worth of products of swaths with the verdict bad, as a share.
    """

    policy: str = setting("utility-per-byte", choices=POLICIES)
    diversity: float = setting(0.3, 0.0, 1.0, unit="weight")
    ageing: float = setting(0.0, -0.9, 1.0, unit="share")
    hard_share: float = setting(1.0, 0.0, 1.0, unit="share")
    bad_share: float = setting(1.0, 0.0, 1.0, unit="share")


@dataclass(frozen=True, slots=True)
class Products:
    """How products are encoded, and which share of a detection's utility each kind delivers.

    Attributes:
        thumbnail_pixels: Height and width of a thumbnail.
        thumbnail_quality: JPEG quality of thumbnails.
        image_quality: JPEG quality of images.
        thumbnail_bytes: Most bytes of a thumbnail, its head included. One that has more gets a
            lower quality, and fewer pixels where that would be under 20. 0: by quality alone.
        image_bytes: Most bytes of an image, likewise.
        record_share: Share that the record delivers.
        thumbnail_share: Share that the thumbnail delivers.
        image_share: Share that the image delivers.
        background_utility: Worth of the record of a tile without a detection.
        event_utility: Worth of a product that tells of events on board.
    """

    thumbnail_pixels: int = setting(32, 8, 256, unit="pixels")
    thumbnail_quality: int = setting(60, 1, 95)
    image_quality: int = setting(90, 1, 95)
    thumbnail_bytes: int = setting(0, 0, 1_000_000, unit="bytes")
    image_bytes: int = setting(0, 0, 1_000_000, unit="bytes")
    record_share: float = setting(0.05, 0.0, 1.0, unit="share")
    thumbnail_share: float = setting(0.25, 0.0, 1.0, unit="share")
    image_share: float = setting(0.70, 0.0, 1.0, unit="share")
    background_utility: float = setting(0.0005, 0.0, 1e6, unit="utility")
    event_utility: float = setting(2.0, 0.0, 1e6, unit="utility")


@dataclass(frozen=True, slots=True)
class QuickLooks:
    """The small picture of every swath, made of all its lines; a long swath leaves several.

    Attributes:
        bytes: Most bytes of a quick look. 0: none is made.
        utility: Worth of a quick look.
    """

    bytes: int = setting(4000, 0, 1_000_000, unit="bytes")
    utility: float = setting(2.0, 0.0, 1e6, unit="utility")


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of a detection, at a coarser scale, so that the ground sees the place.

    Attributes:
        times: Side of the square about the tile, in tiles. 0: none is made.
        bytes: Most bytes of a context.
        share: Share of a detection's utility that it delivers.
    """

    times: int = setting(0, unit="tiles", choices=(0, 2, 3))
    bytes: int = setting(1500, 600, 1_000_000, unit="bytes")
    share: float = setting(0.1, 0.0, 1.0, unit="share")


@dataclass(frozen=True, slots=True)
class Requests:
    """Raw regions of swaths that the ground asks for.

    Attributes:
        bytes: Most bytes of a region's samples, before they are packed. 0: none is served.
        utility: Worth of 1000 bytes of a region, so that no part goes first for being small.
    """

    bytes: int = setting(4_000_000, 0, 16_000_000, unit="bytes")
    utility: float = setting(100.0, 0.0, 1e6, unit="utility")


@dataclass(frozen=True, slots=True)
class Audit:
    """Tiles drawn at random, whose thumbnails come down whatever the net says of them.

    Attributes:
        share: Share of the tiles that is drawn. 0: none is.
        bytes: Most bytes of a swath's audit. With the tile that it does not hold the audit ends.
        seed: Seed of the draw, which the ground repeats with it.
        utility: Worth of 1000 bytes of audit, so that no picture goes first for being small.
    """

    share: float = setting(0.0, 0.0, 1.0, unit="share")
    bytes: int = setting(20_000, 0, 1_000_000_000, unit="bytes")
    seed: int = setting(0, 0, 2**32 - 1)
    utility: float = setting(0.2, 0.0, 1e6, unit="utility")


@dataclass(frozen=True, slots=True)
class Ask:
    """Tiles that the net abstains on, below the threshold of their class: the ground is asked.

    Attributes:
        posterior: A tile is asked about from this posterior up.
        bytes: Most bytes of the thumbnails of a swath's questions. 0: none is asked.
        utility: Worth of a question.
    """

    posterior: float = setting(0.5, 0.0, 1.0, unit="posterior")
    bytes: int = setting(0, 0, 1_000_000_000, unit="bytes")
    utility: float = setting(0.1, 0.0, 1e6, unit="utility")


@dataclass(frozen=True, slots=True)
class Store:
    """The product store on board.

    Attributes:
        quota_mb: What the store may take on the disk, log and indices included. Over it the least
            useful product is evicted first.
    """

    quota_mb: float = setting(256.0, 0.5, 1e6, unit="MB (1e6 bytes)")


@dataclass(frozen=True, slots=True)
class Link:
    """The radio and the CCSDS packets it sends.

    Attributes:
        rate_bps: Rate of a contact.
        packet_bytes: Largest packet, header and CRC included.
        container_bytes: Largest container.
        apid: Application process identifier of the packets.
        ack_wait: So many contacts may pass before a container that was not acknowledged goes back
            into the ranking.
        loss: Packets lost in simulations.
        time_code: Each packet carries the time it was made at, as a secondary header of 7 bytes.
    """

    rate_bps: float = setting(128_000.0, 1.0, 1e12, unit="bit/s")
    packet_bytes: int = setting(1024, 64, 65_542, unit="bytes")
    container_bytes: int = setting(16_384, 256, 1_048_576, unit="bytes")
    apid: int = setting(0x57, 0, 2046)
    ack_wait: int = setting(1, 0, 1000, unit="contacts")
    loss: float = setting(0.0, 0.0, 1.0, unit="share")
    time_code: bool = setting(False)


@dataclass(frozen=True, slots=True)
class Compute:
    """The compute budget.

    Attributes:
        runtime: Runtime of the net. It is used or is an error; "auto" takes the best that works.
        threads: Single-thread interpreters. 0: one per core.
        borderline: A tile whose best posterior is lower gets a second view, its mirror image. 0: no
            tile does. Bundles with a sigmoid head show every tile once.
        verifier: Detections go through the bundle's second stage before they become products.
        memory_mb: A PNG or JPEG whose decoding takes more is refused.
    """

    runtime: str = setting("auto", choices=RUNTIMES)
    threads: int = setting(0, 0, 256, unit="interpreters")
    borderline: float | None = setting(None, 0.0, 1.0, unit="posterior", absent="the bundle's")
    verifier: bool | None = setting(None, absent="where the bundle has one")
    memory_mb: float = setting(256.0, 0.001, 1e6, unit="MB (1e6 bytes)")
