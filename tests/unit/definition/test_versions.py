"""Versions compare as numbers, and a name may state one."""

from itertools import pairwise

import pytest

from process_engine.definition.versions import Named, named, version_key


def test_versions_are_ordered_as_numbers():
    in_order = ["0.9", "1", "1.0.1", "1.2", "1.9", "1.10", "1.10.1", "2", "10"]

    assert all(version_key(one) < version_key(next) for one, next in pairwise(in_order))


@pytest.mark.parametrize("version", ["1", "1.0", "1.0.0", "01"])
def test_parts_that_are_left_out_are_zero(version: str):
    assert version_key(version) == (1, 0, 0)


@pytest.mark.parametrize("version", ["", "v1", "1.", "1.2.3.4", "latest", "-1", "1 ", "1.2\n"])
def test_what_is_no_version_has_no_key(version: str):
    with pytest.raises(ValueError, match="is not a version"):
        version_key(version)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("post", Named("post", None)),
        ("post@1.10", Named("post", "1.10")),
        ("post@", None),
        ("post@latest", None),
        ("post.yaml", None),
        ("./post", None),
        ("@1", None),
        ("Post", None),
    ],
)
def test_a_process_is_named_with_or_without_its_version(text: str, meant: Named | None):
    assert named(text) == meant
