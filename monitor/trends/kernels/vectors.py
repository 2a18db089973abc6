"""Compiler instructions that numba lacks: fused multiply-add, full-width vectors, addition of rows, prefetch."""

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

ROW: Final = 16
"""Integers that :func:`add_rows` adds at once: one register of 512 bits for integers of 32."""

LINE: Final = 64
"""Size of a cache line. [byte]"""


def _fma_instruction(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute a * b + c with one rounding: half the work, and the same bits for any tiling of the pixels."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, b, c), generate


def _full_width(context: Any) -> Any:
    """Let loops of the calling function use registers of 512 bits if the processor has them.

    LLVM uses 256 by default, because older processors lower their clock for 512. Lanes are independent, so the width
    changes no bit of a result.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite checks names against a list that lacks the attributes written as text
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


def _row_addition(context: Any, table: Any, places: Any, target: Any, start: Any) -> Any:
    """Add :data:`ROW` integers at each of several places of a flat table to those of another array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(table.dtype)
        size = table.dtype.bitwidth // 8

        def row(kind: Any, array: Any, place: Any) -> Any:
            data = context.make_array(kind)(context, builder, value=array).data
            return builder.bitcast(builder.gep(data, [place]), ir.VectorType(number, ROW).as_pointer())

        known, several, other, place = arguments
        rows = [row(table, known, one) for one in cgutils.unpack_tuple(builder, several)]
        added = [builder.load(one, align=size) for one in rows]
        while len(added) > 1:
            added = [builder.add(*pair) for pair in zip(added[::2], added[1::2], strict=True)]
        sums = row(target, other, place)
        builder.store(builder.add(builder.load(sums, align=size), added[0]), sums, align=size)
        return context.get_dummy_value()

    return types.void(table, places, target, types.intp), generate


def _prefetch(context: Any, array: Any, row: Any, column: Any) -> Any:
    """Prefetch the cache line of one element of a two-dimensional array; the element need not exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        strides = cgutils.unpack_tuple(builder, made.strides, 2)
        offset = builder.add(builder.mul(arguments[1], strides[0]), builder.mul(arguments[2], strides[1]))
        byte, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.gep(builder.bitcast(made.data, byte), [offset])
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(call, [place, whole(0), whole(3), whole(1)])  # for reading, into the first-level data cache
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


add_rows: Any = intrinsic(_row_addition)
fma: Any = intrinsic(_fma_instruction)
prefetch: Any = intrinsic(_prefetch)
full_width: Any = intrinsic(_full_width)


def aligned(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """Array of zeros that starts at a cache line, so that no vector load crosses two lines."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    buffer = np.zeros(size + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    array: np.ndarray = buffer[start : start + size].view(kind).reshape(shape)
    return array
