"""The pictures at the top of README.md and README.zh.md: growth charts of two sites of the demonstration.

    python docs/growth.py outputs/demo docs

Left one that fails, right one on plan. Needs Chromium for playwright.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SITES = ("demo-10", "demo-04")
GAP = 40
"""Space between the two charts. [pixel]"""


def main(demo: Path, folder: Path) -> None:
    """Draw both pictures from the pages of a demonstration."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 440, "height": 900}, device_scale_factor=2, color_scheme="light")
        for page, name in (("index.html", "growth.png"), ("index.zh.html", "growth.zh.png")):
            charts = []
            for site in SITES:
                view.goto((demo / "sites" / site / page).resolve().as_uri())
                view.add_style_tag(content="figcaption, .rampbar, .sticky {display: none} figure.growth {padding: 8px}")
                view.locator("figure.growth").screenshot(path=folder / name)
                charts.append(Image.open(folder / name).convert("RGB"))
            size = (sum(chart.width for chart in charts) + GAP, max(chart.height for chart in charts))
            both = Image.new("RGB", size, charts[0].getpixel((0, 0)))
            both.paste(charts[0], (0, 0))
            both.paste(charts[1], (charts[0].width + GAP, 0))
            both.quantize(128).save(folder / name, optimize=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
