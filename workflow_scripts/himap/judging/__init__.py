"""Grading answers with a language model behind any OpenAI-compatible endpoint, paying for no verdict twice."""
