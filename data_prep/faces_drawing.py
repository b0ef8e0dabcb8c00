"""How a face is painted: soft shapes from back to front, each a distance and a colour (see data_prep/faces.py).

Every factor has shape (B, 1, 1), every plane (B, H, W), every colour (B, 3, 1, 1) in [0, 1].
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np


@dataclass(frozen=True)
class _Canvas:
    """Colours of the pixels in [0, 1], and the place of each pixel in the upright frame of the face."""

    colours: np.ndarray  # (B, 3, H, W)
    x: np.ndarray  # (B, H, W)
    y: np.ndarray
    f: SimpleNamespace

    def near(self, x: np.ndarray, y: np.ndarray, reach: float) -> "_Canvas":
        """The window holding everything within `reach` of (x, y) in all pictures; writes go through."""
        f, size, cut = self.f, self.x.shape[2], [slice(None)]
        row = f.shift_y + f.scale * (f.sin * x + f.cos * y)
        column = f.shift_x + f.scale * (f.cos * x - f.sin * y)
        for place in (row, column):
            ends = (place - reach * f.scale).min(), (place + reach * f.scale).max()
            low, high = (int((end + 1) * size / 2) for end in ends)
            cut.append(slice(max(0, low - 2), max(0, high + 3)))
        rows, columns = cut[1:]
        return replace(self, colours=self.colours[:, :, rows, columns], x=self.x[*cut], y=self.y[*cut])

    def paint(self, distance: np.ndarray, colour: np.ndarray, opacity=1.0, soft=0.0) -> None:
        """Cover where `distance` < 0 with `colour` (B, 3, 1, 1); the edge is one pixel, or `soft`, wide."""
        cover = distance * (-1 / np.maximum(self.f.pixel, soft))
        cover += np.float32(0.5)
        np.clip(cover, 0, 1, out=cover)
        cover *= opacity
        change = colour - self.colours
        change *= cover[:, None]
        self.colours[...] += change


def _palette(codes: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(code)) for code in codes.split()]) / 255


_SKIN = _palette("fbe0cf f3cba9 dfab80 bd835c 8f5d40 613f2e")
_HAIR = _palette("17120f 2d2019 4a3122 70482b 96542f bd7c43 d2ab6b e8d09a")
_IRIS = _palette("3b2518 6a4526 80793f 4f8768 5488b5 86a0b1")
_CLOTHES = _palette("33415c 7d8597 a3b18a e9c46a e07a5f 9d4e5c 6d6875 5fa8d3 f1ede4 3d3d3d")
_BACK = _palette("dbe7e4 b8d0d9 8fb3c4 c9c2df e6c9d3 f2dcc4 f0e6b9 b9cfaf 7f9c8d 5f6f86")
_METAL = _palette("e6bb4f d9dce0 d96c75 4fa3a5")
_FRAME = _palette("24211f 5a3a26 8c3340 2f4a6b a8893c")


def _ramp(palette: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """The colours at `tone` (B, 1, 1), 0 to 1 along the palette, as (B, 3, 1, 1)."""
    where = np.clip(tone[:, 0, 0], 0, 1) * (len(palette) - 1)
    mixed = np.stack([np.interp(where, range(len(palette)), palette[:, c]) for c in range(3)], axis=1)
    return mixed.astype(np.float32)[:, :, None, None]


def _mix(a: np.ndarray, b, share) -> np.ndarray:
    """Colour (B, 3, 1, 1) on the way from a to b; `share` is a number or (B, 1, 1)."""
    share = np.asarray(share, np.float32)
    return a + (share[:, None] if share.ndim else share) * (b - a)


def _rgb(code: str) -> np.ndarray:
    """One colour as (1, 3, 1, 1)."""
    return _palette(code).astype(np.float32)[:, :, None, None]


def _ellipse(x, y, rx, ry, boxy=0.0) -> np.ndarray:
    """Roughly the distance to an ellipse around 0 (negative inside), made boxy by `boxy` in [0, 1]."""
    a, b = (x / rx) ** 2, (y / ry) ** 2
    inside = a + b
    if np.any(boxy):
        inside += boxy * (np.sqrt(a * a + b * b) - inside)
    return (np.sqrt(inside) - 1) * np.minimum(rx, ry, dtype=np.float32)


def _stroke(x, y, half, thick, bend=0.0, tilt=0.0) -> np.ndarray:
    """Distance to a line of length 2 `half` around 0, its ends `bend` lower than its middle."""
    t = x / half
    return np.maximum(np.abs(y - bend * t * t - tilt * t) - thick * (1.15 - 0.5 * t * t), np.abs(x) - half)


def grey(persons, occasions) -> np.ndarray:
    """Share of grey in the hair, by the age the person looks."""
    return np.clip((occasions.age * (1 + persons.ageing) - 44) / 28, 0, 1)


def picture(f: SimpleNamespace, size: int) -> np.ndarray:
    """Pictures uint8 (B, size, size, 3) of factors of shape (B, 1, 1), painted from back to front."""
    f = _derived(f, size)
    line = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1)[None]
    u, v = line[:, None, :], line[:, :, None]
    across, down = (u - f.shift_x) / f.scale, (v - f.shift_y) / f.scale
    canvas = _Canvas(_background(f, u, v), f.cos * across + f.sin * down, f.cos * down - f.sin * across, f)
    hair = _behind(canvas)
    head = _head(canvas)
    _marks(canvas)
    _wrinkles(canvas)
    _beard(canvas, head)
    for side in (-1, 1):
        _eye(canvas, side)
    _nose(canvas)
    _mouth(canvas)
    _hair(canvas, hair)
    _jewellery(canvas)
    _hat(canvas, hair)
    return _light(canvas)


def _derived(f: SimpleNamespace, size: int) -> SimpleNamespace:
    """Factors that follow from several others: apparent age, colours, and where the features lie."""
    look = f.age * (1 + f.ageing)
    child, old = np.clip((15 - look) / 14, 0, 1), np.clip((look - 40) / 35, 0, 1)
    turn, nod = np.sin(f.yaw), np.sin(f.pitch)
    f.cos, f.sin, f.pixel = np.cos(f.roll), np.sin(f.roll), 2 / size / f.scale
    f.child, f.old, f.turn, f.nod = child, old, turn, nod
    f.head_height = f.head_height * (1 - 0.1 * child)
    f.jaw = f.jaw * (1 - 0.6 * child)
    skin = _mix(_ramp(_SKIN, f.skin), _rgb("d98a5a"), 0.1 * np.maximum(f.undertone, 0))
    f.skin_colour = _mix(skin, _rgb("c9787d"), 0.1 * np.maximum(-f.undertone, 0))
    f.shadow = f.skin_colour * _rgb("bda399")
    f.hair_colour = _mix(_ramp(_HAIR, f.hair_tone + f.hair_fade), _rgb("cfcbc6"), grey(f, f))
    f.brow_colour = _mix(f.hair_colour * 0.75, f.shadow, 0.25)
    eyes = f.eye_height + 0.08 * child
    f.eye_y, f.nose_x = eyes + 0.32 * nod, 0.4 * turn
    f.nose_y = eyes + f.nose_length * (1 - 0.35 * child) + 0.42 * nod
    f.mouth_x = 0.3 * turn
    f.mouth_y = f.nose_y - 0.12 * nod + f.mouth_drop * (1 - 0.15 * child)
    return f


def _background(f: SimpleNamespace, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A gradient between two soft colours and one blurred patch, (B, 3, H, W)."""
    share = np.clip(0.5 + 0.5 * (u * np.cos(f.back_turn) + v * np.sin(f.back_turn)), 0, 1)
    colours = _mix(_ramp(_BACK, f.back_tone), _ramp(_BACK, f.back_other), share)
    patch = np.clip(1 - (u - f.blob_x) ** 2 * 2 - (v - f.blob_y) ** 2 * 2, 0, 1) * np.float32(0.7)
    return _mix(colours, _ramp(_BACK, f.blob_tone), patch).astype(np.float32)


