"""Contacts: products in containers and packets, and what the ground says of them."""
