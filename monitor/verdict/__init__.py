"""Is it taking hold?"""
