"""The verdict in about three plain sentences, and what would change it: short enough for a phone."""

from collections.abc import Sequence
from datetime import date

from monitor.day_in_words import day_in_words, month_in_words
from monitor.sites.biomes import biome_of
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.reasons import Reason, sentence

HEADLINE = {
    Status.INSUFFICIENT_DATA: (
        "Cannot tell whether the work is taking hold.",
        "看不清：现有影像还不能说明恢复是否见效。",
    ),
    Status.TOO_EARLY: ("Too early to judge.", "为时尚早：还不能下结论。"),
    Status.UNDECIDED: (
        "Undecided: not yet clear whether the work is taking hold.",
        "尚难判定：还看不出恢复是否见效。",
    ),
    Status.ON_TRACK: ("On track.", "符合规划：长势正常。"),
    Status.LAGGING: ("Lagging behind the plan.", "进展滞后：长得比规划慢。"),
    Status.FAILING: ("Not taking hold.", "未见成效：植被没有长起来。"),
    Status.DISTURBED: ("Vegetation was lost suddenly.", "植被突然受损。"),
    Status.RECOVERED: ("Recovered.", "已经恢复。"),
}
CHECKS = {
    Status.FAILING: (
        "Check the ground: did plants survive, is there grazing or water damage?",
        "请实地核查：苗木是否成活，有无放牧或水毁。",
    ),
    Status.DISTURBED: (
        "Check the ground for fire, clearing, grazing or landslip.",
        "请实地核查火灾、砍伐、放牧或滑坡。",
    ),
}
"""Advice for a visit."""
CLEARS = {
    Status.INSUFFICIENT_DATA: ("More clear scenes in the growing season are needed.", "还需要生长季内的无云影像。"),
    Status.TOO_EARLY: (
        "A verdict on growth follows {years:g} years after the start ({due}). Until then, count plants on the ground.",
        "开工满 {years:g} 年（{due}）后才能判断；在此之前请到现场清点。",
    ),
    Status.UNDECIDED: (
        "More clear scenes will decide, often those of another growing season; a visit decides sooner.",
        "还要更多无云影像，往往要再过一个生长季；到现场看一次会更快。",
    ),
    Status.LAGGING: (
        "It would be on track again once the rise over the control ground is seen to near {share:.0%} of the plan.",
        "长到规划的 {share:.0%} 左右，即为符合规划。",
    ),
    Status.FAILING: (
        "It clears once cover rises to over half of what was promised, or a replanting starts a new episode.",
        "长到规划的一半以上，或补植并登记为新一期，警报即解除。",
    ),
    Status.DISTURBED: ("A year later the site is judged by its growth again.", "一年后再按生长情况判断。"),
}
CLEARS_NO_PLAN = {
    Status.TOO_EARLY: (
        "Losses are judged from {years:g} years after the start ({due}).",
        "开工满 {years:g} 年（{due}）后开始判断损失。",
    ),
    Status.FAILING: (
        "That lost cover is back is seen only after years: an answer from the field settles it sooner.",
        "损失的植被覆盖即使恢复，也要数年才能确认；现场答复可更早结案。",
    ),
    Status.DISTURBED: (
        "A year later the question is whether the lost cover is back.",
        "一年后再判断损失的植被覆盖是否恢复。",
    ),
}
"""As :data:`CLEARS`, on a site whose plan promises no uplift, where that differs."""
MEASURED = (
    "Measured directly (mean over a season, against the same weeks before the start and the control ground), the site "
    "stands {seasons}.",
    "直接测得的季均值（以对照地块和开工前同期为基准）：{seasons}。",
)
BEFORE_AND_AFTER = (
    "As measured against the control ground: {before} points in the year before the loss, {after} since.",
    "与对照地块相比实测：受损前一年 {before} 个百分点，受损后 {after} 个百分点。",
)
SEASON_TO_DATE = ("{level} in this season to date", "本生长季至今{level}")
LAST_SEASON = ("{level} in the last full season", "上一个完整生长季{level}")
HIGHER = ("{points} higher (give or take {se})", "高 {points} 个百分点（误差约 {se}）")
LOWER = ("{points} lower (give or take {se})", "低 {points} 个百分点（误差约 {se}）")
LEVEL = ("as before (give or take {se})", "与此前持平（误差约 {se} 个百分点）")
NOT_MEASURED = (
    "Nothing can be measured directly, as no year before the start was seen: no measurement checks the estimate of the "
    "model, so a false alarm and a decline that it misses are both seen later.",
    "开工前没有可用的观测年份，无法直接测量：模型估计得不到实测检验，误报和漏判都会更晚才被发现。",
)
CHANCES = (
    "Probabilities: not taking hold {failing}, lagging {lagging}, on track {on_track}. They allow for a plan up to a "
    "fifth too large or growth up to a year late; the interval takes the plan as written.",
    "概率：未见成效 {failing}，进展滞后 {lagging}，符合规划 {on_track}。这些概率已考虑规划可能偏高至多五分之一"
    "或生长可能推迟至多一年；区间则按规划原值计算。",
)
"""The three probabilities, and why they need not agree with the interval."""
FIELD_PLAN = (
    "The plan promises cover as seen in the field; before judging it was multiplied by {factor:g} to give index cover. "
    "Measured in other regions this factor runs from {low:g} to {high:g}{shares}.",
    "规划承诺的是实地覆盖度，评价前已乘以 {factor:g} 换算为指数覆盖度。该系数在其他地区的实测范围为 {low:g} 至 "
    "{high:g}{shares}。",
)
"""How a promise of field cover was judged."""
SHARES_THEN = (
    "; with its ends the share achieved would be {low} to {high}",
    "；若取范围两端，完成比例为 {low} 至 {high}",
)
LOCAL_FACTOR = (
    "By {rows} local field rows the factor is {factor:.2f} ({low:.2f} to {high:.2f}){shares}; the verdict does not use "
    "it.",
    "按本地 {rows} 条实地记录，该系数为 {factor:.2f}（{low:.2f} 至 {high:.2f}）{shares}；结论未采用此系数。",
)
"""Factor of local field rows, where a plan promises field cover."""
LOSS_DATED = (
    "Vegetation was lost suddenly, {when}, confirmed on {confirmed}.",
    "植被突然受损：{when}，{confirmed}确认。",
)
MAYBE_LOST = ("Vegetation may have been lost suddenly.", "植被可能突然受损。")
"""Headline of a loss whose probability is below :data:`LOSS_SURE`; below, with its dates."""
MAYBE_LOST_DATED = (
    "Vegetation may have been lost suddenly, {when}, first noticed on {confirmed}.",
    "植被可能突然受损：{when}，{confirmed}首次发现。",
)
LOST_BETWEEN = ("most likely between the scenes of {after} and {shows}", "很可能在{after}与{shows}两景之间")
"""When a loss came. Of simulated losses of 6 to 14 points of cover half came between these scenes; nearly all others
came earlier, most of them by less than ten weeks or in the previous winter."""
LOST_SINCE = ("before {shows}", "在{shows}之前")
"""When a loss came of which no scene before is known."""
LOST_AREA = (
    "About {lost} of {whole} hectares{interval} lost a quarter of their cover or more: the map shows where.",
    "{whole} 亩中约有 {lost} 亩{interval}的植被减少了四分之一以上，位置见地图。",
)
LOST_TOGETHER = (
    "{together} of {neighbours} neighbouring sites lost cover in the same weeks: a common cause such as fire, flood, "
    "frost, hail, snow or haze is likely.",
    "附近 {neighbours} 个地块中有 {together} 个在同一时期也有植被损失，"
    "可能有共同原因，如火灾、洪水、霜冻、冰雹、积雪或雾霾。",
)
NOT_COVERED = (
    "No usable scene of this place exists yet: check that the source covers it, that its outline is right, and why its "
    "scenes were rejected (observations.csv). A site started before all imagery waits for the end of its first season "
    "with three clear scenes.",
    "尚未找到此处的可用影像：请检查数据源是否覆盖该地、边界是否正确，以及影像未被采用的原因（observations.csv）。"
    "开工早于全部影像的地块，须等首个有三景无云影像的生长季结束。",
)
"""Advice without any usable scene; :data:`NO_GROUND` and those that follow it are advice on other causes."""
NEVER_OFFERED = (
    "No scene of this place (longitude {x}, latitude {y}) has ever been offered up to {until}, by: {sources}. "
    "Check that the site is located there (outlines have the longitude first), that the source covers that place in "
    "these collections, and that [source] since is not later than its imagery.",
    "截至{until}，从未有数据源提供过此处（经度 {x}，纬度 {y}）的影像；已查询：{sources}。"
    "请检查边界位置是否正确（坐标应先经度后纬度）、数据源的这些影像集是否覆盖此处，"
    "以及 [source] since 是否晚于其影像。",
)
NO_GROUND = (
    "Imagery of the site is not what is missing: make sure that scenes reach some kilometres beyond it, or name "
    "control ground where nothing is restored ([registry] controls); it is selected again after the outline is edited.",
    "缺的不是地块本身的影像：请确认影像覆盖地块周围数公里，或指定未实施修复的对照地块（[registry] controls）；"
    "修改边界后将重新选取。",
)
TOO_SMALL = (
    "Imagery is not what is missing: join it with neighbours of the same start and kind into a site of at least ten "
    "pixels.",
    "缺的不是影像：请与开工时间和措施相同的相邻地块合并，使其达到十个像元以上。",
)
OTHER_SEASON = (
    "Clear scenes are not what is missing: name the biome whose growing season fits; karst and southwest_mountain are "
    "judged all year round.",
    "缺的不是无云影像：请改填生长季相符的生物群系（karst 与 southwest_mountain 全年评价）。",
)
NO_SEASON = (
    "Clear scenes are not what is missing: name control ground that shows the seasons ([registry] controls), or "
    "correct the column of the control.",
    "缺的不是无云影像：请指定能看出季节变化的对照地块（[registry] controls），或更正对照地块一列。",
)
WRONG_OFFSET = (
    "Clear scenes are not what is missing: correct the offset and scale that the collection states (Sentinel-2 adds "
    "1,000 from processing baseline 04.00 on: offset -0.1), for files of your own by 'regrowth source index --offset', "
    "or name another collection in [source]; then fetch the history again (regrowth backfill --replace).",
    "缺的不是无云影像：请更正影像集所标注的偏移量和比例系数（Sentinel-2 自处理基线 04.00 起加 1000，即偏移量 -0.1；"
    "自有文件用 regrowth source index --offset），或在 [source] 中改用其他影像集，然后重新获取历史影像"
    "（regrowth backfill --replace）。",
)
REJECTED_RADIOMETRY = (
    "Rejected with the reason RADIOMETRY: {count} of {scenes} scenes (observations.csv).",
    "共 {scenes} 景影像中有 {count} 景以 RADIOMETRY 为由未采用（见 observations.csv）。",
)
SEEN = ("Seen in {scenes} clear scenes, the last of {day}.", "依据 {scenes} 景无云影像，最近一景为{day}。")
"""Basis of a verdict, where no reason is worth a sentence."""
NO_PLAN = {
    Status.ON_TRACK: ("No loss is seen.", "未见损失。"),
    Status.UNDECIDED: (
        "Undecided: not yet clear whether vegetation has been lost.",
        "尚无定论：目前还不能说植被是否受损。",
    ),
    Status.FAILING: ("Vegetation has been lost.", "植被已有损失。"),
}
IN_PART = (
    ("A large part is not taking hold.", "地块有较大面积未见成效。"),
    ("It clears once about 70% of the site shows regrowth.", "约 70% 以上面积见到恢复后，警报解除。"),
    (
        "Check the patches on the map: did plants survive, is there grazing or water damage?",
        "请实地核查地图所示斑块：苗木是否成活，有无放牧或水毁。",
    ),
)
"""Headline, what clears it, and what to look for, of a site that fails in part although its mean may be fine."""
WATCHED_WRONGLY = 0.02
"""Largest share of sites with just half of their plan (which is not failing) that are ever watched or red in six years
of nightly runs; of sites on plan fewer than one in a hundred are. Measured on simulated sites:
benchmarks/results/verdict.md. [1]"""
EARLY_NEWS = (
    "A watch is early news without a guarantee: of simulated sites that reach half of their plan up to {rate:.0%} are "
    "watched wrongly within six years, of those on plan hardly any.",
    "“关注”属早期消息，不作保证：在模拟检验中，达到规划一半的地块六年内至多 {rate:.0%} 被误报关注，"
    "按规划生长的几乎没有。",
)
LOST_WRONGLY = 0.03
"""Rate at which a loss is named at sites that lost nothing, watched or red. Measured on simulated sites at half of
their plan and all of it, .02 to .04 by plan: benchmarks/results/verdict.md; more where ground drifts. [1/year]"""
RED_BY_LOSS_WRONGLY = 0.04
"""Largest share of sites that lost nothing and are ever red by a sudden loss in ten years at the usual budget, see
`Calibration.disturbance_red`. [1]"""
LOSS_SURE = 0.8
"""Probability from which a loss is stated outright; red needs no less, see ``Calibration.disturbance_red``. [1]"""
LOSS_WATCHED = (
    "A sudden loss is watched, not red, until it is as probable as the false-alarm budget of the site demands, while "
    "the site is measured above half of its plan (where nothing is promised, as before the work), and "
    "while it is too early to judge the site, as ground is often cleared for planting. Of simulated sites that lost "
    "nothing about {rate:.0%} a year are watched wrongly, and more where the ground is restless.",
    "植被突然受损的概率未达到地块误报预算所要求的程度，或实测仍超过规划的一半（无承诺增量的，与开工前持平），或地块尚早、常为整地造林时，"
    "只列为“关注”而不发红色警报：在模拟检验中，未受损的地块每年约有 {rate:.0%} 被误报关注，本身波动大的地块更多。",
)
LOSS_NEWS = (
    "At the usual false-alarm budget up to {rate:.0%} of simulated sites that lost nothing are red by a sudden loss "
    "within ten years, and more where the ground is restless.",
    "按通常的误报预算，在模拟检验中未受损的地块十年内至多 {rate:.0%} 因植被突然受损被误报为红色，"
    "本身波动大的地块更多。",
)
FAILING_SHARE = 0.25
"""Share of the plan from which a mean is not failing. [1]"""
NEW_EPISODE = (
    "Episode {number}: work restarted on {start}, and only growth since then is judged.",
    "本期为第 {number} 期：{start}重新开工，只评价此后的生长。",
)
ON_TRACK_SHARE = 0.7
"""Share of the plan from which a site is on track. [1]"""
LEADING = (
    Reason.START_IN_FUTURE, Reason.FEW_PIXELS, Reason.CONTROL_FEW, Reason.RADIOMETRY, Reason.NO_CONTROL,
    Reason.CONTROL_CONSTANT, Reason.SEASON_ELSEWHERE, Reason.FEW_SCENES, Reason.DATA_OLD, Reason.INTERVAL_WIDE,
    Reason.DROUGHT_DIEBACK, Reason.FIRE, Reason.EVIDENCE_LOWER, Reason.EROSION_COVER_LOW, Reason.MEASURED_HIGHER,
    Reason.MEASURED_LOWER, Reason.INDEX_DISAGREE, Reason.SPATIAL_PATCH, Reason.NEG_UPLIFT, Reason.RAIN_LOW,
    Reason.DROUGHT, Reason.CONTROL_POOR, Reason.NO_PRE_SEASONS, Reason.NO_PLAN, Reason.UNCERTAIN,
)  # fmt: skip
"""Reasons worth a sentence, the most important first; the others are in the headline."""


