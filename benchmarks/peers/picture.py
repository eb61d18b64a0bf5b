"""The figures of a run as a picture: what each work takes of a processor, beside what the gateway takes."""

import math
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, LABEL_WIDTH, FIGURE_WIDTH = 880, 320, 70
ROW_HEIGHT, TITLE_HEIGHT, HEAD_HEIGHT, FOOT_HEIGHT = 26, 40, 32, 32
BLOCKS = {"gateway: subrequest": "Check a request", "gateway: refresh": "Renew a session"}
HALF, TWICE = 0.5, 2  # always on the scale
MIN_WIDTH = 4
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
RATIO = "cpu_seconds_per_1000_to_gateway"
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px } .head { font-weight: 600 } .faint { fill: #59636e }
.gateway { fill: #2f7d5b } .peer { fill: #4b6c9e } .one { stroke: #1f2328 } .mark { stroke: #d1d9e0 }
.ground { fill: #ffffff }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .faint { fill: #9198a1 } .one { stroke: #e6edf3 } .mark { stroke: #3d444d }
 .ground { fill: #0d1117 } .peer { fill: #6f93cc } .gateway { fill: #3fa577 }
}
"""


@dataclass(frozen=True)
class Scale:
    """A scale of logarithms from *lowest* to *highest*, both ratios to the gateway."""

    lowest: float
    highest: float

    @classmethod
    def around(cls, ratios: list[float]) -> "Scale":
        """Give the shortest one between two marks that has room for all."""
        lowest = max(mark for mark in MARKS if mark <= min(HALF, *ratios))
        return cls(lowest, min(mark for mark in MARKS if mark >= max(TWICE, *ratios)))

    def place(self, ratio: float) -> float:
        """Give where a ratio is from left to right."""
        share = math.log(ratio / self.lowest) / math.log(self.highest / self.lowest)
        return LABEL_WIDTH + share * (WIDTH - LABEL_WIDTH - FIGURE_WIDTH)


def picture(results: dict[str, Any]) -> str:
    """Give the SVG. A bar begins at what the gateway's work takes that heads its block."""
    works = results["works"]
    scale = Scale.around([of.get(RATIO, 1.0) for of in works.values()])
    rows: list[str] = []
    top = TITLE_HEIGHT
    for work, of in works.items():
        if work in BLOCKS:
            rows.append(f'<text class="head" x="12" y="{top + 21}">{BLOCKS[work]}</text>')
            top += HEAD_HEIGHT
        rows += bar(work, of.get(RATIO, 1.0), top, scale)
        top += ROW_HEIGHT
    return "\n".join([*frame(top + FOOT_HEIGHT), *marks(scale, top), *rows, "</svg>"]) + "\n"


def frame(height: int) -> list[str]:
    """Give the beginning: the ground and the title."""
    title = "Processor time of the server for a request; gateway = 1, further left is less"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' role="img" aria-label="{title}">',
        f'<style>{STYLE}</style><rect class="ground" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{title}</text>',
    ]


def marks(scale: Scale, bottom: int) -> list[str]:
    """Give the lines of the scale from above down to *bottom*, with a figure below each."""
    parts: list[str] = []
    for mark in MARKS:
        if scale.lowest <= mark <= scale.highest:
            x = f"{scale.place(mark):.1f}"
            kind = "one" if mark == 1 else "mark"
            parts.append(f'<line class="{kind}" x1="{x}" y1="{TITLE_HEIGHT}" x2="{x}" y2="{bottom + 4}"/>')
            parts.append(f'<text class="faint" x="{x}" y="{bottom + 20}" text-anchor="middle">{mark:g}</text>')
    return parts


def bar(work: str, ratio: float, top: int, scale: Scale) -> list[str]:
    """Give one row: name, bar, figure."""
    ends = sorted((scale.place(1), scale.place(ratio)))
    left, width = ends[0] - MIN_WIDTH / 2, max(ends[1] - ends[0], 0) + MIN_WIDTH
    return [
        f'<text x="12" y="{top + 17}">{escape(work)}</text>',
        f'<rect class="{"gateway" if work.startswith("gateway") else "peer"}" x="{left:.1f}" y="{top + 4}"'
        f' width="{width:.1f}" height="{ROW_HEIGHT - 8}" rx="2"/>',
        f'<text x="{WIDTH - FIGURE_WIDTH + 12}" y="{top + 17}">{ratio:.2f}</text>',
    ]