def _curls(canvas: _Canvas) -> np.ndarray:
    """Waves to add to the distance to hair, for those who have curls."""
    deep = np.maximum(canvas.f.curl, 0) * np.float32(0.02)
    return deep * (np.sin(canvas.y * 21) + np.sin(canvas.x * 25))


def _behind(canvas: _Canvas) -> np.ndarray:
    """Ears, the hair behind the head, shoulders and neck; returns the distance to that hair."""
    f = canvas.f
    for side in (-1, 1):
        x, y = side * f.head_width * 0.99 - 0.1 * f.turn, f.eye_y + 0.09
        part = canvas.near(x, y, 0.2)
        part.paint(_ellipse(part.x - x, part.y - y, f.ear, f.ear * 1.5), _mix(f.skin_colour, f.shadow, 0.35))
    top, bottom = f.head_height + f.volume, np.maximum(f.hair_length_now - 0.1, 0.05)
    x, y = canvas.x + 0.1 * f.turn, np.where(canvas.y < 0, canvas.y, canvas.y * (top / bottom))
    hair = _ellipse(x, y, f.head_width + f.volume, top, 0.3 + 0.6 * f.hair_length_now)
    canvas.paint(hair + _curls(canvas), f.hair_colour * 0.86)
    below = canvas.near(0 * f.turn, 0.95 + 0 * f.turn, 1.15)
    below.paint(_ellipse(below.x, below.y - 1.3, 0.86, 0.56, 0.5), _ramp(_CLOTHES, f.clothes))
    neck = _ellipse(below.x - 0.05 * f.turn, below.y - 0.55, f.head_width * 0.52, 0.2 + f.neckline, 0.7)
    below.paint(neck, _mix(f.skin_colour, f.shadow, 0.45))
    return hair


