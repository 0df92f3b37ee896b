"""Sealed values and the genesis envelope (spec "Secrets")."""

from __future__ import annotations

from memql.secrets.autoload import AppliedEnvelope, LoadedEnvelope, autoload, load_envelope
from memql.secrets.blob import BlobFault, open_blob, seal_blob
from memql.secrets.box import fingerprint, open_value, seal_value
from memql.secrets.dotenv import format_env, parse_env
from memql.secrets.genesis import open_envelope, read_sealed, seal_envelope, seal_file
from memql.secrets.keys import MASTER_KEY_VARIABLE, MasterKey, load_master_key
from memql.secrets.manifest import Entry, FoundManifest, Manifest, find_manifest, parse_manifest

__all__ = [
    "MASTER_KEY_VARIABLE",
    "AppliedEnvelope",
    "BlobFault",
    "Entry",
    "FoundManifest",
    "LoadedEnvelope",
    "Manifest",
    "MasterKey",
    "autoload",
    "find_manifest",
    "fingerprint",
    "format_env",
    "load_envelope",
    "load_master_key",
    "open_blob",
    "open_envelope",
    "open_value",
    "parse_env",
    "parse_manifest",
    "read_sealed",
    "seal_blob",
    "seal_envelope",
    "seal_file",
    "seal_value",
]
