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

EVENTS: Final = {
    "opened": {"en": "new", "zh": "新出现"},
    "worsened": {"en": "worse", "zh": "升级"},
    "reopened": {"en": "again", "zh": "再次出现"},
    "resolved": {"en": "resolved", "zh": "已解除"},
    "answered": {"en": "answered", "zh": "已答复"},
}
"""What happened to an alert."""

ALERT_STATES: Final = {
    "acknowledged": {"en": "acknowledged", "zh": "已确认"},
    "snoozed": {"en": "snoozed", "zh": "已暂缓"},
    "resolved": {"en": "answered: {answer}", "zh": "已答复：{answer}"},
    "still": {"en": "still open, nothing new seen", "zh": "仍未解除，暂无新证据"},
    "held": {"en": "still open, by the promise before", "zh": "仍未解除，按原承诺判断"},
}
"""State of an alert beside its cause; ``still``: it is open although the newest verdict shows none, ``held``: its cause
is judged by an earlier promise."""

SORT_KEYS: Final = {
    "status": {"en": "Worst first", "zh": "最差在前"},
    "name": {"en": "Name", "zh": "名称"},
    "theta": {"en": "Share of plan", "zh": "完成比例"},
    "uplift": {"en": "Uplift", "zh": "增量"},
    "probability": {"en": "Probability", "zh": "概率"},
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
"""What the list of sites is filtered by."""

SCRIPT_WORDS: Final = {
    "order": {"en": "Sort by", "zh": "排序"},
    "any": {"en": "All", "zh": "全部"},
    "unknown": {"en": "Not stated", "zh": "未登记"},
    "never": {"en": "never", "zh": "从未"},
    "ago": {"en": "{n} days ago", "zh": "{n} 天前"},
    "ago_1": {"en": "1 day ago", "zh": "1 天前"},
    "shown": {"en": "{n} of {all} sites", "zh": "共 {all} 个地块，符合条件 {n} 个"},
    "more": {"en": "Show {n} more", "zh": "再显示 {n} 个"},
    "over": {"en": "over 99%", "zh": "超过 99%"},
    "under": {"en": "under 1%", "zh": "低于 1%"},
    "to": {"en": " to ", "zh": " 至 "},
    "confirmed": {"en": "uplift confirmed {day}", "zh": "增量证实于 {day}"},
    "zoom_in": {"en": "Zoom in", "zh": "放大"},
    "zoom_out": {"en": "Zoom out", "zh": "缩小"},
    "colon": {"en": ": ", "zh": "："},
    "comma": {"en": ", ", "zh": "，"},
}
"""What the script of the index writes."""
