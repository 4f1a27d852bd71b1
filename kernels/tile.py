"""The tile of a product that stays in registers, as LLVM IR.

    C = max(base + alpha * A @ B, floor)

One form serves all products of a training: forward with the bias as base and, for ReLU, 0 as floor; backward with zeros
as base; the update of plain SGD with the weights as base and C and minus the learning rate as alpha.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nnaccel.kernels import host
from nnaccel.kernels.memory import declared
from nnaccel.kernels.transpose import exchanged

_I32, _I64 = ir.IntType(32), ir.IntType(64)

ROWS, COLUMNS = "rows", "columns"
"""How a tile goes through A: row r, step k is at a[r * panel + k], or transposed, at a[k * panel + r]."""


def heights() -> list[int]:
    """The heights of the tiles that there are, from the highest: any number of rows is made up of few of them."""
    highest = host.tile().rows
    return [rows for rows in (highest, 8, 4, 2, 1) if rows <= highest]


def make_tiles(vectors, by):
    """The tiles of so many vectors, as one function for kernels: it takes the highest that fits the rows left.

    Parameters
    ----------
    vectors : int
    by : ROWS or COLUMNS
        In the first case A is a row of panels: after as many steps as a panel has columns, the next one begins.

    Returns
    -------
    function
        Of `(left, a, next_panel, b, c, c_stride, base, base_stride, steps, alpha, floor)`: how many rows are left, 1 or
        more; pointers to A, B, C and base, all of one element type; strides in elements. `steps` must be 1 or more. By rows,
        a row of B has as many elements as the tile; by columns, A and B are full panels both. It returns the rows done. NaN
        is never replaced by the floor.
    """

    @intrinsic
    def tiles(typingctx, left, a, next_panel, b, c, c_stride, base, base_stride, steps, alpha, floor):
        def generate(context, builder, signature, arguments):
            rows_left, operands = arguments[0], arguments[1:]
            done = builder.append_basic_block("rows_done")
            with builder.goto_block(done):
                result = builder.phi(_I64)
            for rows in heights():
                fits, smaller = builder.append_basic_block(f"rows_{rows}"), builder.append_basic_block("smaller")
                builder.cbranch(builder.icmp_signed(">=", rows_left, _I64(rows)), fits, smaller)
                builder.position_at_end(fits)
                _Tile(builder, rows, vectors, by, context.get_value_type(a.dtype)).emit(*operands)
                result.add_incoming(_I64(rows), builder.block)
                builder.branch(done)
                builder.position_at_end(smaller)
            builder.unreachable()
            builder.position_at_end(done)
            return result

        i64 = types.int64
        return i64(i64, a, i64, b, c, i64, base, i64, i64, alpha, floor), generate

    return tiles


class _Tile:
    """Emits one tile into the block that the builder is at."""

    def __init__(self, builder, rows, vectors, by, element):
        self.builder, self.rows, self.vectors, self.by = builder, rows, vectors, by
        self.size = 8 if isinstance(element, ir.DoubleType) else 4
        self.lanes = host.tile().vector_bytes // self.size
        self.panel = host.tile().vectors * self.lanes
        self.vector = ir.VectorType(element, self.lanes)
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.size}"
        self.fmuladd = declared(builder.module, name, self.vector, [self.vector] * 3)

    def emit(self, a, next_panel, b, c, c_stride, base, base_stride, steps, alpha, floor):
        zero = [ir.Constant(self.vector, [0.0] * self.lanes)] * (self.rows * self.vectors)
        if self.by == COLUMNS:
            sums, _ = self._loop(a, b, steps, zero)
        else:
            sums = self._panels(a, next_panel, b, steps, zero)
        self._store(sums, c, c_stride, base, base_stride, alpha, floor)

    def add(self, source, target, base, rows, alpha):
        """Sums over rows: the product with a row of ones, which needn't be read."""
        zero = [ir.Constant(self.vector, [0.0] * self.lanes)] * self.vectors
        sums, _ = self._loop(None, source, rows, zero)
        minus_infinity = ir.Constant(self.vector.element, float("-inf"))
        self._store(sums, target, _I64(0), base, _I64(0), alpha, minus_infinity)

    def dots(self, rows, next_panel, b, steps):
        """The products of rows of A with a vector: the transposed of one vector of sums for each."""
        builder, panel = self.builder, _I64(self.panel)
        before, loop, done = builder.block, builder.append_basic_block("dots"), builder.append_basic_block("dotted")
        builder.branch(loop)
        builder.position_at_end(loop)
        zero = [ir.Constant(self.vector, [0.0] * self.lanes)] * len(rows)
        (left, offset, b_panel), sums = self._variables(before, [steps, _I64(0), b], zero)
        new = [s.phi for s in sums]
        for j in range(self.panel // self.lanes):
            there = builder.icmp_signed("<", self._lane_numbers(j * self.lanes), self._splat(left.phi))
            # A panel of b may end with its first vector; what isn't there is nothing, not even NaN.
            any_there = builder.icmp_signed("<", _I64(j * self.lanes), left.phi)
            factor = self._load(builder.gep(b_panel.phi, [builder.select(any_there, _I64(j * self.lanes), _I64(0))]), 0)
            factor = builder.select(there, factor, zero[0])
            for r, row in enumerate(rows):
                x = self._load(builder.gep(row, [offset.phi]), j * self.lanes)
                x = builder.select(there, x, zero[0])
                new[r] = builder.call(self.fmuladd, [x, factor, new[r]])
        remaining = builder.sub(left.phi, panel)
        left.next(remaining, loop)
        offset.next(builder.add(offset.phi, next_panel), loop)
        b_panel.next(builder.gep(b_panel.phi, [panel]), loop)
        for variable, value in zip(sums, new, strict=True):
            variable.next(value, loop)
        builder.cbranch(builder.icmp_signed(">", remaining, _I64(0)), loop, done)
        builder.position_at_end(done)
        return exchanged(builder, new, self.lanes)

    def _lane_numbers(self, first):
        numbers = [first + lane for lane in range(self.lanes)]
        return ir.Constant(ir.VectorType(_I64, self.lanes), numbers)

    def _panels(self, a, next_panel, b, steps, zero):
        """The loop over the panels of A around that over the columns of one."""
        builder, panel = self.builder, _I64(self.panel)
        before, head, done = builder.block, builder.append_basic_block("panel"), builder.append_basic_block("done")
        builder.branch(head)
        builder.position_at_end(head)
        (left, a_panel, b_row), sums = self._variables(before, [steps, a, b], zero)
        count = builder.select(builder.icmp_signed("<", left.phi, panel), left.phi, panel)
        new, b_after = self._loop(a_panel.phi, b_row.phi, count, [s.phi for s in sums])
        remaining = builder.sub(left.phi, count)
        left.next(remaining, builder.block)
        a_panel.next(builder.gep(a_panel.phi, [next_panel]), builder.block)
        b_row.next(b_after, builder.block)
        for variable, value in zip(sums, new, strict=True):
            variable.next(value, builder.block)
        builder.cbranch(builder.icmp_signed(">", remaining, _I64(0)), head, done)
        builder.position_at_end(done)
        return new

    def _loop(self, a, b, steps, start):
        """One multiply-add of every sum for each step; the new sums, and where B goes on."""
        builder = self.builder
        by_columns = self.by == COLUMNS
        a_next, row = (self.panel, 1) if by_columns else (1, self.panel)
        b_next = self.panel if by_columns else self.lanes * self.vectors
        before, loop, done = builder.block, builder.append_basic_block("step"), builder.append_basic_block("stepped")
        builder.branch(loop)
        builder.position_at_end(loop)
        (left, b_step), sums = self._variables(before, [steps, b], start)
        a_step = None if a is None else _Variable(builder, a, before)
        wide = [self._load(b_step.phi, self.lanes * j) for j in range(self.vectors)]
        new = []
        for r in range(self.rows):
            sums_of_row = sums[r * self.vectors : (r + 1) * self.vectors]
            if a_step is None:
                new += [builder.fadd(v, s.phi) for v, s in zip(wide, sums_of_row, strict=True)]
                continue
            factor = self._splat(builder.load(builder.gep(a_step.phi, [_I64(row * r)])))
            new += [builder.call(self.fmuladd, [factor, v, s.phi]) for v, s in zip(wide, sums_of_row, strict=True)]
        remaining = builder.sub(left.phi, _I64(1))
        b_after = builder.gep(b_step.phi, [_I64(b_next)])
        left.next(remaining, loop)
        if a_step is not None:
            a_step.next(builder.gep(a_step.phi, [_I64(a_next)]), loop)
        b_step.next(b_after, loop)
        for variable, value in zip(sums, new, strict=True):
            variable.next(value, loop)
        builder.cbranch(builder.icmp_signed(">", remaining, _I64(0)), loop, done)
        builder.position_at_end(done)
        return new, b_after

    def _store(self, sums, c, c_stride, base, base_stride, alpha, floor):
        builder = self.builder
        alpha, floor = self._splat(alpha), self._splat(floor)
        for r in range(self.rows):
            for j in range(self.vectors):
                x = sums[r * self.vectors + j]
                base_row = builder.gep(base, [builder.mul(base_stride, _I64(r))])
                x = builder.call(self.fmuladd, [x, alpha, self._load(base_row, self.lanes * j)])
                x = builder.select(builder.fcmp_ordered(">", floor, x), floor, x)
                c_row = builder.gep(c, [builder.mul(c_stride, _I64(r))])
                builder.store(x, self._vector_at(c_row, self.lanes * j)).align = self.size

    def _variables(self, before, first, sums):
        """Variables of a loop, with their values before it."""
        return [_Variable(self.builder, x, before) for x in first], [_Variable(self.builder, x, before) for x in sums]

    def _vector_at(self, p, offset):
        return self.builder.bitcast(self.builder.gep(p, [_I64(offset)]), self.vector.as_pointer())

    def _load(self, p, offset):
        loaded = self.builder.load(self._vector_at(p, offset))
        loaded.align = self.size
        return loaded

    def _splat(self, scalar):
        """A vector with the same number in all lanes."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, _I32(0))
        lanes = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, lanes)


class _Variable:
    """A variable of a loop: what LLVM calls a phi."""

    def __init__(self, builder, value, before):
        self.phi = builder.phi(value.type)
        self.phi.add_incoming(value, before)

    def next(self, value, block):
        self.phi.add_incoming(value, block)


@intrinsic
def add_columns(typingctx, source, vectors, sums, base, rows, alpha):
    """sums = base + alpha * (the sums over the rows of a full panel), for as many vectors of a row; `rows` is 1 or more."""

    def generate(context, builder, signature, arguments):
        start, count, target, base_start, row_count, factor = arguments
        element = context.get_value_type(source.dtype)
        for n in range(1, host.tile().vectors + 1):
            with builder.if_then(builder.icmp_signed("==", count, _I64(n))):
                _Tile(builder, 1, n, COLUMNS, element).add(start, target, base_start, row_count, factor)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(source, i64, sums, base, i64, alpha), generate


@intrinsic
def dot_rows(typingctx, left, a, next_panel, b, c, base, steps, floor):
    """c = max(base + A @ b, floor) for as many rows as a vector has lanes, or those that are left; returns how many.

    Every row has a vector of sums, which are added up at the end by transposing them all. Where no row is left, the
    first is taken again; b counts up to `steps` only, whatever comes after.
    """

    def generate(context, builder, signature, arguments):
        rows_left, a_start, a_next, b_start, c_start, base_value, count, least = arguments
        lanes = host.lanes(str(a.dtype))
        tile = _Tile(builder, lanes, 1, ROWS, context.get_value_type(a.dtype))
        rows = [
            builder.select(builder.icmp_signed("<", _I64(r), rows_left), _I64(r * tile.panel), _I64(0))
            for r in range(lanes)
        ]
        sums = tile.dots([builder.gep(a_start, [row]) for row in rows], a_next, b_start, count)
        while len(sums) > 1:
            sums = [builder.fadd(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
        (total,) = sums
        total = builder.fadd(total, tile._splat(base_value))
        least = tile._splat(least)
        total = builder.select(builder.fcmp_ordered(">", least, total), least, total)
        for r in range(lanes):
            with builder.if_then(builder.icmp_signed("<", _I64(r), rows_left)):
                place = builder.gep(c_start, [_I64(r * tile.panel)])
                builder.store(builder.extract_element(total, _I32(r)), place)
        more = builder.icmp_signed("<", _I64(lanes), rows_left)
        return builder.select(more, _I64(lanes), rows_left)

    i64 = types.int64
    return i64(i64, a, i64, b, c, base, i64, floor), generate
