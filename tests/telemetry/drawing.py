"""The board as a page: each panel in its place of the grid, in its unit and colours, with what its queries gave."""

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from tests.telemetry.monitoring import Panel

ROW_PIXELS, COLUMN_PIXELS = 32, 58
LEGEND_LINES = 3
PALETTE = ("#56a64b", "#e0b400", "#3274d9", "#e02f44", "#ff780a", "#8f3bb8", "#37872d", "#1f60c4", "#fa6400", "#c4162a")
COLOURS = {
    **{"green": "#56a64b", "super-light-green": "#96d98d", "yellow": "#e0b400", "orange": "#ff780a", "red": "#e02f44"},
    **{"dark-red": "#ad0317", "blue": "#3274d9", "light-blue": "#8ab8ff", "purple": "#8f3bb8", "text": "#464c54"},
}
"""Grafana's names of colours, by those of its light theme."""

STYLE = """
* { box-sizing: border-box; margin: 0 }
body { background: #f4f5f5; width: 1404px; color: #24292e; font: 12px Inter, "DejaVu Sans", sans-serif }
h1 { font-size: 17px; font-weight: 600; padding: 12px 12px 2px }
h2 { font-size: 14px; font-weight: 600; padding: 9px 6px }
h3 { font-size: 12px; font-weight: 600; white-space: nowrap }
p { color: #6a7078; padding: 0 12px 4px }
#board { position: relative; margin: 6px }
.panel { position: absolute; padding: 3px }
.panel > div { background: #fff; border: 1px solid #d8dbdf; border-radius: 3px; height: 100%; padding: 6px 9px }
.panel > div { overflow: hidden; position: relative }
.panel > .solid { border: 0; color: #fff }
.big { font-size: 25px; font-weight: 600; white-space: nowrap; z-index: 1; position: absolute; inset: 0 }
.big { display: flex; align-items: center; justify-content: center }
.legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(175px, 1fr)); gap: 0 14px; font-size: 11px }
.legend { position: absolute; bottom: 5px; left: 9px; right: 9px }
.legend div, .bar { display: flex; gap: 5px; white-space: nowrap }
.legend i { width: 10px; height: 3px; margin-top: 6px; flex: none }
.legend b, .bar b { font-weight: 500; margin-left: auto }
.legend span, .bar span { overflow: hidden; text-overflow: ellipsis }
.bar { padding-top: 6px; font-size: 11px } .bar span { width: 44% } .bar em { height: 13px }
svg { position: absolute } svg text { font-size: 10px; fill: #6a7078 }
"""


class Line(NamedTuple):
    """What one line is called, and its values at the steps of the time shown; None where there is none."""

    name: str
    values: list[float | None]


def in_unit(value: float, unit: str) -> str:
    """Give a number as a panel of this unit shows it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for size, name in ((86_400 * 7, "weeks"), (86_400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0 s"
    number = f"{value / 1000:.3g} K" if abs(value) >= 1000 else f"{value:.3g}"
    return number + {"reqps": " req/s", "ops": " ops/s"}.get(unit, "")


def page(title: str, note: str, panels: Iterable[Panel], found: dict[int, list[Line]], seconds: float) -> str:
    """Give the whole board, from the lines that each panel's id has."""
    placed, bottom = [], 0
    for panel in panels:
        x, y, width, height = panel.place
        bottom = max(bottom, y + height)
        box = f"left:{x * COLUMN_PIXELS}px;top:{y * ROW_PIXELS}px;"
        box += f"width:{width * COLUMN_PIXELS}px;height:{height * ROW_PIXELS}px"
        inner = f"<h2>▾ {html.escape(panel.title)}</h2>"
        if panel.kind != "row":
            inner = _draw(panel, found[panel.described["id"]], seconds, width * COLUMN_PIXELS - 26, height * ROW_PIXELS)
        placed.append(f'<div class="panel" style="{box}">{inner}</div>')
    size = f"height:{bottom * ROW_PIXELS}px;width:{24 * COLUMN_PIXELS}px"
    heading = f"<h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>"
    body = f'{heading}<div id=board style="{size}">{"".join(placed)}</div>'
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{body}"


