from __future__ import annotations

import json
import math

from rung.files import json_text


def test_what_json_or_utf8_lack_is_written_all_the_same() -> None:
    value = {"é": "\ud800x", "n": [1.5, math.inf]}
    text = json_text(value).encode("utf-8")
    assert json.loads(text) == {"é": "\ud800x", "n": [1.5, None]}
