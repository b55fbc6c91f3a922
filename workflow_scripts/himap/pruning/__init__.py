"""Dropping image tokens: criteria score them, stages say where and how many stay, methods are named lists of stages."""