def _draw(panel: Panel, lines: list[Line], seconds: float, width: int, height: int) -> str:
    if panel.kind == "stat":
        return _stat(panel, lines, width)
    is_bars = panel.kind == "bargauge"
    inner = _bars(panel, lines, width) if is_bars else _chart(panel, lines, seconds, width, height)
    return f"<div><h3>{html.escape(panel.title)}</h3>{inner}</div>"


def _stat(panel: Panel, lines: list[Line], width: int) -> str:
    values = [value for value in lines[0].values if value is not None] if lines else []
    colour, text, area = COLOURS["text"], "-", ""
    if values:
        colour, text = _by_threshold(panel, values[-1]), in_unit(values[-1], panel.defaults["unit"])
        for mapping in panel.defaults["mappings"]:
            shown = mapping["options"].get(f"{values[-1]:g}")
            if shown:
                text, colour = shown["text"], COLOURS[shown["color"]]
    solid = panel.described["options"]["colorMode"] == "background_solid"
    if panel.described["options"]["graphMode"] == "area" and len(values) > 1:
        points = _points(values, width + 18, 42, max(values) or 1)
        inner_area = _area(points, [(x, 42.0) for x, _ in points], colour)
        area = f'<svg style="left:0;bottom:0" width={width + 18} height=42>{inner_area}</svg>'
    style, inner = (f"background:{colour}", "inherit") if solid else ("", colour)
    return (
        f'<div class="{"solid" if solid else ""}" style="{style}"><h3>{html.escape(panel.title)}</h3>'
        f'<div class=big style="color:{inner}">{text}</div>{area}</div>'
    )


def _bars(panel: Panel, lines: list[Line], width: int) -> str:
    shown = [(line.name, line.values[-1] or 0.0) for line in lines if line.values]
    most = max((value for _, value in shown), default=0) or 1
    colour = COLOURS[panel.defaults["color"]["fixedColor"]]
    return "".join(
        f"<div class=bar><span>{html.escape(name)}</span>"
        f'<em style="background:{colour};width:{max(2, value / most * width * 0.34):.0f}px"></em>'
        f"<b>{in_unit(value, panel.defaults['unit'])}</b></div>"
        for name, value in shown
    )


