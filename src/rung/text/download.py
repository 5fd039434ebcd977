"""Text from the network: fetched once, kept, and never another than the one its hash names."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.files import atomic_path, sha256_of
from rung.text.builtin import cache_folder
from rung.text.formats import BUFFER


def download(
    url: str,
    sha256: str,
    *,
    open_url: Callable[..., Any] = urllib.request.urlopen,
    folder: Path | None = None,
) -> Path:
    """Fetch `url` into the cache unless a file with this hash is there; give its path.

    Raises UserError when the network, the hash or the disk says no.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlparse(url).path)).name or "text.txt"
    path = (cache_folder() if folder is None else folder) / "downloads" / f"{sha256.lower()[:16]}-{name}"
    if path.exists() and sha256_of(path) == sha256.lower():
        return path
    try:
        with open_url(url, timeout=60) as response, atomic_path(path) as temporary:
            with temporary.open("wb") as file:
                shutil.copyfileobj(response, file, BUFFER)
            found = sha256_of(temporary)
            if found != sha256.lower():
                raise UserError(f"{url} has SHA-256 {found}, not {sha256}; nothing was kept")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(f"cannot fetch {url}: {reason}; fetch it by other means and give the file") from error
    return path
