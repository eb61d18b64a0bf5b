"""Settings: what there is to set, how each is spelled, where it comes from, and the pages that tell of it."""

from gateway.settings.loading import LoadedSettings, chosen_log_format, load_settings
from gateway.settings.reference import example_toml, settings_table
from gateway.settings.schema import Settings, public_values
from gateway.settings.spellings import MIN_SECRET_BYTES, Network, Quota

__all__ = [
    "Settings",
    "public_values",
    "MIN_SECRET_BYTES",
    "Network",
    "Quota",
    "LoadedSettings",
    "chosen_log_format",
    "load_settings",
    "example_toml",
    "settings_table",
]
