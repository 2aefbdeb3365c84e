"""A small picture: rectangles, lines and words on a canvas, saved as a PNG without any library.

Here: `Canvas`, its font, the PNG encoding. Not here: what is drawn (eubchain/cli/por_plot.py).
Keeps: whatever lies beyond the edge is cut off; the same drawing gives the same bytes.
Source: PNG (Third Edition), W3C: 8-bit truecolour, filter 0 on every row.
"""

from __future__ import annotations

import struct
import zlib

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GLYPH_WIDTH = 3
ADVANCE = GLYPH_WIDTH + 1
"""Cells from one letter to the next."""
UNKNOWN = "77777"
"""A full box for what the font lacks."""

# Five rows a letter from the top, each an octal digit whose three bits are its three cells.
FONT = {
    " ": "00000", "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717",
    "6": "74757", "7": "71122", "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443",
    "D": "65556", "E": "74647", "F": "74644", "G": "34553", "H": "55755", "I": "72227", "J": "11152",
    "K": "55655", "L": "44447", "M": "57755", "N": "65555", "O": "25552", "P": "65644", "Q": "25563",
    "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "%": "51245", ".": "00002", ",": "00024", ":": "02020", "-": "00700",
    "+": "02720", "/": "11244", "(": "12221", ")": "42224", "=": "07070", "_": "00007", "'": "22000",
}  # fmt: skip


class Canvas:
    """Pixels with the origin at the top left."""

    def __init__(self, width: int, height: int, background: Colour = (255, 255, 255)) -> None:
        assert width > 0, "a picture has columns"
        assert height > 0, "a picture has rows"
        self.width, self.height = width, height
        self._rows = [bytearray(bytes(background) * width) for _ in range(height)]

    def bar(self, left: int, top: int, width: int, height: int, colour: Colour) -> None:
        """Fill a rectangle."""
        first, last = max(0, left), min(self.width, left + width)
        if first >= last:
            return
        filled = bytes(colour) * (last - first)
        for row in self._rows[max(0, top) : max(0, min(self.height, top + height))]:
            row[3 * first : 3 * last] = filled

    def line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour, thickness: int = 1) -> None:
        """Join two points (x, y) by squares of `thickness`, as many as the longer way has pixels."""
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            # Half of the divisor rounds to the nearest pixel.
            x = x0 + ((x1 - x0) * step * 2 + steps) // (2 * steps)
            y = y0 + ((y1 - y0) * step * 2 + steps) // (2 * steps)
            self.bar(x, y, thickness, thickness, colour)

    def text(self, left: int, top: int, words: str, colour: Colour, scale: int = 2) -> None:
        """Write a line; small letters are shown as capitals."""
        for place, letter in enumerate(words.upper()):
            for row, digit in enumerate(FONT.get(letter, UNKNOWN)):
                for column in range(GLYPH_WIDTH):
                    if int(digit, 8) >> (GLYPH_WIDTH - 1 - column) & 1:
                        x = left + (place * ADVANCE + column) * scale
                        self.bar(x, top + row * scale, scale, scale, colour)

    def png(self) -> bytes:
        """The picture as a PNG file."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + row for row in self._rows), 9)
        parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
        return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in parts)


def text_width(words: str, scale: int = 2) -> int:
    """Pixels that a line takes."""
    return max(0, len(words.upper()) * ADVANCE - 1) * scale


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