def explain(assessment: Assessment, site: Site, *, language: str = "en", brief: bool = False) -> list[str]:
    """Explain a verdict and what would change it.

    Parameters
    ----------
    assessment : Assessment
    site : Site, site of the assessment
    language : str, ``zh`` for Chinese; anything else is English
    brief : bool
        Without share, intervals, the measurement of an undecided site, which could be read as an answer, and
        what to look for on the ground: number and steps stand beside it.

    Returns
    -------
    list of str
        Three or four sentences: the verdict, the measurement, the most important reason, what would clear it; one more
        in a later episode, and for an alert by erosion where dry matter protects the soil too.
    """
    a, pick, promised = assessment, int(language == "zh"), site.plan.A > 0
    headline = HEADLINE[a.status] if promised else NO_PLAN.get(a.status, HEADLINE[a.status])
    in_part = Reason.SPATIAL_PATCH.value in a.reasons and a.theta is not None and a.theta > FAILING_SHARE
    in_part = in_part and a.status is Status.FAILING and a.alert is not AlertLevel.RED
    sentences = [IN_PART[0][pick] if in_part else headline[pick]]
    if a.status is Status.DISTURBED:
        sure = a.probability is not None and a.probability >= LOSS_SURE
        plain, dated = (HEADLINE[a.status], LOSS_DATED) if sure else (MAYBE_LOST, MAYBE_LOST_DATED)
        sentences = [plain[pick]]
        if a.loss_on is not None:
            confirmed = "" if a.loss_confirmed_on is None else day_in_words(a.loss_confirmed_on, language)
            sentences = [dated[pick].format(when=lost_when(a, language=language), confirmed=confirmed)]
        sentences += loss_ground(a, language=language, brief=brief)
    if a.alert is AlertLevel.WATCH and a.alert_rule == "failure" and a.status is not Status.FAILING:
        sentences[0] += "（早期预警：可能未见效。）" if pick else " Early warning: it may not be taking hold."
    # of an undecided site it could be read as an answer; after a loss it would blend what was before and since
    hidden = a.status is Status.DISTURBED or (brief and a.status is Status.UNDECIDED)
    if not hidden and (measured := _measured(a, promised=promised, chinese=bool(pick), brief=brief)):
        sentences.append(measured)
    main_reason = next((reason for reason in LEADING if reason.value in a.reasons), None)
    if a.status is not Status.DISTURBED and a.loss_on is not None and a.loss_confirmed_on is not None:
        dated = LOSS_DATED if a.alert is AlertLevel.RED and a.alert_rule == "disturbance" else MAYBE_LOST_DATED
        confirmed = day_in_words(a.loss_confirmed_on, language)
        sentences.append(dated[pick].format(when=lost_when(a, language=language), confirmed=confirmed))
    elif main_reason is Reason.SPATIAL_PATCH:
        sentences.append(_patches(a, chinese=bool(pick), brief=brief))
    elif main_reason is not None:
        sentences.append(sentence(main_reason.value, language))
    elif a.last_observed is not None:
        sentences.append(SEEN[pick].format(scenes=a.n_scenes, day=day_in_words(a.last_observed, language)))
    if Reason.DRY_MATTER.value in a.reasons and a.alert_rule == "erosion":
        sentences.append(sentence(Reason.DRY_MATTER.value, language))
    if a.n_scenes == 0 and a.status is Status.INSUFFICIENT_DATA:
        missing = {Reason.FEW_PIXELS: TOO_SMALL, Reason.CONTROL_FEW: NO_GROUND, Reason.RADIOMETRY: WRONG_OFFSET}
        why = next((advice for reason, advice in missing.items() if reason.value in a.reasons), NOT_COVERED)
        sentences.append(why[pick])
    elif Reason.CONTROL_FEW.value in a.reasons and a.alert is AlertLevel.NONE:
        sentences.append(NO_GROUND[pick])
    elif Reason.RADIOMETRY.value in a.reasons and a.alert is AlertLevel.NONE:
        sentences.append(WRONG_OFFSET[pick])
    elif Reason.SEASON_ELSEWHERE.value in a.reasons:
        sentences.append(OTHER_SEASON[pick])
    elif Reason.CONTROL_CONSTANT.value in a.reasons:
        sentences.append(NO_SEASON[pick])
    elif a.status in CLEARS and Reason.START_IN_FUTURE.value not in a.reasons:
        years = site.plan.too_early_years
        later, month = divmod(site.start.month - 1 + round(years * 12), 12)
        due = month_in_words(site.start.year + later, month + 1, language)
        clears = IN_PART[1] if in_part else CLEARS[a.status]
        clears = clears if promised else CLEARS_NO_PLAN.get(a.status, clears)
        check = ""
        if a.status in CHECKS and not brief:
            check = (IN_PART[2] if in_part else CHECKS[a.status if promised else Status.DISTURBED])[pick]
            check += "" if pick else " "
        sentences.append(check + clears[pick].format(years=years, due=due, share=ON_TRACK_SHARE))
    if a.episode > 1:
        sentences.append(NEW_EPISODE[pick].format(number=a.episode, start=day_in_words(site.start, language)))
    return sentences


