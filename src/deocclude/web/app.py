"""The page and the API put together, behind their guard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude import __version__
from deocclude.web.access import Access
from deocclude.web.limits import Limits, Listeners
from deocclude.web.methods import Methods

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def create_app(
    methods: Methods, folder: Path, *, limits: Limits | None = None, access: Access | None = None
) -> ASGIApp:
    """The whole server as an ASGI application.

    folder: its own and empty; everything uploaded and made lies there, and nothing else is served.
    access: who may send requests; by default whoever is on this machine.

    Sets GRADIO_TEMP_DIR and GRADIO_ANALYTICS_ENABLED: Gradio keeps files where the first says, once a process.
    """
    folder = folder.resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which would ask

    import gradio
    from fastapi import FastAPI

    from deocclude.web.api import add_api
    from deocclude.web.guard import Guard
    from deocclude.web.page import asset, build_page, theme
    from deocclude.web.steps import Steps

    limits = limits or Limits()
    app = FastAPI(
        title="deocclude", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    add_api(app, methods, limits, folder)

    listeners = Listeners(limits.unheard_seconds)
    steps = Steps(methods, limits, folder, listeners.is_gone)
    page = build_page(steps, limits, methods.default)
    gradio.mount_gradio_app(
        app,
        page,
        path="",
        theme=theme(),
        css=asset("page.css"),
        max_file_size=limits.body_bytes,
        show_error=True,
        ssr_mode=False,
        footer_links=[],
    )
    page.has_launched = True  # Gradio looks at no path before that, and a mounted page never gets there by itself
    return Guard(app, folder=folder, limits=limits, access=access or Access(), listeners=listeners, sweep=steps.sweep)
