"""A QR code as an inline SVG: it needs no file, and no script or style that a Content-Security-Policy would refuse."""

QUIET_MODULES = 4
MASK = 2
"""
One of the eight patterns (ISO/IEC 18004 section 7.8). All are read; to try which is read best takes ten times as long,
and a secret is as good as random under any of them.
"""


def qr_svg(text: str) -> str:
    """Give the picture of a text, black on transparent, with its quiet zone; its size and ground are the page's."""
    # Here and not above: only who sets up an authenticator app needs it.
    import segno

    code = segno.make_qr(text, error="l", mask=MASK, boost_error=False)
    svg = code.svg_inline(border=QUIET_MODULES, omitsize=True, svgclass="qr", lineclass=None)
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)
