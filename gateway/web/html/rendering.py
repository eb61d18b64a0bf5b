"""How pages are written: Jinja2 templates, ours or the operator's of the same name, in one of the languages."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from gateway.errors import StartupError
from gateway.settings import Settings
from gateway.web.html.languages import Texts, read_texts
from gateway.web.html.qr_code import qr_svg

OURS = Path(str(files(__package__)))
STATIC_PATH = "/auth/static"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HASH_CHARACTERS = 12
STYLESHEET = "style.css"
_HOST_SOURCE = re.compile(r"[a-z0-9_.*-]+")


class StaticFile(NamedTuple):
    """A file that pages refer to, under a name that changes with it."""

    content: bytes
    media_type: str


class Html:
    """
    Writes pages (`gateway.state.Renderer`), and has the files that they refer to.

    What is in `templates_dir` takes the place of ours of the same name: templates, and files that end in .css, .js and
    .svg. All is read when this is made.

    Raises:
        StartupError: `templates_dir` or a template in it cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        # Here and not above: the commands, and a gateway without the portal, do not pay for it.
        import jinja2
        from markupsafe import Markup

        own = Path(settings.templates_dir).expanduser() if settings.templates_dir else None
        self.texts: Mapping[str, Texts] = read_texts(OURS / "languages")
        self._named: dict[str, StaticFile] = {}
        self._paths: dict[str, str] = {}
        try:
            for directory in (OURS / "static", *([own] if own else [])):
                self._read_files(directory)
        except OSError as error:
            raise StartupError(
                f"templates_dir {own} cannot be read ({error.strerror}): give the path of a directory, or leave it out"
            ) from error
        # As browsers read it: they make one line break of two characters, and hash that.
        style = self._named[self._paths[STYLESHEET].rpartition("/")[2]].content.replace(b"\r\n", b"\n")
        self.policy = content_policy(settings)
        self.small_policy = small_content_policy(style)
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([*([own] if own else []), OURS / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {
            "portal_name": settings.shown_name,
            "issuer": settings.issuer_origin,
            "min_length": settings.password_min_length,
            "languages": {name: texts["language"] for name, texts in self.texts.items()},
            "static": self._paths.__getitem__,
            "stylesheet": Markup(style.decode(errors="replace")),  # noqa: S704 - it is ours or the operator's
        }
        self._environment.filters["qr_code"] = lambda text: Markup(qr_svg(text))  # noqa: S704 - numbers, and our words
        # Ours are known to be good, and compiled when they are wanted.
        for name in sorted(path.relative_to(own).as_posix() for path in own.rglob("*.html")) if own else []:
            try:
                self._environment.get_template(name)
            except (jinja2.TemplateError, OSError, UnicodeError) as error:
                line = f" line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
                raise StartupError(f"the template {name}{line} in templates_dir is no good: {error}") from error

    def render(self, template: str, language: str, **values: object) -> str:
        """Give the HTML of a template in one of the languages that there are."""
        texts = self.texts[language]
        return self._environment.get_template(f"{template}.html").render(
            values, t=self._speaker(texts), language=language, direction=texts["direction"]
        )

    def file(self, name: str) -> StaticFile | None:
        """Give a static file by the name under which pages refer to it."""
        return self._named.get(name)

    def _read_files(self, directory: Path) -> None:
        for path in sorted(directory.iterdir()):
            if path.suffix in MEDIA_TYPES and path.is_file():
                content = path.read_bytes()
                name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:HASH_CHARACTERS]}{path.suffix}"
                self._named[name] = StaticFile(content, MEDIA_TYPES[path.suffix])
                self._paths[path.name] = f"{STATIC_PATH}/{name}"

    @staticmethod
    def _speaker(texts: Texts) -> Callable[..., str]:
        from markupsafe import Markup, escape

        def speak(key: str, **values: object) -> str:
            return Markup(escape(texts[key])).format(**values)  # noqa: S704 - both are escaped

        return speak


def content_policy(settings: Settings) -> str:
    """
    Give the Content-Security-Policy of our pages.

    Browsers hold redirects after a form to `form-action` too, so that it names every host that a login may lead to.
    """
    schemes = ("https",) if settings.is_https else ("https", "http")
    # What a host source cannot say, an IPv6 address, is the issuer's own host or cannot be led to.
    hosts = [host for host in settings.allowed_return_hosts if _HOST_SOURCE.fullmatch(host)]
    led_to = [f"{scheme}://{host}:*" for host in hosts for scheme in schemes]
    own = ["'self'"]
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        f"form-action {' '.join(own + led_to)}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def small_content_policy(style: bytes) -> str:
    """Give that of a page which is shown on an application's host: it loads nothing, and has this one stylesheet."""
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