def measured_difference(assessment: Assessment, *, language: str = "en", brief: bool = False) -> list[str]:
    """The measured difference in points of cover, or what is lost without it. Shown after :func:`explain`.

    Parameters
    ----------
    assessment : Assessment
    language : str, ``zh`` for Chinese; anything else is English
    brief : bool
        Without that of an undecided site, which could be read as an answer, unless it is why the site is undecided.

    Returns
    -------
    list of str
        No or one sentence. After a sudden loss: before and after it.
    """
    a, pick = assessment, int(language == "zh")
    if a.status is Status.INSUFFICIENT_DATA:
        return []
    if a.loss_on is not None and a.loss_from is not None and a.loss_to is not None:
        before, after = (_signed(round(100 * value)) for value in (a.loss_from, a.loss_to))
        return [BEFORE_AND_AFTER[pick].format(before=before, after=after)]
    now, last = (a.measured, a.measured_se, SEASON_TO_DATE), (a.measured_season, a.measured_season_se, LAST_SEASON)
    between = a.measured == a.measured_season  # no season is on
    seasons = []
    for value, se, words in (last,) if between else (now, last):
        if value is not None and se is not None:
            points, near = round(100 * abs(value)), round(100 * se)
            level = (LEVEL if not points else HIGHER if value > 0 else LOWER)[pick]
            unit = f"{points} point{'' if points == 1 else 's'}"
            seasons.append(words[pick].format(level=level.format(points=points if pick else unit, se=near)))
    if not seasons:
        return [NOT_MEASURED[pick]] if Reason.NO_PRE_SEASONS.value in a.reasons else []
    disagree = {Reason.MEASURED_HIGHER.value, Reason.MEASURED_LOWER.value} & set(a.reasons)
    if a.status is Status.TOO_EARLY or (brief and a.status is Status.UNDECIDED and not disagree):
        return []
    return [MEASURED[pick].format(seasons=("，" if pick else " and ").join(seasons))]


