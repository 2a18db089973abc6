"""Make an installation by the checked-out version: a registry of one site, a night, a measurement, a pack, a backup."""

import json
import os
import sys
import tarfile
import tempfile
from datetime import date
from pathlib import Path

from tests.builders import regrowth

NIGHT = date(2020, 7, 31)
LEFT_OUT = ("keys/signing.key", "outputs/assets")
"""Never published, or the same bytes as in the package."""

SAMPLE = Path(__file__).parents[2] / "aoi" / "sample" / "sites.geojson"


def install(folder: Path) -> None:
    """Fill an empty folder, as a programme with one site would."""
    registry = json.loads(SAMPLE.read_text(encoding="utf-8"))
    registry["features"] = [one for one in registry["features"] if one["properties"]["id"] == "terrace"]
    (folder / "sites.geojson").write_text(json.dumps(registry, ensure_ascii=False), encoding="utf-8")
    config = folder / "regrowth.toml"
    config.write_text(
        '[registry]\npath = "sites.geojson"\n[source]\nkind = "sample"\nsince = "2016-08-01"\n', encoding="utf-8"
    )
    (folder / "field.csv").write_text("site,date,kind,value,n\nterrace,2020-07-15,cover,0.31,20\n", encoding="utf-8")
    os.environ["REGROWTH_EVIDENCE_KEY_FILE"] = str(folder / "keys" / "signing.key")
    for command in (
        ["keys", "new", folder / "keys"],
        ["run", "--as-of", NIGHT, "--config", config],
        ["field", "add", folder / "field.csv", "--config", config],
        ["evidence", "terrace", "--out", folder / "pack.zip", "--config", config],
        ["backup", folder / "backup", "--config", config],
    ):
        status, out, err = regrowth(*command)
        print(out, end="")
        if status:
            sys.exit(err)


def main(archive: Path) -> None:
    """Write the archive; what is in it names no folder of this machine."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive, "x:xz", preset=9) as tar:
        install(Path(folder))

        def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
            if member.name.startswith(LEFT_OUT) or member.name.endswith((".jpg", ".html", ".lock")):
                return None
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            return member

        for path in sorted(Path(folder).iterdir()):
            tar.add(path, path.name, filter=wanted)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
