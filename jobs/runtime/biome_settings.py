"""``[biomes.NAME]``: biomes that an installation defines itself, see ``docs/biomes.md``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

if TYPE_CHECKING:
    from monitor.sites.site import Biome


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true or false is neither a number nor a text")
        return value


class BiomePlanSettings(Section):
    """Plan of one kind of work, see :class:`monitor.sites.site.Plan`."""

    A: float
    k: float
    L: float
    too_early_years: float


class BiomeSettings(Section):
    """One biome; whatever it does not state is as in the built-in biome that it is like."""

    like: str  # name of a built-in biome
    name: str | None = None  # name on pages; None: that of the section
    name_zh: str | None = None  # name on Chinese pages; None: as `name`
    season: tuple[str, str] | None = None  # MM-DD of the place, also in the south; the end may be next year
    peak: str | None = None  # usual day of the peak, `MM-DD`; None: the middle of `season`
    width: int | None = None  # standard deviation of the seasonal curve; None: 27 % of the length of `season` [day]
    index: str | None = None
    bare_soil: float | None = None
    full_cover: float | None = None
    peak_cover: float | None = None
    clear_share: float | None = None
    closure: BiomePlanSettings | None = None
    shrub: BiomePlanSettings | None = None
    tree: BiomePlanSettings | None = None
    reseeding: BiomePlanSettings | None = None
    planting: str | None = None
    erosion_control: str | None = None


def own_biomes(sections: Mapping[str, BiomeSettings]) -> "dict[str, Biome]":
    """Biomes by name; raises BadData if a value is impossible, and the message names the section."""
    if not sections:  # most installations: the imports below take longer than reading the settings
        return {}
    from monitor.errors import BadData
    from monitor.sites.own_biome import own_biome

    biomes = {}
    for name, section in sections.items():
        try:
            biomes[name] = own_biome(section.model_dump(), name=name)
        except BadData as error:
            raise BadData(f"[biomes.{name}]: {error}") from error
    return biomes
