"""Files: JSON, plain or gzipped, read within limits; all written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

from schedule.errors import BadInput, BadOption, BadOutput
from schedule.values import shown

#: Files with more text than this (after decompression) are refused.
LARGEST_FILE = 256 * 2**20
#: Files with more values than this are refused: each takes up to a hundred bytes once parsed.
_MOST_VALUES = 2**24
#: No real figure comes near as many digits; Python itself refuses to convert more.
_MOST_DIGITS = 4300
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 2**20

AnyPath = str | os.PathLike[str]
#: In the place of a path: standard input where something is read, else standard output.
STANDARD = "-"


def path_text(path: AnyPath) -> str:
    """`path` as messages show it: printable whatever bytes the name is made of."""
    if not isinstance(path, (str, os.PathLike)):
        raise BadOption(f"{shown(path)} is no path; give a file's name")
    if not os.fspath(path):
        return "''"
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def read_json(path: AnyPath, bad: type[BadInput], limit: int = LARGEST_FILE) -> Any:
    """The JSON value that a file holds; gzip is known by its first bytes.

    Parameters
    ----------
    path
        The file; `"-"` is standard input.
    bad
        The exception to raise.
    limit
        Bytes of text, after decompression, beyond which the file is refused.

    Returns
    -------
    object
        Plain data. NaN and Infinity come through as floats: whoever uses the
        number can say where in the file it stands.

    Raises
    ------
    BadInput
        As `bad`: the file can't be read, isn't gzip or UTF-8 or JSON to its
        end, is too large, nests too deeply, or has a key twice in one object.

    Notes
    -----
    Reading stops at `limit`, so a gzip bomb costs no more than that; nor does a
    file of nothing but brackets, which would grow thirtyfold when parsed.
    """
    text = read_text(path, bad, limit)
    shown = source_text(path)
    if not text.strip():
        raise bad(f"{shown}: the file is empty; it has to hold a JSON object")
    if sum(map(text.count, ",[{")) > _MOST_VALUES:
        raise bad(f"{shown}: more than {_MOST_VALUES} values; files this large aren't read")
    return _parse(text, shown, bad)


def read_text(path: AnyPath, bad: type[BadInput], limit: int = LARGEST_FILE) -> str:
    """The text that a file holds, in UTF-8 and perhaps gzipped; parameters as for `read_json`.

    Raises
    ------
    BadInput
        As `bad`: the file can't be read, isn't gzip or UTF-8 to its end, or is too large.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise bad(f"{path!r} is no path; give a file's name")
    shown = source_text(path)
    try:
        return _read_bytes(path, shown, bad, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(
            f"{shown}: not UTF-8 text (byte {error.start} is wrong); save the file as UTF-8"
        ) from None


def source_text(path: AnyPath) -> str:
    """What is read from, as messages show it."""
    return "standard input" if path == STANDARD else path_text(path)


@contextmanager
def _opened(path: AnyPath) -> Iterator[io.BufferedReader]:
    """A file, or standard input, which stays open."""
    if path != STANDARD:
        with open(path, "rb") as file:
            yield file
        return
    if sys.stdin is None:
        raise OSError(errno.EBADF, "is closed")
    standard = io.BufferedReader(cast(Any, sys.stdin.buffer))
    try:
        yield standard
    finally:
        standard.detach()


def _read_bytes(path: AnyPath, shown: str, bad: type[BadInput], limit: int) -> bytes:
    try:
        with _opened(path) as file:
            if file.peek(2)[:2] == _GZIP_MAGIC:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _up_to(unpacked.read, shown, bad, limit)
            return _up_to(file.read, shown, bad, limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise bad(f"{shown}: damaged or truncated gzip ({error}); get the file again") from None
    except (OSError, ValueError) as error:
        if isinstance(error, bad):
            raise
        raise bad(f"{shown}: {reason(error)}") from None


def _up_to(read: Callable[[int], bytes], shown: str, bad: type[BadInput], limit: int) -> bytes:
    parts = []
    left = limit
    while part := read(_CHUNK):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise bad(f"{shown}: more than {limit} bytes of text; files this large aren't read")
    return b"".join(parts)


def reason(error: Exception) -> str:
    """Why the system refuses to read or write a file, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file or directory; check the path"
    if isinstance(error, IsADirectoryError):
        return "is a directory; give the path of a file"
    if isinstance(error, PermissionError):
        return "permission denied; check the rights of the file and of its directory"
    if isinstance(error, OSError):
        text = f"{error.strerror or error}"
        return f"{text}; make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else text
    return f"not a path that a file can have ({error})"


def _parse(text: str, shown: str, bad: type[BadInput]) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            _refuse_twice(pairs, shown, bad)
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise bad(
            f"{shown}: not JSON: {error.msg} (line {error.lineno}, column {error.colno});"
            f" is the file complete?"
        ) from None
    except RecursionError:
        raise bad(f"{shown}: brackets are nested too deeply; this isn't such a file") from None
    except ValueError as error:
        if isinstance(error, bad):
            raise
        raise bad(f"{shown}: a number has more than {_MOST_DIGITS} digits") from None


def _refuse_twice(pairs: list[tuple[str, Any]], shown: str, bad: type[BadInput]) -> NoReturn:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    owner = next((value for key, value in pairs if key == "name" and isinstance(value, str)), None)
    where = "an object" if owner is None else f"the object named {owner[:60]!r}"
    raise bad(f"{shown}: {where} has the key {key[:60]!r} twice; which value counts is undefined")


def write_json(path: AnyPath, data: Mapping[str, Any]) -> None:
    """Write `data` to `path` as `write_bytes` does, gzipped where the name ends in `.gz`.

    Raises
    ------
    BadOutput
        The file can't be written; what was there before is still there.
    """
    write_bytes(path, _text(data).encode("utf-8"))


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Write `content` to `path`, gzipped where the name ends in `.gz`.

    The file is written beside its final place and moved there when complete,
    so nobody ever reads half of it. A symbolic link stays a link; a device or
    a pipe is written to directly, and so is standard output (`"-"`).

    Raises
    ------
    BadOutput
        The file can't be written; what was there before is still there.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise BadOutput(f"{path!r} is no path; give a file's name")
    if path == STANDARD:
        _print(content)
        return
    if os.fspath(path).endswith(".gz"):
        content = gzip.compress(content, mtime=0)  # no time: the same data, the same bytes
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            with open(path, "wb") as device:
                device.write(content)
        else:
            _replace(Path(os.path.realpath(path)), content, mode)
    except (OSError, ValueError) as error:
        why = _missing(path) if isinstance(error, FileNotFoundError) else reason(error)
        raise BadOutput(f"{path_text(path)}: can't be written: {why}") from None


def _missing(path: str | os.PathLike[str]) -> str:
    """Which directory isn't there, or takes no file, and what to do."""
    parent = Path(os.path.realpath(path)).parent
    folder = path_text(parent)
    if parent.is_dir():
        return f"no file can be made in {folder}; give another path"
    return f"there is no directory {folder}; make it (mkdir -p), or give another path"


def _print(content: bytes) -> None:
    """Write to standard output; a reader that went away is the caller's concern."""
    try:
        sys.stdout.flush()
        left = memoryview(content)
        while left:  # an unbuffered stream (PYTHONUNBUFFERED) may take a part only
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BadOutput(f"standard output: can't be written: {reason(error)}") from None


def _mode(path: AnyPath) -> int | None:
    """The mode of the file that is there and may be written to; None: there is none."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if not os.fspath(path).endswith(os.sep):
            return None
        mode = stat.S_IFDIR  # only a directory's name ends so
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    if not os.access(path, os.W_OK):
        raise PermissionError
    return mode


def _replace(path: Path, content: bytes, mode: int | None) -> None:
    """Put `content` at `path` in one move; on any failure nothing has changed."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _text(data: Mapping[str, Any]) -> str:
    """`data` as JSON that people can read: one line a key, and one an item of a list."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    lines = []
    for key, value in data.items():
        if isinstance(value, (list, tuple)) and value:
            items = ",\n".join([f"    {encode(item)}" for item in value])
            lines.append(f"  {encode(key)}: [\n{items}\n  ]")
        else:
            lines.append(f"  {encode(key)}: {encode(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
