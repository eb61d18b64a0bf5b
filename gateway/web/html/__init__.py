"""HTML for people: what the portal's pages and the small pages of the subrequest share."""

from gateway.web.html.answering import (
    asks_for_page,
    failure_page,
    give_static_file,
    page_response,
    see_other,
    small_page,
)
from gateway.web.html.rendering import STATIC_PATH, Html

__all__ = [
    "Html",
    "page_response",
    "small_page",
    "failure_page",
    "see_other",
    "asks_for_page",
    "STATIC_PATH",
    "give_static_file",
]
