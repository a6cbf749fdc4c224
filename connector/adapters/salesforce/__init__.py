"""Salesforce as the CRM side, over its REST API."""

from connector.adapters.salesforce.adapter import Salesforce
from connector.adapters.salesforce.tokens import Auth, ClientCredentials, JwtBearer, RefreshToken, Vault

__all__ = ["Auth", "ClientCredentials", "JwtBearer", "RefreshToken", "Salesforce", "Vault"]
