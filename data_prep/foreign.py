"""Weights in formats of others: dlib's .dat and ONNX, read without the libraries that wrote them.

Both are read as what they are, bytes from elsewhere: no length that a file states is believed before it was compared
with what is left, and nothing in it is executed. What is asked for and is not there as it should be is an error; what
nobody asked for, settings of layers or weights of other types, is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

FLOAT32 = 1  # ONNX's number for the type
DEEPEST = 8  # dimensions of a tensor, at most
MOST_FIELDS = 1000  # of a weight or a node
VARINT, EIGHT, MESSAGE, FOUR = 0, 1, 2, 5  # wire types of protobuf
LAST_SHIFT = 63  # of a number of at most ten bytes


class ForeignFile(ValueError):
    """A file of another format than expected, or a damaged one."""


# dlib -----------------------------------------------------------------------------------------------------------------

DLIB_START = b"\x01\x01\x01\x0dloss_metric_2"  # versions of the outermost layer, and its name


def read_dlib(data: bytes, shapes: Sequence[tuple[int, int, int, int]]) -> list[np.ndarray]:
    """The parameters of a network with dlib's metric loss, from input to output, where their shapes are known.

    dlib writes them between settings of layers, each as version 2 of a tensor: four packed integers and the numbers as
    float32. The bytes in front of a known shape are known, so each tensor is searched for behind the one before.

    Raises:
        ForeignFile: it does not begin as such a network does, or a tensor is missing, cut off, or not finite.
    """
    if not data.startswith(DLIB_START):
        raise ForeignFile(f"no network of dlib with a metric loss: it begins with {data[:17]!r}, not {DLIB_START!r}")
    found, at = [], len(DLIB_START)
    for number, shape in enumerate(shapes):
        mark = b"\x01\x02" + b"".join(map(_packed, shape))
        if (before := data.find(mark, at)) < 0:
            raise ForeignFile(f"tensor {number} of shape {shape} is missing: another network, or a truncated file")
        start, count = before + len(mark), math.prod(shape)
        at = start + 4 * count
        if at > len(data):
            raise ForeignFile(f"tensor {number} of shape {shape} is cut off after {len(data) - start} of {4 * count} B")
        values = np.frombuffer(data, "<f4", count, start).reshape(shape)
        if not np.isfinite(values).all():
            raise ForeignFile(f"tensor {number} of shape {shape} holds numbers that are not finite")
        found.append(values)
    return found


def _packed(number: int) -> bytes:
    """dlib's integers: how many bytes, then these, the lowest first."""
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "little")


# ONNX -----------------------------------------------------------------------------------------------------------------


def read_onnx(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """The float32 weights by name, and the names of every node's inputs by the node's name.

    Raises:
        ForeignFile: no ONNX model, a truncated one, or a weight whose numbers do not fill its shape.
    """
    graphs = [value for field, kind, value in _fields(memoryview(data)) if (field, kind) == (7, MESSAGE)]
    if len(graphs) != 1:
        raise ForeignFile(f"no ONNX model: it has {len(graphs)} graphs")
    weights, inputs = {}, {}
    for field, kind, value in _fields(graphs[0]):
        if (field, kind) == (5, MESSAGE):
            found = _tensor(value)
            if twice := weights.keys() & found.keys():
                raise ForeignFile(f"no ONNX model: two weights are called {twice.pop()!r}")
            weights |= found
        elif (field, kind) == (1, MESSAGE):
            node = _few(value)
            name = "".join(_text(v) for f, k, v in node if (f, k) == (3, MESSAGE))
            if name and name in inputs:
                raise ForeignFile(f"no ONNX model: two nodes are called {name!r}")
            inputs[name] = [_text(v) for f, k, v in node if (f, k) == (1, MESSAGE)]
    return weights, inputs


def _tensor(message: memoryview) -> dict[str, np.ndarray]:
    """A weight by its name; nothing of other types, and of numbers that are not kept as raw bytes."""
    fields = _few(message)
    wanted = {2: VARINT, 8: MESSAGE, 9: MESSAGE}  # type, name, numbers
    for field, kind, _ in fields:
        if kind != wanted.get(field, kind):
            raise ForeignFile(f"no ONNX model: field {field} of a weight has wire type {kind}, not {wanted[field]}")
    known = {field: value for field, _, value in fields if field in wanted}
    if known.get(2) != FLOAT32 or 9 not in known:
        return {}
    name, shape = _text(known.get(8, b"")), _shape(fields)
    if len(shape) > DEEPEST or 4 * math.prod(shape) != len(known[9]) or max(shape, default=0) > len(known[9]):
        raise ForeignFile(f"weight {name!r} holds {len(known[9])} B, which do not fill its shape {shape[:DEEPEST]}")
    values = np.frombuffer(known[9], "<f4").reshape(shape)
    if not np.isfinite(values).all():
        raise ForeignFile(f"weight {name!r} holds numbers that are not finite")
    return {name: values}


def _shape(fields: list[tuple[int, int, int | memoryview]]) -> list[int]:
    """Dimensions, one a field or all in one."""
    shape: list[int] = []
    for field, kind, value in fields:
        if field == 1 and kind == VARINT:
            shape.append(value)
        elif field == 1 and kind == MESSAGE:
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                shape.append(size)
    return shape


def _text(value: memoryview | bytes) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ForeignFile("no ONNX model: a name is no text") from error


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, wire type and value of every field of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind, size = key & 7, 0
        if kind == VARINT:
            value, at = _varint(message, at)
            yield key >> 3, kind, value
            continue
        if kind == MESSAGE:
            size, at = _varint(message, at)
        elif kind in (EIGHT, FOUR):
            size = 8 if kind == EIGHT else 4
        else:
            raise ForeignFile(f"no ONNX model: wire type {kind} at byte {at}")
        if size > len(message) - at:
            raise ForeignFile(f"truncated: a field of {size} B begins {len(message) - at} B before the end")
        yield key >> 3, kind, message[at : at + size]
        at += size


def _few(message: memoryview) -> list[tuple[int, int, int | memoryview]]:
    """All fields of a message that has not many."""
    if len(fields := list(islice(_fields(message), MOST_FIELDS + 1))) > MOST_FIELDS:
        raise ForeignFile(f"no ONNX model: a part of it has more than {MOST_FIELDS} fields")
    return fields


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = 0
    for shift in range(0, LAST_SHIFT + 1, 7):
        if at >= len(message):
            raise ForeignFile("truncated: it ends within a number")
        number |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:
            return number, at
    raise ForeignFile("no ONNX model: a number of more than ten bytes")
