"""The smallest installation whose night does everything: two sources, two sites, an alert, messages, pages.

The site ``demo-07`` has a history; on the night of :data:`NIGHT` it gets a scene from each source, its alert
opens, and the news goes out as a mail and to a webhook. The site ``demo-02`` is new that night.
"""

import json
import re
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

from affine import Affine
from shapely.geometry import mapping

from monitor.imagery.sample import Sample, _embedded_series, deal_fates
from tests.loopback.mail import MAIL_CHANNEL, MailServer
from tests.loopback.receivers import Hook, Receiver
from tests.loopback.stac import BANDS, StacServer, write_cog

BEFORE: Final = date(2018, 9, 10)
NIGHT: Final = date(2018, 9, 30)
CONFIGURATION: Final = """\
[registry]
path = "sites.geojson"
[[source]]
kind = "sample"
since = "2017-03-01"
until = "2018-09-20"
seed = 1
[[source]]
kind = "stac"
since = "2018-09-21"
url = "{stac}"
collections = ["sentinel-2-l2a"]
allow_hosts = ["127.0.0.1"]
[ledger]
url = "{ledger}"
[outputs]
root = "."
[alerts]
channels = ["mail", "hook"]
[channels.hook]
kind = "webhook"
url = "{hook}"
allow_hosts = ["127.0.0.1"]
[heartbeat]
url = "{heartbeat}"
allow_hosts = ["127.0.0.1"]
"""
SQLITE: Final = "sqlite:///regrowth.db"


def registry(places: list[int]) -> str:
    """The registry of the sites at some places of the sample."""
    from jobs.install.demonstration import _registry

    features = json.loads(_registry(Sample(1), [pair for pair in deal_fates(1) if pair[0] in places]))
    for feature in features["features"]:
        feature["properties"]["manager_email"] = "li@example.org"
    return json.dumps(features)


class Servers:
    """Catalogue, mail server, webhook and heartbeat of the installation."""

    def __init__(self, folder: Path) -> None:
        self.stac, self.mail = StacServer(folder), MailServer()
        self.hook, self.heartbeat = Hook(secret=None), Receiver()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for server in (self.stac, self.mail, self.hook, self.heartbeat):
            self._stack.enter_context(server)
        self.stac.items.append(item(self.stac, "2018-09-29"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def forget(self) -> None:
        """Forget all messages."""
        self.stac.forget()
        for received in (self.mail.mails, self.mail.attempts, self.hook.messages, self.hook.accepted):
            received.clear()

    def configuration(self, ledger: str) -> str:
        """The settings that lead to these servers."""
        return (CONFIGURATION + MAIL_CHANNEL).format(
            stac=self.stac.url, port=self.mail.port, hook=self.hook.url, heartbeat=self.heartbeat.url, ledger=ledger
        )

    def messages(self) -> dict[str, set[tuple[str, str]]]:
        """By channel id and content of each message that arrived."""
        return {
            "mail": {(mail.id, mail.text) for mail in self.mail.mails},
            "hook": {(name, without_times(json.dumps(record))) for name, record in self.hook.accepted},
        }


def item(server: StacServer, day: str) -> dict[str, Any]:
    """The scene of a day of the sample as an item of a catalogue."""
    _, grid = _embedded_series()
    sample = Sample(1)
    (scene,) = [one for one in sample.search(sample.place(6), date(2018, 1, 1), NIGHT) if one.id.endswith(day)]
    pixels, quality = sample._mixed(scene.handle, scene.time.date())
    name = f"S2A_MSIL2A_{day.replace('-', '')}T091601_N0208_R093_T35TMM_{day.replace('-', '')}T120000"
    assets = {}
    for number, key in enumerate([*BANDS, "SCL"]):
        layer = quality.astype("uint8") if key == "SCL" else pixels[number]
        path = write_cog(server.folder / name / f"{key}.tif", layer, Affine(*grid.affine[:6]), "EPSG:3035")
        common = {"eo:bands": [{"name": key, "common_name": BANDS[key]}]} if key in BANDS else {}
        assets[key] = {
            "href": server.file(path), "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"], "proj:shape": list(layer.shape), "proj:transform": list(grid.affine)[:6], **common,
        }  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "geometry": mapping(sample._footprint), "bbox": list(sample._footprint.bounds), "links": [], "assets": assets,
        "properties": {
            "datetime": f"{day}T09:16:01Z", "platform": "sentinel-2a", "proj:epsg": 3035, "s2:mgrs_tile": "35TMM",
            "s2:processing_baseline": "02.08", "s2:datatake_id": f"GS2A_{day}_N02.08", "sat:relative_orbit": 93,
        },
    }  # fmt: skip


_TIMES = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?( UTC)?")
_RUNS = re.compile(r"night-\d{4}-\d{2}-\d{2}-[0-9a-f]{8}")


def without_times(text: str) -> str:
    """A text without times of day and ids of runs."""
    return _RUNS.sub("RUN", _TIMES.sub("TIME", text))