def probabilities(assessment: Assessment, *, language: str = "en") -> list[str]:
    """Probability of each answer. Shown after :func:`explain`.

    Parameters
    ----------
    assessment : Assessment
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    list of str
        One sentence; empty where growth is not judged.
    """
    a = assessment
    judged = a.status not in (Status.INSUFFICIENT_DATA, Status.TOO_EARLY)
    if not judged or a.p_failing is None or a.p_lagging is None or a.p_on_track is None:
        return []
    return [
        CHANCES[language == "zh"].format(
            **_whole_percents(a.p_failing, a.p_lagging, a.p_on_track, chinese=language == "zh")
        )
    ]


def _whole_percents(failing: float, lagging: float, on_track: float, *, chinese: bool = False) -> dict[str, str]:
    """Three probabilities in whole percent that sum to 100, by largest remainder; none is certain.

    >>> _whole_percents(0.335, 0.335, 0.33), _whole_percents(0.999, 0.001, 0.0)["failing"]
    ({'failing': '34%', 'lagging': '33%', 'on_track': '33%'}, 'over 99%')
    """
    exact = {"failing": 100 * failing, "lagging": 100 * lagging, "on_track": 100 * on_track}
    whole = {name: int(value) for name, value in exact.items()}
    short = 100 - sum(whole.values())
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[:short]:
        whole[name] += 1
    ends = {0: "低于 1%" if chinese else "under 1%", 100: "超过 99%" if chinese else "over 99%"}
    return {name: ends.get(value, f"{value}%") for name, value in whole.items()}


