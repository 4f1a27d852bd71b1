"""A few vectors transposed in registers, as LLVM IR."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nnaccel.kernels import host

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


@intrinsic
def transpose_vectors(typingctx, source, source_stride, target, target_stride, rows, columns):
    """target[c, r] = source[r, c] for c < columns and as many r as a vector has lanes, with zeros from `rows` on.

    Rows and columns, at most as many as lanes, are those that are there; no other row is read, no other column written,
    but whole vectors of either.
    """

    def generate(context, builder, signature, arguments):
        source_start, source_next, target_start, target_next, row_count, column_count = arguments
        element = context.get_value_type(source.dtype)
        size = 8 if isinstance(element, ir.DoubleType) else 4
        lanes = host.tile().vector_bytes // size
        vector = ir.VectorType(element, lanes)
        zero = ir.Constant(vector, [0.0] * lanes)
        zeros = builder.bitcast(_constant(builder.module, zero), element.as_pointer())

        loaded = []
        for r in range(lanes):
            row = builder.gep(source_start, [builder.mul(source_next, _I64(r))])
            there = builder.icmp_signed("<", _I64(r), row_count)
            loaded.append(_load(builder, builder.select(there, row, zeros), vector, size))
        for c, column in enumerate(exchanged(builder, loaded, lanes)):
            with builder.if_then(builder.icmp_signed("<", _I64(c), column_count)):
                p = builder.gep(target_start, [builder.mul(target_next, _I64(c))])
                builder.store(column, builder.bitcast(p, vector.as_pointer())).align = size
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(source, i64, target, i64, i64, i64), generate


def exchanged(builder, rows, lanes):
    """The transposed square: in each round, halves of pairs of rows change places, then quarters, and so on."""
    span = lanes // 2
    while span:
        new = list(rows)
        for i in range(lanes):
            if i & span:
                continue
            low = [lane if not lane & span else lanes + lane - span for lane in range(lanes)]
            high = [lane + span if not lane & span else lanes + lane for lane in range(lanes)]
            new[i] = builder.shuffle_vector(rows[i], rows[i + span], ir.Constant(ir.VectorType(_I32, lanes), low))
            new[i + span] = builder.shuffle_vector(
                rows[i], rows[i + span], ir.Constant(ir.VectorType(_I32, lanes), high)
            )
        rows, span = new, span // 2
    return rows


def _load(builder, p, vector, alignment):
    loaded = builder.load(builder.bitcast(p, vector.as_pointer()))
    loaded.align = alignment
    return loaded


def _constant(module, value):
    """A constant of the module, by address."""
    name = f"zeros.{value.type.count}.{value.type.element}"
    found = module.globals.get(name)
    if found is None:
        found = ir.GlobalVariable(module, value.type, name)
        found.linkage, found.global_constant, found.initializer = "internal", True, value
    return found
