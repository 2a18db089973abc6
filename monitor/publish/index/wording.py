"""Words of the pages of the whole programme that are looked up by code, in English and Chinese."""

from typing import Final

OUTCOMES: Final = {
    "done": {"en": "All done", "zh": "全部完成"},
    "failed": {"en": "Some sites failed", "zh": "部分地块失败"},
    "deferred": {"en": "Some sites were deferred", "zh": "部分地块推迟"},
    "waits": {"en": "Done; messages wait", "zh": "已完成，有消息待发"},
    "correct": {"en": "Done; something must be corrected", "zh": "已完成，有内容须更正"},
    "all_failed": {"en": "Failed", "zh": "失败"},
    "data": {"en": "Stopped: bad data", "zh": "中止：数据有误"},
    "bug": {"en": "Stopped by a program error", "zh": "因程序错误中止"},
    "later": {"en": "Deferred to the next night", "zh": "推迟到下一次"},
    "configuration": {"en": "Stopped: the settings are wrong", "zh": "中止：配置有误"},
    "killed": {"en": "Killed", "zh": "被强行终止"},
    "stopped": {"en": "Stopped from outside", "zh": "被外部中止"},
    "trace": {"en": "Ended without saying why", "zh": "未留下原因即结束"},
}
"""How a night ended, see :attr:`monitor.publish.index.history.Night.outcome`."""
PROBLEM_STATES: Final = {
    "failed": {"en": "Failed", "zh": "失败"},
    "deferred": {"en": "Deferred", "zh": "推迟"},
    "correct": {"en": "To be corrected", "zh": "须更正"},
}
"""See :attr:`monitor.publish.index.history.Problem.state`."""
ALERT_STATES: Final = {
    "open": {"en": "", "zh": ""},
    "acknowledged": {"en": "acknowledged", "zh": "已确认"},
    "snoozed": {"en": "snoozed", "zh": "已暂缓"},
    "resolved": {"en": "answered: {answer}", "zh": "已答复：{answer}"},
    "unreviewed": {"en": "answered, unreviewed: {answer}", "zh": "已答复，待复核：{answer}"},
    "still": {"en": "still open, nothing new seen", "zh": "仍未解除，暂无新证据"},
    "held": {"en": "still open, by the promise before", "zh": "仍未解除，按原承诺判断"},
}
"""State of an alert; ``still``: it is open although the newest verdict shows none, ``held``: its cause is judged by an
earlier promise."""
DAYS_OPEN: Final = {
    None: {"en": "", "zh": ""},
    0: {"en": "new", "zh": "新"},
    1: {"en": "1 day open", "zh": "已 1 天"},
    2: {"en": "{n} days open", "zh": "已 {n} 天"},
}
"""How long an alert is open, by its days; 2: that or more, None: unknown."""
FINDINGS: Final = {
    "share": {"en": "{theta} of plan, {low} to {high}", "zh": "完成规划的 {theta}（{low} 至 {high}）"},
    "most": {"en": "at most {high} of plan", "zh": "至多完成规划的 {high}"},
    "nothing": {"en": "nothing of the plan", "zh": "规划增量尚未出现"},
    "loss": {"en": "{before} → {after} points since {day}", "zh": "{day}起 {before} → {after} 个百分点"},
    "seen": {"en": "last seen {day}", "zh": "最近一次看清：{day}"},
    "unseen": {"en": "never seen", "zh": "从未看清"},
    "begun": {"en": "begun {month}", "zh": "{month}开工"},
}
"""Finding about a site beside its status, see :attr:`monitor.publish.index.programme_view.SiteRow.finding`."""
FINDING_MARKS: Final = {"en": "; ", "zh": "；"}  # between two findings
SORT_KEYS: Final = {
    "status": {"en": "Worst first", "zh": "最差在前"},
    "name": {"en": "Name", "zh": "名称"},
    "theta": {"en": "Share of plan", "zh": "完成比例"},
    "hectares": {"en": "Hectares", "zh": "公顷"},
    "seen": {"en": "Last seen", "zh": "最近观测"},
}
"""Columns by which the list of sites is sorted."""
FILTERS: Final = {
    "status": {"en": "Status", "zh": "状态"},
    "alert": {"en": "Alert", "zh": "警报"},
    "province": {"en": "Province", "zh": "省份"},
    "partner": {"en": "Partner", "zh": "实施单位"},
    "lot": {"en": "Lot", "zh": "批次"},
    "manager": {"en": "Manager", "zh": "负责人"},
}
"""Columns by which the list of sites is filtered."""
SCRIPT_WORDS: Final = {
    "order": {"en": "Sort by", "zh": "排序"},
    "any": {"en": "All", "zh": "全部"},
    "any_status": {"en": "All statuses", "zh": "全部状态"},
    "unknown": {"en": "Not stated", "zh": "未登记"},
    "shown": {"en": "{n} of {all} sites", "zh": "共 {all} 个地块，符合条件 {n} 个"},
    "more": {"en": "Show {n} more", "zh": "再显示 {n} 个"},
    "zoom_in": {"en": "Zoom in", "zh": "放大"},
    "zoom_out": {"en": "Zoom out", "zh": "缩小"},
    "colon": {"en": ": ", "zh": "："},
    "comma": {"en": ", ", "zh": "，"},
    "area": {"en": "{n} ha", "zh": "{n} 亩"},
}
"""Words that the script of the index writes."""
LOST: Final = {
    "known": {
        "en": "lost what it had grown ({day}, confirmed {confirmed})",
        "zh": "植被突然受损（{day}，{confirmed}证实）",
    },
    "unknown": {"en": "lost what it had grown", "zh": "植被突然受损"},
}
"""Event at a site whose status has become ``disturbed``."""