def promised_in_field(assessment: Assessment, site: Site, *, language: str = "en") -> list[str]:
    """How a promise of field cover was converted, and what other factors would give.

    Parameters
    ----------
    assessment : Assessment
    site : Site, site of the assessment
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    list of str
        Sentences; empty for a promise of index cover.
    """
    a, factor, pick = assessment, biome_of(site).field_factor, int(language == "zh")
    if site.plan.cover == "index" or factor is None:
        return []

    def shares(low: float, high: float) -> str:
        if a.theta is None or a.status is Status.INSUFFICIENT_DATA:
            return ""
        ends = sorted(a.theta * site.plan.factor / end for end in (low, high))
        return SHARES_THEN[pick].format(low=_percent(ends[0]), high=_percent(ends[1]))

    sentences = [
        FIELD_PLAN[pick].format(
            factor=site.plan.factor, low=factor.low, high=factor.high, shares=shares(factor.low, factor.high)
        )
    ]
    if a.field_factor_rows and a.field_factor_low and a.field_factor and a.field_factor_high:
        sentences.append(
            LOCAL_FACTOR[pick].format(
                rows=a.field_factor_rows, factor=a.field_factor, low=a.field_factor_low, high=a.field_factor_high,
                shares=shares(a.field_factor_low, a.field_factor_high),
            )
        )  # fmt: skip
    return sentences


