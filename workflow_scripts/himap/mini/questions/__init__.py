"""Questions about a scene with their answers: one file per subject, and `question.py` for what they share.

A maker is a function that gets a scene and random numbers and returns one question, or None where the scene has nothing
to ask about. Each subject ends with a tuple of its makers.
"""
