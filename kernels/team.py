"""Threads that work on one training: how they wait for each other, and the mode their processors work in."""

import platform

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from nnaccel.kernels.job import LINE
from nnaccel.kernels.memory import JIT, declared

SPINS = 20000
"""How often a thread looks before it gives its core away, some 0.2 to 1 ms. It has to at some time, or two threads on one
core wait out each other's slices; too early, and a stranger on its core gets a whole slice of milliseconds at every
step: with 200, small steps took ten times as long beside a busy process."""

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_X86 = platform.machine().lower() in ("x86_64", "amd64")
_ARM = platform.machine().lower() in ("aarch64", "arm64")
_X86_FLUSH = 0x8040
"""Of MXCSR: subnormal results and operands are zero."""
_ARM_FLUSH = 1 << 24
"""Of FPCR."""


@njit(**JIT)
def begin(flags, thread):
    """Have all threads begin once the first one does: only then does a job say how many they are."""
    if thread == 0:
        _store_release(flags, 1)
    else:
        _wait_until(flags, 1)


@njit(**JIT)
def wait(flags, thread, threads, phase):
    """Return once all threads have come to the end of this phase; `flags` has a line to begin with and one for each."""
    if threads == 1:
        return
    _store_release(flags + LINE * (1 + thread), phase)
    for other in range(threads):
        _wait_until(flags + LINE * (1 + other), phase)


@njit(**JIT)
def _wait_until(address, phase):
    spins = 0
    while _load_acquire(address) < phase:
        spins += 1
        if spins > SPINS:
            _yield()
        else:
            _pause()


@intrinsic
def flush_subnormals(typingctx):
    """Have this thread take numbers below the smallest normal one for zero; the mode before, for `restore_mode`.

    They cost some hundred cycles each, and Adam's slots are full of them once a unit is dead.
    """

    def generate(context, builder, signature, arguments):
        before = _read_mode(builder)
        _write_mode(builder, builder.or_(before, _I64(_X86_FLUSH if _X86 else _ARM_FLUSH)))
        return before

    return types.int64(), generate


@intrinsic
def restore_mode(typingctx, mode):
    """Go back to the mode before."""

    def generate(context, builder, signature, arguments):
        _write_mode(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _read_mode(builder):
    if _X86:
        slot = _slot(builder)
        read = declared(builder.module, "llvm.x86.sse.stmxcsr", ir.VoidType(), [_I8.as_pointer()])
        builder.call(read, [builder.bitcast(slot, _I8.as_pointer())])
        return builder.zext(builder.load(slot), _I64)
    if _ARM:
        return builder.call(declared(builder.module, "llvm.aarch64.get.fpcr", _I64, []), [])
    return _I64(0)


def _write_mode(builder, mode):
    if _X86:
        slot = _slot(builder)
        builder.store(builder.trunc(mode, _I32), slot)
        write = declared(builder.module, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [_I8.as_pointer()])
        builder.call(write, [builder.bitcast(slot, _I8.as_pointer())])
    elif _ARM:
        builder.call(declared(builder.module, "llvm.aarch64.set.fpcr", ir.VoidType(), [_I64]), [mode])


def _slot(builder):
    with builder.goto_entry_block():
        return builder.alloca(_I32)


@intrinsic
def _load_acquire(typingctx, address):
    def generate(context, builder, signature, arguments):
        return builder.load_atomic(builder.inttoptr(arguments[0], _I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _store_release(typingctx, address, value):
    def generate(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], builder.inttoptr(arguments[0], _I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _pause(typingctx):
    def generate(context, builder, signature, arguments):
        if _X86:
            builder.call(declared(builder.module, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield(typingctx):
    """Of the C library, or of Windows, by name: unlike a function that ctypes finds, it can be kept in a file."""

    def generate(context, builder, signature, arguments):
        name = "SwitchToThread" if platform.system() == "Windows" else "sched_yield"
        builder.call(declared(builder.module, name, _I32, []), [])
        return context.get_dummy_value()

    return types.void(), generate