def never_offered(site: Site, *, sources: str, until: date, language: str = "en") -> str:
    """Explain that no source has ever had a scene of a site, and the likely causes.

    Parameters
    ----------
    site : Site
    sources : str, sources that were searched: kind, collections and first day
    until : date, last day of the search
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    str
        Some sentences.
    """
    place = site.geometry.centroid
    x, y = (f"{value:.4f}".replace("-", "−") for value in (place.x, place.y))
    return NEVER_OFFERED[int(language == "zh")].format(x=x, y=y, sources=sources, until=day_in_words(until, language))


def lost_when(a: Assessment, *, language: str = "en") -> str:
    """When a confirmed loss came, as a part of a sentence.

    Parameters
    ----------
    a : Assessment
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    str
    """
    when = LOST_SINCE if a.loss_after is None else LOST_BETWEEN
    after, shows = ("" if day is None else day_in_words(day, language) for day in (a.loss_after, a.loss_on))
    return when[language == "zh"].format(after=after, shows=shows)


def loss_ground(a: Assessment, *, language: str = "en", brief: bool = False) -> list[str]:
    """How many hectares were lost, and whether neighbours lost cover too, as far as known.

    Parameters
    ----------
    a : Assessment
    language : str, ``zh`` for Chinese; anything else is English
    brief : bool, without intervals

    Returns
    -------
    list of str
        No, one or two sentences.
    """
    pick, sentences = int(language == "zh"), []
    if None not in (areas := (a.hectares_lost, a.hectares_lost_low, a.hectares_lost_high, a.hectares)):
        lost, low, high, whole = _areas(areas, mu=bool(pick))
        interval = "" if brief else f"（{low} 至 {high}）" if pick else f" ({low} to {high})"
        sentences.append(LOST_AREA[pick].format(lost=lost, whole=whole, interval=interval))
    if Reason.NEIGHBOURS_LOST.value in a.reasons and a.neighbours_lost is not None:
        sentences.append(LOST_TOGETHER[pick].format(together=a.neighbours_lost, neighbours=a.neighbours))
    return sentences