def _head(canvas: _Canvas) -> np.ndarray:
    """The head with cheeks; returns the distance to its outline, which hair, beard and hat follow."""
    f = canvas.f
    below = np.maximum(canvas.y / f.head_height, 0)
    width = f.head_width * (1 - f.jaw * np.minimum(below * below, 1.2))
    x = canvas.x - 0.14 * f.turn * below
    distance = _ellipse(x, canvas.y, width, f.head_height, f.boxy)
    canvas.paint(distance, f.skin_colour)
    for side in (-1, 1):
        x, y = side * 0.52 * f.head_width + 0.2 * f.turn, f.nose_y + 0.02
        part = canvas.near(x, y, 0.26)
        blush = _ellipse(part.x - x, part.y - y, 0.1, 0.075)
        part.paint(blush, _mix(f.skin_colour, _rgb("d9534f"), 0.4), 0.45, soft=0.16)
    return distance


def _marks(canvas: _Canvas) -> None:
    """Freckles, a mole and a scar, for those who have them."""
    f = canvas.f
    part = canvas.near(f.nose_x * 0.7, f.nose_y - 0.03, 0.36)
    x, y = part.x - 0.7 * f.nose_x, part.y - f.nose_y + 0.03
    dots = np.sin(x * 62 + f.freckle_x + 2 * np.sin(y * 17))
    dots *= np.sin(y * 58 + f.freckle_y + 2 * np.sin(x * 13))
    inside = np.clip(_ellipse(x, y, 0.3, 0.11) * -12, 0, 1)
    part.paint(0.45 - dots * inside, f.shadow * 0.85, 0.8 * np.clip(f.freckles * 1.5, 0, 1), soft=0.3)
    x, y = f.mole_x + 0.25 * f.turn, f.mole_y + 0.25 * f.nod
    part = canvas.near(x, y, 0.06)
    part.paint(_ellipse(part.x - x, part.y - y, 0.022, 0.022), f.shadow * 0.45, f.mole < 0.3)
    x, y = f.scar_x + 0.25 * f.turn, f.scar_y + 0.25 * f.nod
    part, c, s = canvas.near(x, y, 0.16), np.cos(f.scar_tilt), np.sin(f.scar_tilt)
    along, aside = c * (part.x - x) + s * (part.y - y), c * (part.y - y) - s * (part.x - x)
    part.paint(_stroke(along, aside, 0.1, 0.009), _mix(f.skin_colour, _rgb("f7d9d2"), 0.6), f.scar < 0.12)


