"""Answers from the field: pages behind signed links, tables and measurements."""