def false_alarm_rate(assessment: Assessment, *, language: str = "en") -> list[str]:
    """How often such an alert is false. Shown after :func:`explain`.

    Parameters
    ----------
    assessment : Assessment
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    list of str
        One sentence; empty where the alert is guarded, and where the rate was not measured: failure without a promise.
    """
    if assessment.alert_rule == "failure" and Reason.NO_PLAN.value in assessment.reasons:
        return []
    news = {
        (AlertLevel.WATCH, "failure"): EARLY_NEWS[language == "zh"].format(rate=WATCHED_WRONGLY),
        (AlertLevel.WATCH, "disturbance"): LOSS_WATCHED[language == "zh"].format(rate=LOST_WRONGLY),
        (AlertLevel.RED, "disturbance"): LOSS_NEWS[language == "zh"].format(rate=RED_BY_LOSS_WRONGLY),
    }
    return [text for key, text in news.items() if key == (assessment.alert, assessment.alert_rule)]


def _measured(a: Assessment, *, promised: bool, chinese: bool, brief: bool) -> str | None:
    """The measurement in points of cover and as a share of the plan; None where there is none."""
    if a.status in (Status.INSUFFICIENT_DATA, Status.TOO_EARLY):
        return None
    if a.uplift is None or a.uplift_low is None or a.uplift_high is None:
        return None
    rise, low, high = (round(100 * v) for v in (a.uplift, a.uplift_low, a.uplift_high))
    if not promised:
        span = f"{_signed(low)} {'至' if chinese else 'to'} {_signed(high)}"
        span = "" if brief else f"（{span}）" if chinese else f" ({span})"
        if chinese:
            changed = f"变化 {_signed(rise)} 个百分点" if rise else "没有变化"
            return f"植被覆盖度相对对照地块{changed}{span}。"
        points = "point" if abs(rise) == 1 else "points"
        changed = f"Cover changed by {_signed(rise)} {points}" if rise else "Cover did not change"
        return f"{changed} against the control ground{span}."
    if a.theta is None or a.theta_low is None or a.theta_high is None or not a.expected:
        return None
    due, (left, right) = round(100 * a.expected), (_percent(a.theta_low), _percent(a.theta_high))
    interval = f"（95% 区间 {left} 至 {right}）" if chinese else f" (95% interval {left} to {right})"
    if chinese:
        level = f"{'多' if rise > 0 else '少'} {abs(rise)} 个" if rise else "持平"
        share = "" if brief else f"，完成 {_percent(a.theta)}{interval}"
        return (
            f"按规划，生长季高峰时植被应比旁边的对照地多{f' {due}' if due else '不到 1'} 个百分点，估计{level}{share}。"
        )
    points = "1 point" if abs(rise) == 1 else f"{abs(rise)} points"
    level = f"{points} {'above' if rise > 0 else 'below'}" if rise else "level with"
    more = "" if rise else " point more" if due <= 1 else " points more"
    share = "" if brief else f": {_percent(a.theta)} of it{interval}"
    return (
        f"At the height of the season cover is estimated {level} its control ground; "
        f"the plan expected {due or 'under 1'}{more}{share}."
    )


