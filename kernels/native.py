"""Kernels as native functions: compiled once by numba, kept as an object file, later loaded by LLVM alone.

An entry is a module of this package with a function `entry(dtype)`, which returns a Python function and its numba
signature: `void(int64, int64)` or `void(CPointer(record), int64)`, for the address of a job and the number of a thread.
Numba's arrays can't be used, as they count references to Python objects; pointers can (`nnaccel.kernels.memory`).
Numba needs longer to import than all the rest of a short training, so it is imported only to compile.
"""

import contextlib
import ctypes
import importlib
import os
import platform
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import llvmlite
import llvmlite.binding as llvm

from nnaccel.kernels import cache
from nnaccel.kernels.host import processor, tile
from nnaccel.kernels.symbols import undefined_symbols

ENTRIES = ("epoch", "small")
"""The kernels that a training may need, which `nnaccel warmup` compiles ahead."""

DTYPES = ("float32", "float64")

ALLOWED_SYMBOLS = frozenset(
    (
        *("memset", "memcpy", "memmove", "sched_yield"),
        *("bzero", "__bzero", "memset_pattern4", "memset_pattern8", "memset_pattern16"),  # macOS
        *("__chkstk", "SwitchToThread"),  # Windows
    )
)
"""What kernels may call: functions that every process has. Anything else would end it when the code is loaded."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be called.

    Attributes
    ----------
    function : callable
        Takes the address of a job and the number of a thread, and runs without the GIL. It must be called with the
        job that the entry describes: nothing is checked.
    seconds : float
        How long it took to compile or to load.
    origin : "compiled" or "cache"
    """

    function: Callable[[int, int], None]
    seconds: float
    origin: Literal["compiled", "cache"]


class CompilationError(RuntimeError):
    """A kernel was compiled to something that can't be used: a fault of the kernel."""


def _to_stderr(sentence: str) -> None:
    print(f"nnaccel: {sentence}", file=sys.stderr, flush=True)


announce: Callable[[str], None] = _to_stderr
"""Called with a line that tells whoever waits what takes so long; may be replaced."""

# Whoever forks waits until nothing is half loaded, or the child would find locks that nobody opens any more.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)

_ADDRESSES = "numba.dynamic.globals"
"""How the names of constants begin that hold addresses of this process; their linkage keeps LLVM from looking inside."""

_kernels: dict[tuple[str, str], Kernel] = {}
_engines: list[Any] = []
_complaints: set[str] = set()


def load(entry: str, dtype: str) -> Kernel:
    """A kernel as a native function: of this process, from the cache, or compiled now and then kept.

    It may be called in any thread; a second one waits for the first. The function also works after a fork.

    Parameters
    ----------
    entry : str
        The name of a module of this package that has a function `entry`.
    dtype : "float32" or "float64"

    Returns
    -------
    Kernel

    Raises
    ------
    ImportError
        If it has to be compiled, and numba can't be used.
    CompilationError
        If the kernel is faulty.
    """
    with _lock:
        if (entry, dtype) not in _kernels:
            _kernels[entry, dtype] = _loaded(entry, dtype)
        return _kernels[entry, dtype]


def is_cached(entry: str, dtype: str) -> bool:
    """Whether the next process that loads a kernel finds it in the cache."""
    try:
        return cache.read(_file_name(entry, dtype)) is not None
    except cache.Unusable:
        return False


def _loaded(entry: str, dtype: str) -> Kernel:
    start = time.perf_counter()
    code, name = None, _file_name(entry, dtype)
    try:
        code = cache.read(name)
    except cache.Unusable as error:
        _complain(error)
    origin: Literal["compiled", "cache"] = "compiled" if code is None else "cache"
    if code is None:
        code = _compiled_and_kept(entry, dtype, name)
    function = _function(code, _symbol(entry, dtype))
    return Kernel(function, time.perf_counter() - start, origin)


def _compiled_and_kept(entry: str, dtype: str, name: str) -> bytes:
    """The object file of a kernel; if it can't be kept, one line says so, before the wait if that is known by then."""
    once = ", once on this machine"
    try:
        cache.prepare()
    except cache.Unusable as error:
        _complain(error)
        once = ""
    announce(f"compiling the kernel {entry} for {dtype}{once} (about 20 s) ...")
    code = compiled(entry, dtype)
    try:
        cache.write(name, code)
    except cache.Unusable as error:
        _complain(error)
    return code


def _complain(error: cache.Unusable) -> None:
    """Say once in a process why kernels are compiled in each anew."""
    if not _complaints:
        _complaints.add(str(error))
        announce(f"compiled kernels aren't kept, as {error}; {cache.REMEDY}.")


def compiled(entry: str, dtype: str) -> bytes:
    """Compile a kernel to an object file, whatever the cache holds.

    Raises
    ------
    ImportError
        If numba can't be used.
    CompilationError
        If the code needs more than `ALLOWED_SYMBOLS`.
    """
    machine = _machine()
    code: bytes = machine.emit_object(_exporting(_ir(entry, dtype), _symbol(entry, dtype), machine))
    if foreign := undefined_symbols(code) - ALLOWED_SYMBOLS:
        raise CompilationError(
            f"the kernel {entry} for {dtype} calls {', '.join(sorted(foreign))}: kernels can only use what LLVM compiles to "
            "plain instructions, no Python objects, arrays that are allocated, or functions of the C library."
        )
    return code


def _file_name(entry: str, dtype: str) -> str:
    # The version without the import, which takes twenty times as long.
    from importlib.metadata import PackageNotFoundError, version

    try:
        numba_version = version("numba")
    except PackageNotFoundError:
        numba_version = "none"
    return cache.file_name(entry, dtype, numba_version, llvmlite.__version__, *processor())


