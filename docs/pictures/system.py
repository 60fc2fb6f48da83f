#!/usr/bin/env python3
"""Draws system.svg, the picture of the system in the README.

    python3 docs/pictures/system.py

Needs nothing but Python. Change the picture here, not in the SVG.
"""

from html import escape
from pathlib import Path

WIDTH, HEIGHT = 1000, 486
INK, QUIET, LINE, MESH, DIRECT = "#1c2430", "#5b6675", "#8a94a3", "#2f6fb3", "#d9622b"
DAEMON, PROGRAM, OUTSIDE, MACHINE = "#dbe9f7", "#ffffff", "#f3f4f6", "#f7f9fb"


def text(x, y, content, size=15, colour=INK, anchor="middle", weight="normal"):
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(content)}</text>'
    )


def box(x, y, width, height, title, detail="", fill=PROGRAM, stroke=LINE, dash=""):
    """A rectangle with a title, and a line of detail below it."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    middle, centre = x + width / 2, y + height / 2
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"{dashed}/>',
        text(middle, centre - 3 if detail else centre + 5, title, 16, INK, weight="600"),
    ]
    if detail:
        parts.append(text(middle, centre + 16, detail, 13, QUIET))
    return "\n".join(parts)


def machine(x, y, width, height, name):
    frame = (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="14" fill="{MACHINE}" '
        f'stroke="{LINE}" stroke-width="1.5"/>'
    )
    return frame + "\n" + text(x + 18, y + 27, name, 14, QUIET, "start", "600")


def line(x1, y1, x2, y2, colour=MESH, width=2, arrow=False, dash=""):
    end = f' marker-end="url(#arrow-{colour[1:]})"' if arrow else ""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}{end}/>'
    )


def arrow_head(colour):
    return (
        f'<marker id="arrow-{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
    )


def picture():
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="16" fill="#ffffff"/>',
        "<defs>" + arrow_head(DIRECT) + arrow_head(QUIET) + "</defs>",
        machine(150, 28, 360, 352, "machine desk"),
        machine(590, 28, 390, 352, "machine stage"),
        # The nodes of a machine and its daemon; the two daemons.
        line(332, 130, 384, 206),
        line(332, 224, 384, 224),
        line(332, 318, 384, 242),
        line(716, 206, 798, 130),
        line(716, 224, 798, 224),
        line(716, 242, 798, 318),
        line(486, 224, 614, 224, MESH, 4),
        text(550, 212, "Zenoh", 13, MESH, weight="600"),
        text(550, 245, "TCP 7447", 13, MESH),
        # A direct link.
        line(332, 108, 798, 108, DIRECT, 3, arrow=True),
        text(550, 97, "direct link", 13, DIRECT, weight="600"),
        # Programs of others.
        line(124, 224, 166, 224, QUIET, 2, arrow=True),
        line(434, 264, 434, 414, QUIET, 2, dash="5 4"),
        line(666, 264, 666, 306, QUIET, 2),
        line(666, 348, 666, 414, QUIET, 2, dash="5 4"),
        box(16, 196, 108, 56, "OSC", "controllers", OUTSIDE, dash="5 4"),
        box(334, 414, 200, 54, "Zenoh programs", "any language", OUTSIDE, dash="5 4"),
        box(566, 414, 200, 54, "Ableton Link", "other programs", OUTSIDE, dash="5 4"),
        # Controllers.
        box(168, 80, 164, 56, "hana-app", "window"),
        box(168, 196, 164, 56, "hana bridge osc", "bridge"),
        box(168, 312, 164, 56, "hana", "command line"),
        # Daemons.
        box(384, 184, 102, 80, "hanad", "daemon", DAEMON, MESH),
        box(614, 184, 102, 80, "hanad", "daemon", DAEMON, MESH),
        box(614, 306, 102, 42, "hana-link"),
        # Visualizations.
        box(798, 80, 158, 56, "ripples", "visualization"),
        box(798, 196, 158, 56, "pulse", "visualization"),
        box(798, 312, 158, 56, "your program", "visualization"),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, Helvetica, Arial, sans-serif">\n'
        f"<title>Two machines: controllers on one play visualizations on the other</title>\n"
        f"{body}\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