def _wrinkles(canvas: _Canvas) -> None:
    """Lines of age: forehead, under the eyes, and beside the mouth."""
    f = canvas.f
    x = 0.3 * f.turn
    for height in (0.26, 0.33):
        part = canvas.near(x, f.eye_y - height, 0.3)
        part.paint(_stroke(part.x - x, part.y - f.eye_y + height, 0.2, 0.007, 0.02), f.shadow, 0.8 * f.old)
    for side in (-1, 1):
        x = side * f.eye_gap + 0.3 * f.turn
        part = canvas.near(x, f.eye_y + 0.1, 0.2)
        part.paint(_stroke(part.x - x, part.y - f.eye_y - 0.1, 0.08, 0.008, -0.03), f.shadow, 0.8 * f.old)
        x, y = side * (f.mouth_width + 0.05) + f.mouth_x, (f.nose_y + f.mouth_y) / 2 + 0.02
        part = canvas.near(x, y, 0.16)
        fold = _stroke(part.y - y, side * (part.x - x), 0.09, 0.008, -0.01, 0.03)
        part.paint(fold, f.shadow, 0.9 * f.old)


def _eye(canvas: _Canvas, side: int) -> None:
    """One eye with its brow; `side` is -1 for the left one of the picture, 1 for the right one."""
    f = canvas.f
    near = np.clip(1 + 0.5 * side * f.turn * -1, 0.7, 1.1)  # the eye turned away looks narrower
    width, ex = f.eye_width * near, side * f.eye_gap * np.cos(f.yaw) + 0.3 * f.turn
    part = canvas.near(ex, f.eye_y - 0.05, 0.29)
    x, y = part.x - ex, part.y - f.eye_y
    t = x / width
    lift = -side * f.eye_tilt * t
    arc = np.maximum(1 - t * t, -1)
    squint = f.eye_open * (1 - 0.2 * np.maximum(f.smile, 0)) * (1 + 0.25 * f.child)
    high = f.eye_round * f.eye_width * squint
    top, bottom = y - lift + high * arc, y - lift - 0.75 * high * arc
    shape = np.maximum(np.maximum(-top, bottom), (np.abs(t) - 1) * width)
    part.paint(shape - 0.03, f.shadow, 0.35, soft=0.06)
    part.paint(shape, _rgb("f8f5f0"))
    radius = f.iris * (1 + 0.15 * f.child)
    ball = _ellipse(x - f.gaze - 0.03 * f.turn, y, radius, radius)
    part.paint(np.maximum(ball, shape), _ramp(_IRIS, f.iris_tone))
    part.paint(np.maximum(ball + 0.55 * radius, shape), _rgb("15110f"))
    glint = _ellipse(x - f.gaze + 0.018, y + 0.02, 0.014, 0.014)
    part.paint(np.maximum(glint, shape), _rgb("ffffff"), 0.9)
    part.paint(np.maximum(np.abs(top) - 0.011, np.abs(x) - width * 1.05), f.brow_colour * 0.45, 0.9)
    raised = part.y - f.eye_y + f.brow_height + 0.02 * np.maximum(f.smile, 0)
    thick = f.brow_thick * (1 - 0.3 * f.child)
    part.paint(_stroke(x, raised, width * 1.3, thick, f.brow_arch, -side * f.brow_tilt), f.brow_colour)


