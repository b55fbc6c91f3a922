"""Which jobs a config asks for, what each is told, and what makes it stale."""
