"""The configured channels, opened with their secrets from the environment.

The secrets of ``[channels.NAME]`` are ``REGROWTH_CHANNEL_<NAME>_<WHAT>``, or in the file that
``REGROWTH_CHANNEL_<NAME>_<WHAT>_FILE`` names; `<NAME>` is in capitals, with ``_`` for every other character. `<WHAT>`
is ``PASSWORD`` (smtp), ``TOKEN`` and ``SECRET`` (wecom, dingtalk, feishu, webhook), or ``URL`` (apprise).
"""

from contextlib import closing

from jobs.runtime.secrets import channel_variable, secret
from jobs.runtime.settings import ChannelSettings, Settings
from monitor.alerts.channels.channel import Channel
from monitor.alerts.channels.dingtalk import DingTalk
from monitor.alerts.channels.feishu import Feishu
from monitor.alerts.channels.files import Files
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.smtp import Smtp
from monitor.alerts.channels.through_apprise import ThroughApprise
from monitor.alerts.channels.webhook import Webhook
from monitor.alerts.channels.wecom import WeCom
from monitor.alerts.recipients import FILES
from monitor.errors import BadConfiguration


class Channels:
    """The channels of an installation by name; each is built when it is first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._built: dict[str, Channel] = {}

    def __getitem__(self, name: str) -> Channel:
        """A configured channel, or :data:`FILES`; BadConfiguration: unknown, or a secret is missing or invalid."""
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def close(self) -> None:
        """Close all connections."""
        for channel in self._built.values():
            channel.close()
        self._built.clear()

    def _build(self, name: str) -> Channel:
        if name == FILES:
            return Files(self._settings.outputs.root / "messages")
        configured = self._settings.channels.get(name)
        if configured is None:
            raise BadConfiguration(f"there is no [channels.{name}] in the configuration any more")
        return _open(name, configured)


def open_channels(settings: Settings) -> closing[Channels]:
    """The channels of an installation; their connections are closed at the end of the ``with`` block."""
    return closing(Channels(settings))


def check_secrets(settings: Settings) -> None:
    """Raise BadConfiguration if the password of a mail server is missing: found before anything is to be sent."""
    for name, channel in settings.channels.items():
        if channel.kind == "smtp" and channel.user:
            _required(name, "PASSWORD")


def _open(name: str, channel: ChannelSettings) -> Channel:
    if channel.kind == "smtp":
        password = _required(name, "PASSWORD") if channel.user else ""
        return Smtp(
            host=channel.host, port=channel.port, starttls=channel.starttls, sender=channel.sender, user=channel.user,
            password=password,
        )  # fmt: skip
    if channel.kind == "apprise":
        return ThroughApprise(_required(name, "URL"))
    http, url = HttpClient(channel.allow_hosts, section=f"[channels.{name}]"), channel.url
    if channel.kind == "wecom":
        return WeCom(http, url=url, token=_required(name, "TOKEN"))
    signing = secret(channel_variable(name, "SECRET"))
    if channel.kind == "webhook":
        return Webhook(http, url=url, secret=signing)
    messenger = DingTalk if channel.kind == "dingtalk" else Feishu
    return messenger(http, url=url, token=_required(name, "TOKEN"), secret=signing)


def _required(name: str, what: str) -> str:
    variable = channel_variable(name, what)
    value = secret(variable)
    if value is None:
        msg = f"[channels.{name}] needs REGROWTH_{variable} or REGROWTH_{variable}_FILE in the environment"
        raise BadConfiguration(msg)
    return value
