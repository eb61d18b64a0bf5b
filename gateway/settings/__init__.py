"""Settings: what there is to set, where it comes from, and the pages that tell of it."""

from gateway.settings.schema import (
    LoadedSettings,
    Network,
    Quota,
    Settings,
    chosen_log_format,
    example_toml,
    load_settings,
    public_values,
    settings_table,
)

__all__ = [
    "LoadedSettings",
    "Network",
    "Quota",
    "Settings",
    "chosen_log_format",
    "example_toml",
    "load_settings",
    "public_values",
    "settings_table",
]
