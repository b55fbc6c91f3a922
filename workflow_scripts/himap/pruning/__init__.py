"""Dropping image tokens: criteria say which matter, stages where and how many, methods are named lists of stages."""
