"""The documentation site builds without a warning or a request, and its links lead somewhere."""

import re
import subprocess
import sys
from urllib.parse import unquote

import pytest

FOLDERS = ("", "aoi", "outputs", "docs", "benchmarks/results")  # folders with pages for people
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


def pages(root):
    return [path for folder in FOLDERS for path in sorted((root / folder).glob("*.md"))]


def anchors(page):
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    """Targets of the links and pictures of a page that are not on the network."""
    text = re.sub(r"`[^`]*`", "", FENCED.sub("", page.read_text(encoding="utf-8")))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]


def test_every_relative_link_and_anchor_of_every_page_exists(root):
    checked = 0
    for page in pages(root):
        for link in links(page):
            name, _, anchor = unquote(link).partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.relative_to(root)}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.relative_to(root)}: {link}"
            checked += 1
    assert checked > 20


def test_every_file_of_the_project_that_a_page_names_exists(root):
    for page in pages(root):
        if page.name == "CHANGELOG.md":  # names files of earlier versions
            continue
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:aoi|benchmarks|docs|jobs|monitor|tests)/[\w./-]*)`", text):
            assert (root / name).exists(), f"{page.relative_to(root)}: {name}"


def test_every_page_and_notebook_is_in_the_table_of_contents(root):
    docs = root / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    listed = [
        line.strip()
        for tree in re.findall(r"^```{toctree}\n(.*?)^```$", index, re.M | re.S)
        for line in tree.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    files = [path for kind in ("md", "rst", "ipynb") for path in docs.rglob(f"*.{kind}") if "_build" not in path.parts]
    there = {path.relative_to(docs).with_suffix("").as_posix() for path in files if ".ipynb_" not in str(path)}
    assert sorted(listed) == sorted(there - {"index"})


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The documentation site, built as `make docs` does, but without executing the notebook, which has its own test."""
    pytest.importorskip("furo", reason="the documentation needs the group 'docs'")
    out = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-E", "-b", "html", "-d", str(out / "trees"), "-D", "nb_execution_mode=off"]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(root / "docs"), str(out / "html")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (built.returncode, built.stderr) == (0, ""), built.stderr[-3000:]
    return out / "html"


@pytest.mark.slow
def test_no_page_of_the_site_loads_anything_from_the_network(site):
    loads = re.compile(
        r"""<(?:script|img|iframe|source)[^>]*\bsrc=["'](https?:)?//|<link[^>]*\bhref=["'](https?:)?//"""
    )
    html = list(site.rglob("*.html"))
    assert len(html) > 20
    for page in html:
        assert not loads.search(page.read_text(encoding="utf-8")), page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


@pytest.mark.slow
def test_the_site_is_read_from_a_folder_on_a_phone_and_can_be_searched(site, browser):
    page = browser.new_page(viewport={"width": 360, "height": 800})
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path.name
    page.goto((site / "search.html").as_uri() + "?q=theta")
    page.wait_for_selector("ul.search li")
    assert "method.html" in page.inner_html("ul.search")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
