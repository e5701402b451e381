"""``open_store``: which store a URL names, and what is said of one that names none."""

from __future__ import annotations

from typing import Any

import pytest

from openai_agents_session import open_store
from tests.contract.values import SECRET


@pytest.mark.parametrize(
    "url",
    ["mysql+asyncmy://localhost/app", "http://localhost", "redis+unix://localhost", "mongodb://h"],
)
def test_an_unknown_scheme_is_named(url: str) -> None:
    """The error says which schemes there are."""
    with pytest.raises(ValueError, match=r"begin with one of redis://, .*dynamodb://") as caught:
        open_store(url)
    assert f"no store is at {url.partition('://')[0]}://" in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:6379", f":{SECRET}@localhost", f"://{SECRET}"])
def test_no_scheme_at_all(url: str) -> None:
    """What has no scheme may be a password, and is not repeated."""
    with pytest.raises(ValueError, match="the url has no scheme") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_a_url_is_a_text() -> None:
    """Something else is named by its type."""
    wrong: Any = b"redis://localhost"
    with pytest.raises(TypeError, match="url must be a str, not bytes"):
        open_store(wrong)
