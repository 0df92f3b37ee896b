"""Settings of the unattended claim of a new cluster (spec "First owner")."""

from __future__ import annotations

from typing import Literal

from memql.config.groups.declaration import Group, setting
from memql.config.groups.issuer import RegistrationMode
from memql.config.value_types import TextList

__all__ = ["FirstOwnerSettings"]


class FirstOwnerSettings(Group):
    """Who owns a cluster that has no owner yet."""

    bootstrap_domain: str = setting(
        "IDENTITY_BOOTSTRAP_DOMAIN", default="", doc="domain of the cluster, for its first start"
    )
    bootstrap_owner_email: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_EMAIL",
        default="",
        doc="e-mail address of the first owner",
        pattern=r"^([^@\s]+@[^@\s]+)?$",
    )
    bootstrap_owner_first_name: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_FIRST_NAME", default="", doc="first name of the first owner"
    )
    bootstrap_owner_last_name: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_LAST_NAME", default="", doc="last name of the first owner"
    )
    bootstrap_owner_phone: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_PHONE",
        default="",
        doc="phone number of the first owner, E.164",
        pattern=r"^(\+[1-9][0-9]{1,14})?$",
    )
    bootstrap_owner_primary_role: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_PRIMARY_ROLE", default="", doc="job title of the first owner"
    )
    bootstrap_owner_gender: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_GENDER", default="", doc="gender of the first owner"
    )
    bootstrap_owner_birthdate: str = setting(
        "IDENTITY_BOOTSTRAP_OWNER_BIRTHDATE",
        default="",
        doc="birthdate of the first owner, YYYY-MM-DD",
        pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$",
    )
    bootstrap_org_name: str = setting(
        "IDENTITY_BOOTSTRAP_ORG_NAME", default="", doc="name under which the cluster shows itself"
    )
    bootstrap_registration_mode: RegistrationMode | None = setting(
        "IDENTITY_BOOTSTRAP_REGISTRATION_MODE", default=None, doc="registration mode of the new cluster"
    )
    bootstrap_registration_domains: TextList = setting(
        "IDENTITY_BOOTSTRAP_REGISTRATION_DOMAINS", default="", doc="e-mail domains that may register there"
    )
    bootstrap_internal_domains: TextList = setting(
        "IDENTITY_BOOTSTRAP_INTERNAL_DOMAINS", default="", doc="e-mail domains of the operator's own people there"
    )
    bootstrap_internal_default_role: Literal["admin", "writer", "reader"] | None = setting(
        "IDENTITY_BOOTSTRAP_INTERNAL_DEFAULT_ROLE", default=None, doc="role of a new user of an internal domain there"
    )
    bootstrap_notify_emails: TextList = setting(
        "IDENTITY_BOOTSTRAP_NOTIFY_EMAILS", default="", doc="who is told of requests for access there"
    )