def _symbol(entry: str, dtype: str) -> str:
    return f"nnaccel_{entry}_{dtype}"


def _ir(entry: str, dtype: str) -> str:
    """The optimised LLVM code of a kernel and all that it calls."""
    with warnings.catch_warnings():
        # What numba has to say about kernels is for their authors. It exchanges the filters itself while it compiles.
        warnings.simplefilter("ignore")
        try:
            numba: Any = importlib.import_module("numba")
        except ImportError as error:
            raise ImportError(f"the kernels are compiled by numba, which can't be imported: {error}.") from error
        if numba.config.DISABLE_JIT:
            raise ImportError("the kernels are compiled by numba, which NUMBA_DISABLE_JIT has switched off: unset it.")
        options = importlib.import_module("nnaccel.kernels.memory").JIT
        function, signature = importlib.import_module(f"nnaccel.kernels.{entry}").entry(dtype)
        with _unoptimised(numba):
            dispatcher = numba.njit(signature, **options)(function)
        ir: str = dispatcher.inspect_llvm(dispatcher.signatures[0])
        return ir


@contextlib.contextmanager
def _unoptimised(numba: Any) -> Iterator[None]:
    """Have numba optimise nothing meanwhile: it would optimise each function once more in all that call it.

    Nothing else is compiled in this time, in no thread. Numba turns each function into machine code as well, by a generator
    that keeps the level that it was made with: this time has one of its own, so that all other code is compiled as ever.
    """
    lock = importlib.import_module("numba.core.compiler_lock").global_compiler_lock
    with lock:
        context = importlib.import_module("numba.core.registry").cpu_target.target_context
        level, generator = numba.config.OPT, context.codegen()
        numba.config.OPT = type(level)(0)
        try:
            context._internal_codegen = _without_machine_code(type(generator)("nnaccel"))
            yield
        finally:
            numba.config.OPT, context._internal_codegen = level, generator


def _without_machine_code(generator: Any) -> Any:
    """Have numba's generator stop at LLVM's code: it would make each function callable from Python, which none is."""

    class Library(generator._library_class):  # type: ignore[misc]
        def _finalize_specific(self) -> None:
            pass

        def get_pointer_to_function(self, name: str) -> int:
            self._ensure_finalized()
            return 0

    generator._library_class = Library
    generator.set_env = lambda name, environment: None
    return generator


def _exporting(ir: str, symbol: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """Numba's code behind one exported C function, without what this one doesn't need.

    Numba's functions take two more pointers, to a result and to an exception, and return a status: 0 if all went well.
    """
    module = llvm.parse_assembly(_with_aligned_stacks(ir))
    definitions = [function for function in module.functions if not function.is_declaration]
    exported = [function for function in definitions if function.linkage == llvm.Linkage.external]
    if len(exported) != 1 or len(list(exported[0].arguments)) != 4:
        raise CompilationError(f"this version of numba exports other functions than expected: {exported}.")
    native = exported[0]
    types = [str(argument.type) for argument in native.arguments]
    result, exception = (kind.removesuffix("*") for kind in types[:2])
    job, thread = types[2:]
    wrapper = f"""
        declare i32 @"{native.name}"({", ".join(types)})

        define i32 @{symbol}({job} %job, {thread} %thread) {{
            %result = alloca {result}
            %exception = alloca {exception}
            %status = call i32 @"{native.name}"({types[0]} %result, {types[1]} %exception, {job} %job, {thread} %thread)
            ret i32 %status
        }}
    """
    module.link_in(llvm.parse_assembly(wrapper))
    module.triple = machine.triple
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name != symbol and not value.name.startswith(_ADDRESSES):
            value.linkage = llvm.Linkage.internal
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    if any(value.name.startswith(_ADDRESSES) for value in module.global_variables):
        raise CompilationError(f"{symbol} needs addresses of Python objects, which mean nothing to another process.")
    return module


def _with_aligned_stacks(ir: str) -> str:
    """Have every function align its stack to the vectors, and use all their width.

    LLVM finds out that it has to put vectors there when it is too late to align it. Each of them then lies across two cache
    lines or doesn't, by the place where the system began the stack: the same code ran up to twice as long in every other
    process. The width is told again because a function that is inlined loses it.
    """
    size = tile().vector_bytes
    definition = re.compile(r"^(define .*?)((?: personality .*| !dbg !\d+)? \{)$", re.MULTILINE)
    return definition.sub(rf'\1 alignstack({size}) "prefer-vector-width"="{8 * size}"\2', ir)


def _machine() -> llvm.TargetMachine:
    """What code is generated for, and how, all as numba has it: this is tried on every system."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = processor()
    static = platform.machine().lower() in ("x86_64", "amd64")
    # This code model lets the parts of the code lie anywhere, and takes a format for Windows that can be loaded there.
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="static" if static else "default", codemodel="jitdefault", jit=True
    )


def _function(code: bytes, symbol: str) -> Callable[[int, int], None]:
    """The function that an object file exports, loaded into this process for good."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    # ctypes releases the GIL for functions of this type.
    function: Any = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address(symbol)
    )
    function.errcheck = _check_status
    _engines.append(engine)
    return cast(Callable[[int, int], None], function)


def _check_status(status: int, function: Any, arguments: tuple[Any, ...]) -> None:
    if status:
        raise RuntimeError(f"a kernel has raised an exception (status {status}): a fault of the kernel.")
