"""The tree's hashes in tiles of 256 (as C2SP's tlog-tiles has them): adding and proving touch a few rows each. Pure.

A tile is named (level, position): at level 0 it holds the hashes of 256 leaves in a row, at level n + 1 the roots of
256 full tiles of level n. Only the last tile of a level is not full.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from greenserve.carbon.ledger.merkle import EMPTY_ROOT, fold, node_hash, root_of_range

WIDTH = 256
_HEIGHT = 8
HASH_BYTES = 32
Tile = tuple[int, int]
ReadTile = Callable[[int, int], bytes]
_sha256 = hashlib.sha256


class _OpenTile:
    """The last tile of a level: its hashes, and the roots of the complete subtrees in it, largest first."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.peaks: list[tuple[int, bytes]] = []

    def push(self, added: bytes) -> bytes | None:
        """Append a hash; the tile's root once it is full."""
        self.hashes.append(added)
        peaks, width = self.peaks, 1
        while peaks and peaks[-1][0] == width:
            added = _sha256(b"\x01" + peaks.pop()[1] + added).digest()
            width *= 2
        peaks.append((width, added))
        return added if width == WIDTH else None


class Tree:
    """A tree that grows. State: its size, and each level's last tile; `add` and `push` alone change them."""

    def __init__(self, size: int = 0, read: ReadTile | None = None) -> None:
        """`read` gives a stored tile's bytes; needed for a tree that has leaves already."""
        self._size = size
        self._last = [_OpenTile()]
        width = size
        while width:
            if width % WIDTH:
                assert read is not None
                for stored in hashes_of(read(len(self._last) - 1, width // WIDTH))[: width % WIDTH]:
                    self._last[-1].push(stored)
            width //= WIDTH
            if width:
                self._last.append(_OpenTile())

    def __repr__(self) -> str:
        return f"<Tree of {self._size} leaves>"

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    def add(self, leaves: Iterable[bytes]) -> Mapping[Tile, bytes]:
        """Append leaf hashes; the tiles that are new or longer now, with their bytes."""
        changed: dict[Tile, bytes] = {}
        before = self._size
        for leaf in leaves:
            self.push(leaf, changed)
        if self._size != before:
            changed.update(self.open_tiles())
        return changed

    def push(self, leaf: bytes, full_tiles: dict[Tile, bytes]) -> None:
        """Append one leaf hash; the tiles that it fills, with their bytes, go into `full_tiles`."""
        full = self._last[0].push(leaf)
        self._size += 1
        if full is not None:
            self._lift(full, full_tiles)

    def push_tile(self, leaves: Sequence[bytes], full_tiles: dict[Tile, bytes]) -> None:
        """As `push` for the hashes of a whole tile, where the last leaf tile is empty; ValueError otherwise."""
        if self._size % WIDTH or len(leaves) != WIDTH:
            raise ValueError(f"a whole tile of {WIDTH} goes behind whole tiles, got {len(leaves)} behind {self._size}")
        self._last[0].hashes = list(leaves)
        self._size += WIDTH
        self._lift(fold(leaves), full_tiles)

    def open_tiles(self) -> Mapping[Tile, bytes]:
        """The tiles that are not full, with their bytes."""
        tiles: dict[Tile, bytes] = {}
        width = self._size
        for level, tile in enumerate(self._last):
            width //= WIDTH
            if tile.hashes:
                tiles[level, width] = b"".join(tile.hashes)
        return tiles

    def root(self) -> bytes:
        """The root hash now: what is complete in each level's last tile, with the ragged rest below it behind."""
        found: bytes | None = None
        for tile in self._last:
            for _, peak in reversed(tile.peaks):
                found = peak if found is None else node_hash(peak, found)
        return EMPTY_ROOT if found is None else found

    def _lift(self, full: bytes | None, changed: dict[Tile, bytes]) -> None:
        """The last leaf tile is full: its root goes one level up, and so on where that fills a tile too."""
        level, width = 0, self._size // WIDTH
        while full is not None:
            changed[level, width - 1] = b"".join(self._last[level].hashes)
            self._last[level] = _OpenTile()
            if level + 1 == len(self._last):
                self._last.append(_OpenTile())
            full = self._last[level + 1].push(full)
            level, width = level + 1, width // WIDTH


class Tiles:
    """Reads nodes out of stored tiles. State: the tiles read so far."""

    def __init__(self, read: ReadTile) -> None:
        self._read = read
        self._known: dict[Tile, list[bytes]] = {}

    def node(self, height: int, position: int) -> bytes:
        """The hash of a complete subtree, for `merkle`'s proofs."""
        level, inner = divmod(height, _HEIGHT)
        first = position << inner
        tile, offset = divmod(first, WIDTH)
        if (level, tile) not in self._known:
            self._known[level, tile] = hashes_of(self._read(level, tile))
        return fold(self._known[level, tile][offset : offset + (1 << inner)])

    def root(self, size: int) -> bytes:
        """The root when the tree had `size` leaves."""
        return root_of_range(0, size, self.node) if size else EMPTY_ROOT


def hashes_of(tile: bytes) -> list[bytes]:
    """The hashes in a tile's bytes."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
