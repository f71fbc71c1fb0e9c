"""The site is built from the pages, all of them, and no link in it leads nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.places import ROOT

DOCS = ROOT / "docs"
CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
ZENSICAL = Path(sys.executable).parent / "zensical"


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ZENSICAL, "build", "--strict", "--clean"], cwd=folder, capture_output=True, text=True, timeout=50
    )


def copy_to(folder: Path) -> Path:
    """The sources of the site, alone: it needs nothing else of the checkout."""
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = copy_to(tmp_path_factory.mktemp("site"))
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


def test_every_page_is_in_the_navigation_once():
    navigation = CONFIGURATION.partition("\nnav:\n")[2]
    named = re.findall(r"[\w/.-]+\.md$", navigation, re.MULTILINE)
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]

    assert sorted(named) == sorted(pages)


def test_the_site_has_a_page_for_each_source(site):
    wanted = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}

    assert wanted - {path.relative_to(site) for path in site.rglob("*.html")} == set()


def test_no_block_of_a_page_is_taken_for_text(site):
    wrong = [path.name for path in site.rglob("*.html") if "```" in path.read_text(encoding="utf-8")]

    assert wrong == []


def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?https?://[^\"\s>]+")

    texts = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]

    assert {found for text in texts for found in loaded.findall(text)} == set()


@pytest.mark.parametrize("link", ["nowhere.md", "explanation/time.md#no-such-heading"])
def test_a_link_that_leads_nowhere_fails(tmp_path, link):
    copy_to(tmp_path)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[gone]({link})\n")

    assert build(tmp_path).returncode != 0
