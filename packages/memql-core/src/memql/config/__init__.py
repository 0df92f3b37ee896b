"""Settings: every one declared once, typed, with its environment variable (spec "Environment")."""

from memql.config.describe import SettingRow, describe, unknown_variables
from memql.config.loading import PROCESS_SOURCE, Layer, load_settings, mask
from memql.config.settings import DEFAULT_SOURCE, Declaration, Settings, declarations
from memql.config.value_types import Address, parse_address, parse_duration

__all__ = [
    "DEFAULT_SOURCE",
    "PROCESS_SOURCE",
    "Address",
    "Declaration",
    "Layer",
    "SettingRow",
    "Settings",
    "declarations",
    "describe",
    "load_settings",
    "mask",
    "parse_address",
    "parse_duration",
    "unknown_variables",
]