def _nose(canvas: _Canvas) -> None:
    """Bridge, tip and nostrils."""
    f, small = canvas.f, 1 - 0.3 * canvas.f.child
    width, length = f.nose_width * small, f.nose_length * small
    part = canvas.near(f.nose_x, f.nose_y - 0.08, 0.4)
    x, y = part.x - f.nose_x, part.y - f.nose_y
    bridge = x + (f.nose_x - 0.3 * f.turn) * np.clip(-y / length, 0, 1)
    aside = bridge + 0.035 * np.where(f.light_x > 0, 1, -1).astype(np.float32)  # the side in the shade
    bright = np.minimum(f.skin_colour * 1.11, 1)
    part.paint(_ellipse(aside, y + 0.45 * length, 0.02, 0.45 * length), f.shadow, 0.45, soft=0.06)
    part.paint(_ellipse(bridge, y + 0.4 * length, 0.018, 0.45 * length), bright, 0.5, soft=0.04)
    part.paint(_stroke(x, y - 0.012, width, 0.016, -0.035), f.shadow, 0.85)
    part.paint(_ellipse(x, y + 0.02, width * 0.5, 0.03), bright, 0.5, soft=0.04)


def _mouth(canvas: _Canvas) -> None:
    """Lips between two parabolas; between them, when open, the dark and the teeth."""
    f = canvas.f
    part = canvas.near(f.mouth_x, f.mouth_y + 0.05, 0.36)
    width = f.mouth_width * (1 + 0.25 * f.smile) * (1 - 0.15 * f.child) * (1 - 0.1 * f.mouth_open)
    t = (part.x - f.mouth_x) / width
    y = part.y - f.mouth_y + 0.1 * f.smile * (t * t - 0.35)
    arc, ends = np.maximum(1 - t * t, 0), (np.abs(t) - 1) * width
    gap, thick = 0.15 * f.mouth_open * arc, f.lip_thick * (1 - 0.3 * f.old) * arc
    lips = _mix(f.skin_colour * _rgb("d48c87"), _rgb("a83244"), 0.35 * f.lip_tone)
    part.paint(np.maximum(np.maximum(-y - 0.9 * thick, y - gap - 1.2 * thick), ends), lips)
    hole = np.maximum(np.maximum(-y, y - gap), ends)
    part.paint(hole, _rgb("5a1a20"), f.mouth_open > 0)
    part.paint(np.maximum(hole, y - 0.45 * gap), _rgb("fbf8f2"), f.mouth_open > 0)
    part.paint(np.maximum(np.abs(y) - 0.007, ends), lips * 0.55, f.mouth_open == 0)


def _beard(canvas: _Canvas, head: np.ndarray) -> None:
    """A beard along the jaw and over the lip, where the occasion has one."""
    f = canvas.f
    x, y = canvas.x - f.mouth_x, canvas.y - f.mouth_y
    jaw = np.maximum(head - f.beard_length, 0.04 - y - 2.2 * x * x)
    lip = _stroke(x, y + 0.055, f.mouth_width * 1.1, 0.03, 0.05)
    canvas.paint(np.minimum(jaw, lip), f.hair_colour * 0.9, 0.92 * f.beard, soft=0.03)


