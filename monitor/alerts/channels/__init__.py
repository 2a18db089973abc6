"""Channels: ways to deliver a message. One file for each receiver's protocol."""