def _areas(areas: Sequence[float | None], *, mu: bool = False) -> list[str]:
    """Areas of a part of a site and, last, of the whole, by which they are rounded, in hectares or in mu. [ha]

    >>> _areas([2512.3, 2000.0, 3000.0, 10_000.0]), _areas([4.81, 12.0]), _areas([0.16, 0.54])
    (['2,512', '2,000', '3,000', '10,000'], ['4.8', '12.0'], ['0.16', '0.54'])
    """
    times = 15 if mu else 1  # mu in a hectare
    whole = times * (areas[-1] or 0.0)
    decimals = 0 if whole >= 1000 else 1 if whole >= 10 else 2
    return [f"{times * value:,.{decimals}f}" for value in areas if value is not None]


def _signed(points: int) -> str:
    return f"{points:+d}".replace("-", "−") if points else "0"


def _percent(share: float) -> str:
    return f"{share:z.0%}".replace("-", "−")


def _patches(a: Assessment, *, chinese: bool, brief: bool) -> str:
    """Area of the site that lacks regrowth."""
    areas = (a.hectares_failing, a.hectares_failing_low, a.hectares_failing_high, a.hectares)
    if any(value is None for value in areas):
        return sentence(Reason.SPATIAL_PATCH.value, "zh" if chinese else "en")
    failing, low, high, whole = _areas(areas, mu=chinese)
    interval = "" if brief else f"（{low} 至 {high}）" if chinese else f" ({low} to {high})"
    if chinese:
        return f"{whole} 亩中约有 {failing} 亩{interval}未见成效，位置见地图。"
    return f"Regrowth is absent on about {failing} of {whole} hectares{interval}: the map shows where."