def _hair(canvas: _Canvas, hair: np.ndarray) -> None:
    """Hair over the forehead and beside the face, a bun for some, and a shine."""
    f = canvas.f
    bald = np.maximum(f.balding - 0.45, 0) * np.clip((f.age - 25) / 30, 0, 1) * (f.hair_length_now < 0.45)
    high = f.head_height * np.minimum(f.forehead + 0.6 * bald, 0.97)
    line = canvas.y + high - f.fringe * (canvas.x - f.part - 0.25 * f.turn) ** 2
    wave = _curls(canvas)
    stop = canvas.y - 0.1 - 0.9 * np.maximum(f.hair_length_now - 0.3, 0)
    cap = np.maximum(np.maximum(hair, line), stop) + wave
    y = -f.head_height - f.volume - 0.06
    bun = _ellipse(canvas.x, canvas.y - y, 0.17, 0.14) + wave
    bun += np.where((f.bun < 0.4) & (f.hat == 0) & (f.hair_length_now > 0.45), 0, 9).astype(np.float32)
    canvas.paint(np.minimum(cap, bun), f.hair_colour)
    shine = _stroke(canvas.x + 0.1, canvas.y + f.head_height * 0.84, 0.3, 0.03, 0.09)
    canvas.paint(np.maximum(shine, cap + 0.06), _mix(f.hair_colour, _rgb("fff4e0"), 0.22), 0.6, soft=0.08)


def _jewellery(canvas: _Canvas) -> None:
    """Earrings and glasses, where the occasion has them."""
    f = canvas.f
    for side in (-1, 1):
        x, y = side * f.head_width * 1.04 - 0.1 * f.turn, f.eye_y + 0.25 + f.earring_drop / 2
        part = canvas.near(x, y, 0.16)
        jewel = _ellipse(part.x - x, part.y - y, 0.045, 0.05 + f.earring_drop)
        part.paint(jewel, _ramp(_METAL, f.earring_tone), f.earrings)
        x = side * f.eye_gap * np.cos(f.yaw) + 0.33 * f.turn
        part, colour = canvas.near(x, f.eye_y, 0.3), _ramp(_FRAME, f.frame)
        wide = f.frame_size * np.clip(1 - 0.3 * side * f.turn, 0.8, 1.1)
        lens = _ellipse(part.x - x, part.y - f.eye_y - 0.015, wide, f.frame_size * 0.85, f.frame_boxy)
        part.paint(lens, _rgb("eaf4f7"), 0.16 * f.glasses)
        part.paint(np.abs(lens) - 0.013, colour, f.glasses)
        temple = _stroke(part.x - x - side * (wide + 0.06), part.y - f.eye_y + 0.03, 0.06, 0.014)
        part.paint(temple, colour, f.glasses)
    part = canvas.near(0.33 * f.turn, f.eye_y, 0.15)
    half = np.maximum(f.eye_gap - f.frame_size, 0.02)
    part.paint(_stroke(part.x - 0.33 * f.turn, part.y - f.eye_y, half, 0.014, 0.01), colour, f.glasses)


def _hat(canvas: _Canvas, hair: np.ndarray) -> None:
    """A hat over the hair, with a brim for some."""
    f = canvas.f
    line, cloth = -0.52 * f.head_height, _ramp(_CLOTHES[::-1], f.hat_tone)
    y = canvas.y - line - 0.25 * canvas.x**2
    canvas.paint(np.maximum(hair - 0.05, y), cloth, f.hat)
    canvas.paint(np.maximum(hair - 0.06, np.abs(y + 0.04) - 0.045), cloth * 0.8, f.hat)
    brim = (f.head_width + f.volume) * (1 + 0.35 * np.maximum(f.hat_brim, 0))
    wide = f.hat * (f.hat_brim > 0)
    canvas.paint(_ellipse(canvas.x, y - 0.02, brim, 0.06), cloth * 0.72, wide)


def _light(canvas: _Canvas) -> np.ndarray:
    """Light from one side, its colour and the exposure; returns bytes, (B, H, W, 3)."""
    f = canvas.f
    across = np.clip(canvas.x / f.head_width, -1.3, 1.3) * f.light_x
    shade = 1 + f.light_strength * (across + np.clip(canvas.y / f.head_height, -1.3, 1.3) * f.light_y)
    warm = 1 + f.light_warmth[..., None] * np.float32([0.07, 0, -0.09])[None, :, None, None]  # (B, 3, 1, 1)
    lit = canvas.colours * (f.exposure * shade)[:, None] * warm
    return np.moveaxis((np.clip(lit, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8), 1, 3)
