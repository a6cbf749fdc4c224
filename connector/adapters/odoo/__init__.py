"""Odoo 17 and newer (14 speaks the same older transport): contacts, the chatter below them, leads, activities."""

from connector.adapters.odoo.adapter import Odoo

__all__ = ["Odoo"]