def _chart(panel: Panel, lines: list[Line], seconds: float, width: int, height: int) -> str:
    custom, unit = panel.defaults["custom"], panel.defaults["unit"]
    lines = [line for line in lines if any(value is not None for value in line.values)]
    named = {
        rule["matcher"]["options"]: COLOURS[rule["properties"][0]["value"]["fixedColor"]]
        for rule in panel.described["fieldConfig"]["overrides"]
    }
    free = (colour for colour in PALETTE * 4 if colour not in named.values())
    colours = {line.name: named.get(line.name) or next(free) for line in lines}
    columns = max(1, width // 185)
    legend_height = 15 * min(LEGEND_LINES, math.ceil(len(lines) / columns)) + 6
    left, plot_width, plot_height = 62, width - 62, height - 66 - legend_height
    stacked = custom["stacking"]["mode"] == "normal"
    logarithmic = custom["scaleDistribution"]["type"] == "log"
    tops, below = [], [0.0] * max((len(line.values) for line in lines), default=0)
    for line in lines:
        values = [0.0 if stacked and value is None else value for value in line.values]
        top = [a if a is None else a + b for a, b in zip(values, below, strict=True)] if stacked else values
        tops.append((line, top, list(below)))
        below = [a or 0.0 for a in top] if stacked else below
    least, most, ticks = _scale([value for _, top, _ in tops for value in top if value is not None], logarithmic)
    drawn = []

    def height_of(value: float) -> float:
        if logarithmic:
            value, low, high = math.log10(max(value, least)), math.log10(least), math.log10(most)
            return plot_height * (1 - (value - low) / (high - low))
        return plot_height * (1 - value / most)

    for tick in ticks:
        y = height_of(tick) + 8
        drawn.append(f'<path d="M{left} {y:.1f}h{plot_width}" stroke="#e4e7e9"/>')
        drawn.append(f"<text x={left - 5} y={y + 3:.1f} text-anchor=end>{in_unit(tick, unit)}</text>")
    for minute in range(int(seconds // 60) + 1):
        x = left + plot_width * minute * 60 / seconds
        drawn.append(f"<text x={x:.1f} y={plot_height + 21} text-anchor=middle>{minute} min</text>")
    for line, top, under in reversed(tops) if stacked else tops:
        step = plot_width / max(1, len(top) - 1)
        for run in _runs(top):
            points = [(left + i * step, height_of(value) + 8) for i, value in run]
            base = [(left + i * step, height_of(under[i]) + 8) for i, _ in run] if stacked else []
            drawn.append(_area(points, base, colours[line.name]))
    if custom["thresholdsStyle"]["mode"] != "off":
        for one in panel.defaults["thresholds"]["steps"]:
            if one["value"] is not None and least <= one["value"] <= most:
                y = height_of(one["value"]) + 8
                drawn.append(
                    f'<path d="M{left} {y:.1f}h{plot_width}" stroke="{COLOURS[one["color"]]}" stroke-dasharray="6 5"/>'
                )
    highest = sorted(((max(filter(None, line.values), default=0.0), line.name) for line in lines), reverse=True)
    shown = {name for _, name in highest[: columns * LEGEND_LINES - (len(lines) > columns * LEGEND_LINES)]}
    legend = "".join(
        f'<div><i style="background:{colours[name]}"></i><span>{html.escape(name)}</span>'
        f"<b>max {in_unit(most, unit)}</b></div>"
        for most, name in highest
        if name in shown
    )
    legend += f"<div>and {len(lines) - len(shown)} more</div>" * (len(shown) < len(lines))
    return f"<svg width={width} height={plot_height + 30}>{''.join(drawn)}</svg><div class=legend>{legend}</div>"


def _scale(values: Sequence[float], logarithmic: bool) -> tuple[float, float, list[float]]:
    """Give the least and the most that is drawn, and where a line of the grid goes."""
    positive = [value for value in values if value > 0]
    if logarithmic and positive:
        low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
        high = max(high, low + 1)
        return 10.0**low, 10.0**high, [10.0**power for power in range(low, high + 1)]
    most = max(positive, default=1.0)
    size = 10 ** math.floor(math.log10(most))
    step = next(part * size for part in (0.2, 0.5, 1, 2, 5) if most / (part * size) <= 5)
    count = math.ceil(most / step - 1e-9)
    return 0.0, step * count, [step * i for i in range(count + 1)]


def _points(values: Sequence[float], width: float, height: float, most: float) -> list[tuple[float, float]]:
    step = width / max(1, len(values) - 1)
    return [(i * step, height * (1 - value / most * 0.9)) for i, value in enumerate(values)]


def _area(points: list[tuple[float, float]], base: list[tuple[float, float]], colour: str) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    under = " ".join(f"{x:.1f},{y:.1f}" for x, y in reversed(base))
    filled = f'<polygon points="{line} {under}" fill="{colour}" fill-opacity=".35"/>' if base else ""
    return f'{filled}<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.4"/>'


def _runs(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """Give the parts of a line that have no hole."""
    for is_hole, run in groupby(enumerate(values), lambda numbered: numbered[1] is None):
        if not is_hole:
            yield [(i, value) for i, value in run if value is not None]


def _by_threshold(panel: Panel, value: float) -> str:
    passed = [one for one in panel.defaults["thresholds"]["steps"] if one["value"] is None or one["value"] <= value]
    return COLOURS[passed[-1]["color"]]
