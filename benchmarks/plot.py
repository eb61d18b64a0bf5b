"""A small SVG: for each row a bar that says how much of its target is reached."""

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, LABEL_WIDTH, FIGURE_WIDTH = 880, 350, 190
ROW_HEIGHT, HEAD_HEIGHT, FOOT_HEIGHT = 26, 46, 30
LONGEST_SHARE = 1.5
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px } .faint { fill: #59636e }
.reached { fill: #2f7d5b } .short { fill: #bf5b16 } .line { stroke: #1f2328; stroke-dasharray: 4 3 }
.ground { fill: #ffffff }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .faint { fill: #9198a1 } .line { stroke: #e6edf3 } .ground { fill: #0d1117 }
}
"""


def share_of_target(row: dict[str, Any]) -> float:
    """Give 1 for a target that is just reached, more for better; also where less is better."""
    share = row["target"] / row["ratio"] if row["at_most"] else row["ratio"] / row["target"]
    return float(share)


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Give the SVG. A bar that would be longer than half as much again as the target is cut there."""
    unit = (WIDTH - LABEL_WIDTH - FIGURE_WIDTH) / LONGEST_SHARE
    bottom = HEAD_HEIGHT + ROW_HEIGHT * len(rows)
    height, target_x = bottom + FOOT_HEIGHT, LABEL_WIDTH + unit
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' role="img" aria-label="How much of its target each row reaches">',
        f'<style>{STYLE}</style><rect class="ground" width="{WIDTH}" height="{height}"/>',
        '<text class="title" x="12" y="24">The gateway against what the machine can do: share of the target</text>',
    ]
    for place, row in enumerate(rows):
        top, share = HEAD_HEIGHT + ROW_HEIGHT * place, share_of_target(row)
        bar = min(share, LONGEST_SHARE) * unit
        figure = f"{row['ratio']:.3g} ({'≤' if row['at_most'] else '≥'} {row['target']:g})"
        figure += " →" if share > LONGEST_SHARE else ""
        parts += [
            f'<text x="12" y="{top + 17}">{escape(row["number"])} · {escape(row["name"])}</text>',
            f'<rect class="{"reached" if row["is_reached"] else "short"}" x="{LABEL_WIDTH}" y="{top + 4}"'
            f' width="{bar:.1f}" height="{ROW_HEIGHT - 8}" rx="2"/>',
            f'<text x="{WIDTH - FIGURE_WIDTH + 12}" y="{top + 17}">{escape(figure)}</text>',
        ]
    parts += [
        f'<line class="line" x1="{target_x:.1f}" y1="{HEAD_HEIGHT - 6}" x2="{target_x:.1f}" y2="{bottom + 4}"/>',
        f'<text class="faint" x="{target_x:.1f}" y="{bottom + 20}" text-anchor="middle">target</text></svg>',
    ]
    return "\n".join(parts) + "\n"
